package rest

import (
	"bytes"
	"slices"
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

// project appends what is to be given of the value before r, and moves r behind it.
// seen, where it is not nil, notes the fields that were there.
func (s *shape) project(buf []byte, r *rawjson.Reader, seen []bool) []byte {
	kind := r.Kind()
	if s == nil || s.whole || kind != '{' && kind != '[' {
		if s != nil && !s.whole {
			s.unsaid(seen)
		}
		return append(buf, r.Skip()...)
	}
	buf = append(buf, kind)
	first := true
	for name := range r.Descend() {
		below := s
		if name != nil {
			n := s.index(name)
			if n < 0 {
				r.Skip()
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
		buf = below.project(buf, r, seen)
	}
	if first && kind == '[' {
		s.unsaid(seen)
	}
	return append(buf, kind+2) // the closing bracket is two behind the opening one
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
