package mcpserver

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// sseReader cuts a stream into server-sent events (WHATWG HTML, section 9.2).
// Lines end with LF or CRLF; a lone CR, which no known server writes, ends none.
type sseReader struct {
	lines lineReader
	max   int64
	first bool   // the next line is the first one
	name  string // the type of the last event; "" if it had none
	over  line   // after httpcall.ErrTooLong: the start and the end of the data
	// What a legacy server says about taking the stream up again.
	lastID string
	retry  time.Duration // 0 if it did not say
}

func newSSEReader(r io.Reader, max int64) *sseReader {
	lines := lineReader{br: bufio.NewReaderSize(r, 16<<10), max: max + int64(len("data: ")), brief: true}
	return &sseReader{lines: lines, max: max, first: true}
}

// goOn reads r after what has been read so far.
func (s *sseReader) goOn(r io.Reader) { s.lines.br.Reset(r) }

// next returns the data of the next event that has any; it belongs to the
// caller. An event that the end of the stream cuts off is dropped, as the
// standard demands. After httpcall.ErrTooLong one may go on where lines.brief is false.
func (s *sseReader) next() ([]byte, error) {
	var data []byte
	has := false
	for s.name = ""; ; {
		ln, err := s.line()
		switch {
		case err != nil:
			return nil, err
		case len(ln.text) == 0 && len(data) > 0:
			return data, nil
		case len(ln.text) == 0:
			s.name, has = "", false
			continue
		}
		field, value, _ := bytes.Cut(ln.text, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "data":
		case "event":
			s.name = bounded(string(value), 64)
			continue
		case "id":
			s.lastID = string(value)
			continue
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				s.retry = time.Duration(ms) * time.Millisecond
			}
			continue
		default:
			continue
		}
		switch {
		case ln.over:
			s.over = line{text: value, tail: ln.tail, size: ln.size}
			return nil, httpcall.ErrTooLong
		case has:
			data = append(append(data, '\n'), value...)
		case ln.owned:
			data = value
		default:
			data = append([]byte(nil), value...)
		}
		has = true
		if n := int64(len(data)); n > s.max {
			s.over = line{text: data[:min(n, ends)], tail: data[max(n-ends, 0):], size: n}
			return nil, httpcall.ErrTooLong
		}
	}
}

// line returns the next line that the stream did not cut off.
func (s *sseReader) line() (line, error) {
	ln, err := s.lines.next()
	if err != nil && (s.lines.brief || !ln.over) {
		return line{}, err
	}
	if s.first {
		ln.text = bytes.TrimPrefix(ln.text, []byte("\xef\xbb\xbf"))
		s.first = false
	}
	return ln, nil
}
