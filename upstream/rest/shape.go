package rest

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// shape is which fields of a record are given. Arrays on the way are walked.
type shape struct {
	whole    bool
	names    []string
	quoted   []string // the names as they stand in JSON
	children []*shape
	// seen numbers the declared fields, see [tally]; -1 for one that is none.
	seen int
	path string
}

// newShape returns the shape of the fields that dotted paths name. One that ends in
// a ? may be missing; so may what leads to it, unless another field needs that.
func newShape(fields []string) *shape {
	root := &shape{seen: -1}
	number := 0
	for _, f := range fields {
		s := root
		f, optional := strings.CutSuffix(f, "?")
		for name := range strings.SplitSeq(f, ".") {
			i := slices.Index(s.names, name)
			if i < 0 {
				i = len(s.names)
				path := name
				if s.path != "" {
					path = s.path + "." + name
				}
				s.names = append(s.names, name)
				s.quoted = append(s.quoted, string(rawjson.Quote(name)))
				s.children = append(s.children, &shape{seen: -1, path: path})
			}
			if s = s.children[i]; s.seen < 0 && !optional {
				s.seen = number
				number++
			}
		}
		s.whole = true
	}
	return root
}

// fieldsOf returns the declared fields by their numbers.
func (s *shape) fieldsOf() []*shape {
	var out []*shape
	if s.seen >= 0 {
		out = append(out, s)
	}
	for _, c := range s.children {
		out = append(out, c.fieldsOf()...)
	}
	slices.SortFunc(out, func(a, b *shape) int { return a.seen - b.seen })
	return out
}

// index returns which of the fields has this name, with its quotes; -1 if none.
func (s *shape) index(quoted []byte) int {
	for i, name := range s.quoted {
		if string(quoted) == name {
			return i
		}
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return -1
	}
	return slices.Index(s.names, rawjson.String(quoted))
}

// project appends what is to be given of the value that begins at v[*i], and moves
// *i behind it. seen, where it is not nil, notes the fields that were there.
func (s *shape) project(buf []byte, v json.RawMessage, i *int, seen []bool) []byte {
	from := *i
	if s == nil || s.whole || v[from] != '{' && v[from] != '[' {
		if s != nil && !s.whole {
			s.unsaid(seen)
		}
		*i = rawjson.Skip(v, from)
		return append(buf, v[from:*i]...)
	}
	buf = append(buf, v[from])
	first := true
	for name := range rawjson.Descend(v, i) {
		below := s
		if name != nil {
			n := s.index(name)
			if n < 0 {
				*i = rawjson.Skip(v, *i)
				continue
			}
			if below = s.children[n]; seen != nil && below.seen >= 0 {
				seen[below.seen] = true
			}
		}
		if !first {
			buf = append(buf, ',')
		}
		first = false
		if name != nil {
			buf = append(append(buf, name...), ':')
		}
		buf = below.project(buf, v, i, seen)
	}
	if first && v[from] == '[' {
		s.unsaid(seen)
	}
	return append(buf, v[from]+2) // the closing bracket is two behind the opening one
}

// unsaid counts the fields below s as seen: an empty array, or null in the place
// of an object, does not say that they are gone.
func (s *shape) unsaid(seen []bool) {
	if seen == nil {
		return
	}
	for _, c := range s.children {
		if c.seen >= 0 {
			seen[c.seen] = true
		}
		c.unsaid(seen)
	}
}

// body is the JSON text of an answer. Its members are noted while it is checked,
// because several are looked for.
type body struct {
	text    json.RawMessage
	members []rawjson.Member // nil where there are none, or too many
}

// parseBody checks a text; the error says what is wrong with it. Names that stand
// twice in an object are the source's affair: the first counts.
func parseBody(text []byte) (*body, error) {
	members, _, err := rawjson.Index(text, rawjson.Limits{AllowDups: true}, "")
	if err != nil {
		return nil, err
	}
	return &body{text, members}, nil
}

// at returns the value that p leads to.
func (b *body) at(p pointer) (json.RawMessage, bool) {
	if b == nil {
		return nil, false
	}
	if len(p) == 0 || b.members == nil {
		return p.at(b.text)
	}
	for _, m := range b.members {
		if m.Name == p[0] {
			return p[1:].at(m.Value)
		}
	}
	return nil, false
}

// pointer is a compiled JSON pointer (RFC 6901).
type pointer []string

// member is [rawjson.Get] without memory for names.
func member(obj json.RawMessage, name string) (json.RawMessage, bool) {
	for quoted, v := range rawjson.Fields(obj) {
		if len(quoted) == len(name)+2 && string(quoted[1:len(quoted)-1]) == name || bytes.IndexByte(quoted, '\\') >= 0 && rawjson.String(quoted) == name {
			return v, true
		}
	}
	return nil, false
}

// at returns the value that p leads to in v.
func (p pointer) at(v json.RawMessage) (json.RawMessage, bool) {
	for _, token := range p {
		switch rawjson.Kind(v) {
		case '{':
			var ok bool
			if v, ok = member(v, token); !ok {
				return nil, false
			}
		case '[':
			n, err := strconv.Atoi(token)
			if err != nil || n < 0 {
				return nil, false
			}
			found := false
			for e := range rawjson.Elements(v) {
				if found = n == 0; found {
					v = e
					break
				}
				n--
			}
			if !found {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	return v, true
}
