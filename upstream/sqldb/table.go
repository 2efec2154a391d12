package sqldb

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// exact is up to where a float64 holds every integer, and so do the readers of
// JSON.
const exact = 1 << 53

// class says how the text of a cell becomes JSON.
type class uint8

const (
	asText class = iota
	asNumber
	asFloat
	asBool
	asBytes
	asTime // as the databases write it: 2026-06-30 18:00:00.5+00
	asJSON
	asAny // as the value itself is: bytes are bytes, a string is text
)

// column is one column of an answer.
type column struct {
	name, typ string
	class     class
}

// table writes an answer row by row. It is written as one list for each row under
// one list of columns: that is about half the tokens of an object for each row,
// and columns of the same name stay apart.
//
//	{"columns":[{"name":"id","type":"int8"}],"rows":[[1],[2]],"row_count":2,
//	 "truncated":"...","cells_cut":1,"rows_affected":3}
//
// The last three are there only if they say something. Integers and decimals that
// a float64 cannot hold are strings; so are times, in RFC 3339, without an offset
// where the database has none. Bytes are a string that begins with "base64:".
type table struct {
	maxRows, maxCell, maxBytes int

	buf      []byte
	columns  []column
	rows     int
	open     bool   // a row is begun
	over     string // why there is no more; "" if that is all
	cut      int    // cells
	affected int64  // rows changed by a write; -1 for a query
}

// head begins the answer with its columns.
func (t *table) head(columns []column) {
	t.columns = columns
	t.buf = append(t.buf, `{"columns":[`...)
	for i, c := range columns {
		if i > 0 {
			t.buf = append(t.buf, ',')
		}
		t.buf = append(t.buf, `{"name":`...)
		t.buf = appendString(t.buf, c.name)
		t.buf = append(t.buf, `,"type":`...)
		t.buf = appendString(t.buf, c.typ)
		t.buf = append(t.buf, '}')
	}
	t.buf = append(t.buf, `],"rows":[`...)
}

// reset forgets what was written.
func (t *table) reset() {
	t.buf, t.columns, t.rows, t.over, t.cut = t.buf[:0], nil, 0, "", 0
}

// row begins the next row; false if there is no room for it, and no more should
// be read.
func (t *table) row() bool {
	switch {
	case t.rows >= t.maxRows:
		t.over = fmt.Sprintf("there are more rows than these %d, which is the limit; filter, aggregate or sort so that fewer are needed", t.rows)
		return false
	case len(t.buf) > t.maxBytes:
		t.over = fmt.Sprintf("these %d rows are all that fit into %d bytes; ask for fewer columns or rows", t.rows, t.maxBytes)
		return false
	}
	if t.rows > 0 {
		t.buf = append(t.buf, ',')
	}
	t.rows++
	t.buf = append(t.buf, '[')
	t.open = true
	return true
}

func (t *table) comma() {
	if !t.open {
		t.buf = append(t.buf, ',')
	}
	t.open = false
}

func (t *table) endRow() {
	t.buf = append(t.buf, ']')
	t.open = false
}

func (t *table) null() {
	t.comma()
	t.buf = append(t.buf, "null"...)
}

// cell adds the text of a value as the database writes it.
func (t *table) cell(class class, v []byte) {
	t.comma()
	switch class {
	case asNumber, asFloat:
		t.number(v, class == asFloat)
	case asBool:
		if len(v) == 1 && (v[0] == 't' || v[0] == '1') {
			t.buf = append(t.buf, "true"...)
		} else {
			t.buf = append(t.buf, "false"...)
		}
	case asBytes:
		t.bytes(v)
	case asTime:
		t.buf = rfc3339(t.buf, v)
	case asJSON:
		if len(v) <= t.maxCell && rawjson.Check(v, rawjson.Limits{}) == nil {
			t.buf = append(t.buf, v...)
			return
		}
		fallthrough
	default:
		t.text(v)
	}
}

// value adds a value as database/sql has it.
func (t *table) value(class class, v any) {
	switch v := v.(type) {
	case nil:
		t.null()
	case int64:
		t.cell(asNumber, strconv.AppendInt(nil, v, 10))
	case uint64:
		t.cell(asNumber, strconv.AppendUint(nil, v, 10))
	case float64:
		t.cell(asFloat, strconv.AppendFloat(nil, v, 'g', -1, 64))
	case float32:
		t.cell(asFloat, strconv.AppendFloat(nil, float64(v), 'g', -1, 32))
	case bool:
		t.cell(asBool, []byte(strconv.FormatBool(v)[:1]))
	case time.Time:
		t.cell(asText, v.AppendFormat(nil, time.RFC3339Nano))
	case string:
		t.cell(class, []byte(v))
	case []byte:
		if class == asAny {
			class = asBytes
		}
		t.cell(class, v)
	default:
		t.cell(asText, fmt.Append(nil, v))
	}
}

// number writes what is a JSON number; anything else, such as NaN, as a string.
// So it does with an integer or decimal that does not survive being read as a
// float64.
func (t *table) number(v []byte, float bool) {
	if len(v) > 0 && v[0] != '"' && json.Valid(v) && (float || survives(v)) {
		t.buf = append(t.buf, v...)
		return
	}
	t.text(v)
}

func survives(v []byte) bool {
	digits := 0
	for _, c := range v {
		if c >= '1' && c <= '9' || c == '0' && digits > 0 {
			digits++
		}
	}
	if digits <= 15 {
		return true
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	return err == nil && n >= -exact && n <= exact
}

func (t *table) text(v []byte) {
	if len(v) <= t.maxCell {
		t.buf = appendString(t.buf, string(v))
		return
	}
	end := t.maxCell
	for end > 0 && !utf8.RuneStart(v[end]) {
		end--
	}
	t.cut++
	t.buf = appendString(t.buf, fmt.Sprintf("%s… [cut: %d of %d bytes]", v[:end], end, len(v)))
}

func (t *table) bytes(v []byte) {
	n := min(len(v), t.maxCell)
	t.buf = append(t.buf, `"base64:`...)
	t.buf = base64.StdEncoding.AppendEncode(t.buf, v[:n])
	if n < len(v) {
		t.cut++
		t.buf = fmt.Appendf(t.buf, " [cut: %d of %d bytes]", n, len(v))
	}
	t.buf = append(t.buf, '"')
}

// result ends the answer. clean takes a credential out of it; nil if there is
// none.
func (t *table) result(clean func([]byte)) *upstream.Result {
	if t.columns == nil {
		t.head(nil)
	}
	t.buf = fmt.Appendf(t.buf, `],"row_count":%d`, t.rows)
	if t.over != "" {
		t.buf = append(t.buf, `,"truncated":`...)
		t.buf = appendString(t.buf, t.over)
	}
	if t.cut > 0 {
		t.buf = fmt.Appendf(t.buf, `,"cells_cut":%d`, t.cut)
	}
	if t.affected >= 0 {
		t.buf = fmt.Appendf(t.buf, `,"rows_affected":%d`, t.affected)
	}
	t.buf = append(t.buf, '}')
	if clean != nil {
		clean(t.buf)
	}
	return upstream.JSONResult(t.buf)
}

// rfc3339 appends what databases write in RFC 3339, as a JSON string; what is
// none stays.
func rfc3339(dst, v []byte) []byte {
	if len(v) < 19 || v[10] != ' ' && v[10] != 'T' || v[4] != '-' {
		return appendString(dst, string(v))
	}
	dst = append(dst, '"')
	dst = append(dst, v[:10]...)
	dst = append(dst, 'T')
	rest, offset := v[11:], []byte(nil)
	if at := bytes.LastIndexAny(rest, "+-"); at > 0 {
		rest, offset = rest[:at], rest[at:]
	}
	dst = append(dst, rest...)
	switch {
	case string(offset) == "+00" || string(offset) == "+00:00":
		dst = append(dst, 'Z')
	case len(offset) == 3:
		dst = append(append(dst, offset...), ":00"...)
	default:
		dst = append(dst, offset...)
	}
	return append(dst, '"')
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. What is no UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, s[from:i]...)
				dst = append(dst, "\uFFFD"...)
				from = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}
