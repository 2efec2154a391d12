package mcpserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"
)

var errTooLong = errors.New("the answer is too long")

// sseReader cuts a stream into server-sent events (WHATWG HTML, section 9.2).
// Lines end with LF or CRLF; a lone CR, which no known server writes, ends none.
type sseReader struct {
	br    *bufio.Reader
	max   int64
	first bool // the next line is the first one
	// What a legacy server says about taking the stream up again.
	lastID string
	retry  time.Duration // 0 if it did not say
}

func newSSEReader(r io.Reader, max int64) *sseReader {
	return &sseReader{br: bufio.NewReaderSize(r, 16<<10), max: max, first: true}
}

// next returns the data of the next event that has any; it belongs to the
// caller. An event that the end of the stream cuts off is dropped, as the
// standard demands.
func (s *sseReader) next() ([]byte, error) {
	var data []byte
	has := false
	for {
		text, owned, err := s.line()
		switch {
		case err != nil:
			return nil, err
		case len(text) == 0 && len(data) > 0:
			return data, nil
		case len(text) == 0:
			has = false
			continue
		}
		field, value, _ := bytes.Cut(text, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case string(field) == "id":
			s.lastID = string(value)
			continue
		case string(field) == "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				s.retry = time.Duration(ms) * time.Millisecond
			}
			continue
		case string(field) != "data":
			continue
		case has:
			data = append(append(data, '\n'), value...)
		case owned:
			data = value
		default:
			data = append([]byte(nil), value...)
		}
		has = true
		if int64(len(data)) > s.max {
			return nil, errTooLong
		}
	}
}

// line returns the next line without its end. It belongs to the caller if
// owned, else it is valid until the next call.
func (s *sseReader) line() (text []byte, owned bool, err error) {
	text, err = s.br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		var long bytes.Buffer
		for owned = true; errors.Is(err, bufio.ErrBufferFull); text, err = s.br.ReadSlice('\n') {
			if long.Write(text); int64(long.Len()) > s.max+int64(len("data: \r\n")) {
				return nil, false, errTooLong
			}
		}
		long.Write(text)
		text = long.Bytes()
	}
	if err != nil {
		return nil, false, err
	}
	text = bytes.TrimSuffix(text[:len(text)-1], []byte("\r"))
	if s.first {
		text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		s.first = false
	}
	return text, owned, nil
}
