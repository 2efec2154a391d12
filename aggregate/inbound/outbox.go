package inbound

import (
	"bufio"
	"errors"
	"io"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// outbox is the one writer of a stream of messages. Whoever has something to say
// leaves it here; nobody but the writer waits for the reader at the other end,
// until too much of the same lane is waiting.
type outbox struct {
	framing

	mu     sync.Mutex
	change sync.Cond // something was queued or written, or the state below changed
	queue  []line
	size   [lanes]int // bytes queued or being written
	closed bool
	err    error // why nothing can be written any more
}

// framing is what stands around each message, and how much is collected before
// it is written.
type framing struct {
	head, tail string
	buffer     int // bytes
}

var (
	lineFraming  = framing{tail: "\n", buffer: 64 << 10}
	eventFraming = framing{head: "event: message\ndata: ", tail: "\n\n", buffer: 4 << 10} // WHATWG HTML, section 9.2
)

// line is one message, or the place of those that a source has by the time it
// is written.
type line struct {
	lane lane
	text pieces
	from source // nil for a message
	bare bool   // the first piece is written without framing
}

// lane says who waits for whom. The reader's own small answers are counted
// apart, so that results which nobody takes do not keep it from reading a
// cancellation.
type lane int

const (
	fromWork lane = iota
	fromReader
	lanes
)

// laneBytes may wait to be written before whoever adds to the lane has to wait.
const laneBytes = 4 << 20

var errClosed = errors.New("the stream is closed")

func newOutbox(f framing) *outbox {
	o := &outbox{framing: f}
	o.change.L = &o.mu
	return o
}

// push queues a message, which must not be changed any more. It waits while too
// much is queued.
func (o *outbox) push(from lane, text pieces) error {
	for i, p := range text {
		text[i] = rawjson.OneLine(p)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.size[from] >= laneBytes && !o.closed {
		o.change.Wait()
	}
	if o.err != nil {
		return o.err
	}
	if o.closed {
		return errClosed
	}
	o.queue = append(o.queue, line{lane: from, text: text})
	o.size[from] += text.size()
	o.change.Broadcast()
	return nil
}

// ready and lost make o [notes]. Of each source, one line is queued while it has
// something. When the client is gone its session says so.
func (o *outbox) ready(s source) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.queue = append(o.queue, line{from: s})
		o.change.Broadcast()
	}
}

func (o *outbox) lost() <-chan struct{} { return nil }

// fill queues text that is no message, unless something is queued already.
func (o *outbox) fill(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 && !o.closed {
		o.queue = append(o.queue, line{text: pieces{[]byte(text)}, bare: true})
		o.change.Broadcast()
	}
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
		o.queue = nil
	}
	o.change.Broadcast()
}

// write writes to w until close or fail is called or w fails.
func (o *outbox) write(w io.Writer) error {
	buf := bufio.NewWriterSize(w, o.buffer)
	var batch []line
	for {
		clear(batch)
		var err error
		batch, err = o.take(batch[:0])
		if err != nil || len(batch) == 0 {
			return err
		}
		var done [lanes]int // bytes
		for _, l := range batch {
			switch {
			case l.bare:
				_, _ = buf.Write(l.text[0]) // an error stays until Flush returns it
			case l.from != nil:
				for _, text := range l.from.take() {
					o.frame(buf, pieces{text})
				}
			default:
				o.frame(buf, l.text)
				if done[l.lane] += l.text.size(); done[l.lane] > o.buffer {
					o.written(&done)
				}
			}
		}
		o.written(&done)
		if err := buf.Flush(); err != nil {
			o.fail(err)
			return err
		}
		if cap(batch) > mostSpare {
			batch = nil
		}
	}
}

// mostSpare is for how many lines room is kept.
const mostSpare = 64

// frame leaves errors to Flush.
func (f framing) frame(w *bufio.Writer, text pieces) {
	_, _ = w.WriteString(f.head)
	for _, p := range text {
		_, _ = w.Write(p)
	}
	_, _ = w.WriteString(f.tail)
}

// take waits for messages; none means that the outbox is closed and empty. What
// comes next is put into spare.
func (o *outbox) take(spare []line) ([]line, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.closed {
		o.change.Wait()
	}
	batch := o.queue
	o.queue = spare
	return batch, o.err
}

// written makes room for more, and sets done to nothing.
func (o *outbox) written(done *[lanes]int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for lane, n := range done {
		o.size[lane] -= n
	}
	*done = [lanes]int{}
	o.change.Broadcast()
}
