package inbound

import (
	"bufio"
	"errors"
	"io"
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
