package rawjson

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
)

// Member is one name and value of an object, as slices of its text.
type Member struct {
	Name  string // unescaped
	Value json.RawMessage
	// The member spans text[Start:End]; Value ends at End.
	Start, End int
}

// Members yields the members of an object in the order of the text, none for
// any other value. The text must have passed [Check]; a text that has not may
// yield nonsense but never panics.
func Members(obj []byte) iter.Seq[Member] {
	return func(yield func(Member) bool) {
		walk(obj, func(start, colon, from, end int) bool {
			return yield(Member{Name: name(obj[start:colon]), Value: obj[from:end:end], Start: start, End: end})
		})
	}
}

// Fields is [Members] for whoever needs few of many: it yields the names as they
// stand in the text, with their quotes, and so takes no memory for them.
func Fields(obj []byte) iter.Seq2[[]byte, json.RawMessage] {
	return func(yield func([]byte, json.RawMessage) bool) {
		walk(obj, func(start, colon, from, end int) bool {
			return yield(obj[start:colon:colon], obj[from:end:end])
		})
	}
}

// walk tells of each member where its name, quotes included, begins and ends, and
// its value.
func walk(obj []byte, tell func(start, colon, from, end int) bool) {
	i := skipSpace(obj, 0)
	if i >= len(obj) || obj[i] != '{' {
		return
	}
	i = skipSpace(obj, i+1)
	for i < len(obj) && obj[i] == '"' {
		start := i
		i = skipString(obj, i)
		colon := i
		i = skipSpace(obj, i)
		if i >= len(obj) || obj[i] != ':' {
			return
		}
		from := skipSpace(obj, i+1)
		i = skipValue(obj, from)
		if !tell(start, colon, from, i) {
			return
		}
		i = skipSpace(obj, i)
		if i >= len(obj) || obj[i] != ',' {
			return
		}
		i = skipSpace(obj, i+1)
	}
}

// Elements yields the elements of an array, none for any other value. The text
// must have passed [Check].
func Elements(arr []byte) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		i := skipSpace(arr, 0)
		if i >= len(arr) || arr[i] != '[' {
			return
		}
		i = skipSpace(arr, i+1)
		for i < len(arr) && arr[i] != ']' {
			from := i
			i = skipValue(arr, i)
			if i == from || !yield(arr[from:i:i]) {
				return
			}
			i = skipSpace(arr, i)
			if i >= len(arr) || arr[i] != ',' {
				return
			}
			i = skipSpace(arr, i+1)
		}
	}
}

// Get returns the value of the first member called name.
func Get(obj []byte, name string) (json.RawMessage, bool) {
	for m := range Members(obj) {
		if m.Name == name {
			return m.Value, true
		}
	}
	return nil, false
}

// GetString returns the value of a member that is a string, unescaped; "" and
// false if it is absent or something else.
func GetString(obj []byte, name string) (string, bool) {
	v, ok := Get(obj, name)
	if !ok || Kind(v) != '"' {
		return "", false
	}
	return String(v), true
}

// String unescapes a JSON string value; "" for any other value.
func String(v []byte) string {
	v = bytes.TrimSpace(v)
	if len(v) < 2 || v[0] != '"' {
		return ""
	}
	return name(v)
}

// Set returns a copy of obj in which the member called name has the given
// value: replaced where it stands, or added as the last member.
func Set(obj []byte, name string, value []byte) ([]byte, error) {
	for m := range Members(obj) {
		if m.Name == name {
			return slices.Concat(obj[:m.End-len(m.Value)], value, obj[m.End:]), nil
		}
	}
	return Add(obj, name, value)
}

// Add returns a copy of obj with one more member, the last. obj must have none
// of this name.
func Add(obj []byte, name string, value []byte) ([]byte, error) {
	open := skipSpace(obj, 0)
	closing := bytes.LastIndexByte(obj, '}')
	if open >= len(obj) || obj[open] != '{' || closing < open {
		return nil, ErrNotObject
	}
	sep := []byte(",")
	if skipSpace(obj, open+1) == closing {
		sep = nil
	}
	return slices.Concat(obj[:closing], sep, Quote(name), []byte(":"), value, obj[closing:]), nil
}

// Delete returns obj without the named members. Where none is present it
// returns obj itself; where some are, white space around the commas goes too.
func Delete(obj []byte, names ...string) []byte {
	var kept [][]byte
	first, last, removed := -1, 0, false
	for m := range Members(obj) {
		if first < 0 {
			first = m.Start
		}
		last = m.End
		if slices.Contains(names, m.Name) {
			removed = true
			continue
		}
		kept = append(kept, obj[m.Start:m.End])
	}
	if !removed {
		return obj
	}
	return slices.Concat(obj[:first], bytes.Join(kept, []byte(",")), obj[last:])
}

// Quote returns s as a JSON string. Unlike json.Marshal it does not escape
// '<', '>' and '&'.
func Quote(s string) []byte {
	if isPlain(s) {
		return slices.Concat([]byte{'"'}, []byte(s), []byte{'"'})
	}
	text, _ := Marshal(s) // a string always has one
	return text
}

// Marshal is json.Marshal without its escapes for HTML, which would change what
// an upstream said.
func Marshal(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// isPlain reports whether s needs no escapes in a JSON string.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func escaped(quoted []byte) bool { return bytes.IndexByte(quoted, '\\') >= 0 }

// name unescapes a quoted member name.
func name(quoted []byte) string {
	if len(quoted) < 2 {
		return ""
	}
	if !escaped(quoted) {
		return known(quoted[1 : len(quoted)-1])
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // Check has accepted it
	return s
}

// known returns b as a string, without an allocation for the names and words
// that stand in nearly every message. What they mean is nothing to this package.
func known(b []byte) string {
	for _, w := range words[min(len(b), len(words)-1)] {
		if string(b) == w {
			return w
		}
	}
	return string(b)
}

// words are the common ones, by their length.
var words = [...][]string{
	2:  {"id"},
	3:  {"2.0"},
	4:  {"name", "text", "type"},
	5:  {"_meta", "error", "ttlMs"},
	6:  {"method", "params", "result"},
	7:  {"jsonrpc", "content", "isError", "version"},
	9:  {"arguments"},
	10: {"resultType", "cacheScope", "2026-07-28", "tools/call"},
	13: {"progressToken"},
	17: {"structuredContent"},
	34: {"io.modelcontextprotocol/clientInfo"},
	39: {"io.modelcontextprotocol/protocolVersion"},
	42: {"io.modelcontextprotocol/clientCapabilities"},
	43: nil, // and everything longer
}

func skipString(b []byte, i int) int {
	i++
	for i < len(b) {
		i, _ = plainRun(b, i)
		if i >= len(b) {
			break
		}
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i += 2
		default:
			i++
		}
	}
	return len(b)
}

func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return len(b)
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	for i < len(b) {
		switch b[i] {
		case ',', '}', ']', ' ', '\n', '\r', '\t':
			return i
		}
		i++
	}
	return i
}

func skipNested(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return len(b)
}

// OneLine returns v without line breaks, which a checked text has only between
// its tokens. Where there are none it returns v itself.
func OneLine(v []byte) []byte {
	if bytes.IndexByte(v, '\n') < 0 && bytes.IndexByte(v, '\r') < 0 {
		return v
	}
	out := make([]byte, 0, len(v))
	for _, c := range v {
		if c != '\n' && c != '\r' {
			out = append(out, c)
		}
	}
	return out
}
