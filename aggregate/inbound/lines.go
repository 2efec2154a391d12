package inbound

import (
	"bufio"
	"errors"
	"io"
	"sync"
)

// headBytes of a line that is too long are kept, to look for its id.
const headBytes = 64 << 10

// lineReader splits a stream into lines and holds no more of one than max.
type lineReader struct {
	r   *bufio.Reader
	max int
}

func newLineReader(r io.Reader, most int64) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), max: int(most)}
}

// next returns the next line without its end, as a text of its own. A line
// longer than max is read to its end; tooLong is true and line is its
// beginning. At the end of the stream a last line without an end counts.
func (l *lineReader) next() (line []byte, tooLong bool, err error) {
	for {
		part, err := l.r.ReadSlice('\n')
		if !tooLong {
			line = append(line, part...)
			// The line's end does not count; a CR is white space.
			if len(line) > l.max+1 || (len(line) > l.max && line[len(line)-1] != '\n') {
				tooLong = true
				line = append([]byte(nil), line[:min(len(line), headBytes)]...)
			}
		}
		switch {
		case err == nil:
			if n := len(line); n > 0 && line[n-1] == '\n' {
				line = line[:n-1]
			}
			return line, tooLong, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, tooLong, nil // the next read says EOF again
		default:
			return nil, false, err
		}
	}
}

// outbox is the one writer of a stream of lines. Whoever has something to say
// leaves it here; nobody but the writer waits for the reader at the other end,
// until too much is waiting.
type outbox struct {
	mu     sync.Mutex
	change sync.Cond // something was queued, taken, or the state below changed
	queue  [][]byte
	size   int // bytes in queue
	closed bool
	err    error // why nothing can be written any more
}

// What may wait to be written before whoever adds to it has to wait too. The
// reader's own small answers have a larger bound, so that results that nobody
// reads do not keep it from reading a cancellation.
const (
	resultBytes = 4 << 20
	readerBytes = 8 << 20
)

var errClosed = errors.New("the stream is closed")

func newOutbox() *outbox {
	o := &outbox{}
	o.change.L = &o.mu
	return o
}

// push queues a message, which becomes the outbox's own. It waits while limit
// or more bytes are queued.
func (o *outbox) push(text []byte, limit int) error {
	text = append(oneLine(text), '\n')
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.size >= limit && o.err == nil && !o.closed {
		o.change.Wait()
	}
	if o.err != nil {
		return o.err
	}
	if o.closed {
		return errClosed
	}
	o.queue = append(o.queue, text)
	o.size += len(text)
	o.change.Broadcast()
	return nil
}

// close has write return when everything queued is written.
func (o *outbox) close() { o.end(nil) }

// fail drops what is queued and frees who waits.
func (o *outbox) fail(err error) { o.end(err) }

func (o *outbox) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.err == nil && err != nil {
		o.err = err
		o.queue, o.size = nil, 0
	}
	o.change.Broadcast()
}

// write writes to w until close or fail is called or w fails.
func (o *outbox) write(w io.Writer) error {
	buf := bufio.NewWriterSize(w, 64<<10)
	for {
		batch, err := o.take()
		if err != nil || batch == nil {
			return err
		}
		for _, text := range batch {
			if _, err := buf.Write(text); err != nil {
				o.fail(err)
				return err
			}
			o.written(len(text))
		}
		if err := buf.Flush(); err != nil {
			o.fail(err)
			return err
		}
	}
}

// take waits for messages; none means that the outbox is closed and empty.
func (o *outbox) take() ([][]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.closed {
		o.change.Wait()
	}
	batch := o.queue
	o.queue = nil
	return batch, o.err
}

func (o *outbox) written(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.size -= n
	}
	o.change.Broadcast()
}
