package rest

import (
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
	children []*shape
	// seen numbers the declared fields, see [tally]; -1 for one that is none.
	seen int
	path string
}

// newShape returns the shape of the fields that dotted paths name.
func newShape(fields []string) *shape {
	root := &shape{seen: -1}
	number := 0
	for _, f := range fields {
		s := root
		for name := range strings.SplitSeq(f, ".") {
			i := slices.Index(s.names, name)
			if i < 0 {
				i = len(s.names)
				path := name
				if s.path != "" {
					path = s.path + "." + name
				}
				s.names = append(s.names, name)
				s.children = append(s.children, &shape{seen: number, path: path})
				number++
			}
			s = s.children[i]
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

// project appends what of v is to be given. seen, where it is not nil, notes the
// fields that were there.
func (s *shape) project(buf []byte, v json.RawMessage, seen []bool) []byte {
	if s == nil || s.whole {
		return append(buf, v...)
	}
	switch rawjson.Kind(v) {
	case '{':
		buf = append(buf, '{')
		first := true
		for m := range rawjson.Members(v) {
			i := slices.Index(s.names, m.Name)
			if i < 0 {
				continue
			}
			if !first {
				buf = append(buf, ',')
			}
			first = false
			c := s.children[i]
			if seen != nil && c.seen >= 0 {
				seen[c.seen] = true
			}
			buf = append(buf, v[m.Start:m.End-len(m.Value)]...) // its name and colon
			buf = c.project(buf, m.Value, seen)
		}
		return append(buf, '}')
	case '[':
		buf = append(buf, '[')
		first := true
		for e := range rawjson.Elements(v) {
			if !first {
				buf = append(buf, ',')
			}
			first = false
			buf = s.project(buf, e, seen)
		}
		return append(buf, ']')
	}
	return append(buf, v...)
}

// pointer is a compiled JSON pointer (RFC 6901).
type pointer []string

// at returns the value that p leads to in v.
func (p pointer) at(v json.RawMessage) (json.RawMessage, bool) {
	for _, token := range p {
		switch rawjson.Kind(v) {
		case '{':
			var ok bool
			if v, ok = rawjson.Get(v, token); !ok {
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
