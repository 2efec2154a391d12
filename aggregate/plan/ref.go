package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// pointer is a reference to a part of a call's result: a JSON pointer in the form
// of a URI fragment (RFC 6901, section 6), whose first token is the call.
type pointer struct {
	call   string
	tokens []string
	text   string
}

func parsePointer(text string) (*pointer, error) {
	rest, ok := strings.CutPrefix(text, "#/")
	if !ok {
		return nil, errors.New(`a reference is "#/" and the id of a call, then what of its result, e.g. "#/a/rows/0/id"`)
	}
	if len(text) > maxPointer {
		return nil, fmt.Errorf("it is longer than %d bytes", maxPointer)
	}
	tokens := strings.Split(rest, "/")
	if len(tokens) > maxDepth {
		return nil, fmt.Errorf("it is deeper than %d", maxDepth)
	}
	for i, t := range tokens {
		plain, err := url.PathUnescape(t)
		if err != nil {
			return nil, fmt.Errorf("%.40q is not escaped as a part of a URI", t)
		}
		var ok bool
		if tokens[i], ok = rawjson.Unescape(plain); !ok {
			return nil, fmt.Errorf("in %.40q a tilde is not written ~0", t)
		}
	}
	return &pointer{tokens[0], tokens[1:], text}, nil
}

func tooLong(call string) error {
	return fmt.Errorf("the result of %s is too long to be referred to; have it answer less", call)
}

// in returns the part of v that p means, where v is what its first tokens lead to.
func (p *pointer) in(v json.RawMessage, deep int) (json.RawMessage, error) {
	at := strings.Join(append([]string{"#", p.call}, p.tokens[:deep]...), "/")
	for _, t := range p.tokens[deep:] {
		next, err := step(v, t)
		if err != nil {
			return nil, fmt.Errorf("at %s there is %w", at, err)
		}
		v, at = next, at+"/"+t
	}
	return v, nil
}

// step returns one member or element.
func step(v json.RawMessage, token string) (json.RawMessage, error) {
	switch rawjson.Kind(v) {
	case '{':
		if m, ok := rawjson.Get(v, token); ok {
			return m, nil
		}
		return nil, fmt.Errorf("no %.40q, but %s", token, names(v))
	case '[':
		n, i := 0, index(token)
		for e := range rawjson.Elements(v) {
			if n == i {
				return e, nil
			}
			n++
		}
		return nil, fmt.Errorf("no element %.40q: the list has %d", token, n)
	}
	return nil, fmt.Errorf("%s, which has no parts", kindOf(v))
}

// index returns the place that a token means; -1 if it means none (RFC 6901,
// section 4).
func index(token string) int {
	n, err := strconv.Atoi(token)
	if err != nil || n < 0 || token != strconv.Itoa(n) {
		return -1
	}
	return n
}

// names lists the members of an object, the first of many.
func names(v json.RawMessage) string {
	const most = 12
	var out []string
	for m := range rawjson.Members(v) {
		if len(out) == most {
			out = append(out, "more")
			break
		}
		out = append(out, fmt.Sprintf("%.40s", m.Name))
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

func kindOf(v json.RawMessage) string {
	switch rawjson.Kind(v) {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// The one member of an object that stands for something else.
const (
	memberRef     = "$ref"
	memberLiteral = "$literal" // its value stands for itself, whatever is in it
)

// only returns the value of v's member called name if v is an object that has no
// other.
func only(v json.RawMessage, name string) (json.RawMessage, bool) {
	n := 0
	var found json.RawMessage
	for m := range rawjson.Members(v) {
		if n++; n > 1 || m.Name != name {
			return nil, false
		}
		found = m.Value
	}
	return found, n == 1
}

// replace writes v with its references replaced by what resolve returns, which is
// told where they stand. That is not looked at again: a result that looks like a
// reference is none. Every other byte stays as it is.
func replace(out *bytes.Buffer, v json.RawMessage, path []string, resolve func(path []string, ref json.RawMessage) (json.RawMessage, error)) error {
	if kind := rawjson.Kind(v); kind != '{' && kind != '[' || plain(v) {
		out.Write(v)
		return nil
	}
	if ref, ok := only(v, memberRef); ok {
		with, err := resolve(path, ref)
		out.Write(with)
		return err
	}
	if literal, ok := only(v, memberLiteral); ok {
		out.Write(literal)
		return nil
	}
	done := 0
	for p := range parts(v) {
		out.Write(v[done:p.from])
		if err := replace(out, v[p.from:p.to], append(path, p.token), resolve); err != nil {
			return err
		}
		done = p.to
	}
	out.Write(v[done:])
	return nil
}

// plain reports whether there is certainly no member in v whose name begins with a
// dollar sign, however that is written.
func plain(v []byte) bool {
	return bytes.IndexByte(v, '$') < 0 && !bytes.Contains(v, []byte(`\u`))
}

// part is a value in an object or a list: what it is called there, and where it
// stands.
type part struct {
	token    string
	from, to int
}

func parts(v json.RawMessage) iter.Seq[part] {
	return func(yield func(part) bool) {
		for m := range rawjson.Members(v) {
			if !yield(part{m.Name, m.End - len(m.Value), m.End}) {
				return
			}
		}
		n, at := 0, bytes.IndexByte(v, '[')+1
		for e := range rawjson.Elements(v) {
			for strings.IndexByte(" \t\r\n,", v[at]) >= 0 { // between two elements there is nothing else
				at++
			}
			if !yield(part{strconv.Itoa(n), at, at + len(e)}) {
				return
			}
			n, at = n+1, at+len(e)
		}
	}
}
