package mcpserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// ends is how much of the start and of the end of an over-long line is kept to
// find out whose it is.
const ends = 4 << 10

// lineReader cuts a stream into lines of bounded length.
type lineReader struct {
	br  *bufio.Reader
	max int64
	// brief: an over-long line ends the stream instead of being skipped.
	brief bool
}

func newLineReader(r io.Reader, max int64) *lineReader {
	return &lineReader{br: bufio.NewReaderSize(r, 64<<10), max: max}
}

// line is one line without its end. text belongs to the caller if owned, else it
// is valid until the next call of next.
type line struct {
	text  []byte
	owned bool
	// size is the length; where it exceeds the maximum, text is the start and
	// tail the end of the line.
	size int64
	over bool
	tail []byte
	open bool // the stream ended before the line did
}

// next returns the next line. Its error is that of the stream; a last line
// without an end comes together with it.
func (l *lineReader) next() (line, error) {
	chunk, err := l.br.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return cut(chunk, int64(len(chunk)), l.max, err)
	}
	var long bytes.Buffer
	long.Write(chunk)
	size := int64(len(chunk))
	var tail []byte
	for errors.Is(err, bufio.ErrBufferFull) {
		chunk, err = l.br.ReadSlice('\n')
		size += int64(len(chunk))
		if size-2 <= l.max { // the line end does not count
			long.Write(chunk)
			continue
		}
		if tail == nil {
			kept := long.Bytes()
			tail = append(tail, kept[max(len(kept)-ends, 0):]...)
			long.Truncate(min(len(kept), ends))
			if l.brief {
				err = httpcall.ErrTooLong
			}
		}
		tail = append(tail, chunk...)
		tail = append(tail[:0], tail[max(len(tail)-ends, 0):]...)
	}
	if tail != nil {
		return line{text: long.Bytes(), tail: bytes.TrimRight(tail, "\r\n"), size: size, over: true, open: err != nil}, err
	}
	ln, err := cut(long.Bytes(), size, l.max, err)
	ln.owned = true
	return ln, err
}

func cut(text []byte, size, max int64, err error) (line, error) {
	text = bytes.TrimRight(text, "\r\n")
	ln := line{text: text, size: size, open: err != nil}
	if int64(len(text)) > max {
		ln.over, ln.tail = true, text
	}
	return ln, err
}

// ownerOf finds the id of the response that an over-long line is. Servers put
// the id either before the result or last; at the end, right before the closing
// brace, it can only be a member of the outermost object.
func ownerOf(ln line) (int64, bool) {
	e := scan(ln.text)
	if e.hasMethod {
		return 0, false
	}
	if e.id != nil {
		return parseID(e.id)
	}
	tail := bytes.TrimRight(ln.tail, " \t")
	at := bytes.LastIndex(tail, []byte(`"id"`))
	if at < 0 || !bytes.HasSuffix(tail, []byte("}")) {
		return 0, false
	}
	value, ok := bytes.CutPrefix(bytes.TrimSpace(tail[at+len(`"id"`):len(tail)-1]), []byte(":"))
	if !ok {
		return 0, false
	}
	return parseID(bytes.TrimSpace(value))
}

// escape makes text from outside fit for one line of a log: control characters,
// invisible ones and invalid UTF-8 are shown, not obeyed.
func escape(s string) string {
	plain := func(r rune) bool { return r == ' ' || (unicode.IsPrint(r) && r != unicode.ReplacementChar) }
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if plain(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteToASCII(string(r))
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}
