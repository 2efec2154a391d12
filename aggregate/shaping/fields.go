package shaping

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// node is what is kept of one object: a tree of names.
type node struct {
	below map[string]*node
	// field is which field ends here, and so keeps the whole value; -1 if none does.
	field int
}

func (n *node) add(path []string, field int) {
	if n.below == nil {
		n.below = make(map[string]*node)
	}
	next := n.below[path[0]]
	if next == nil {
		next = &node{field: -1}
		n.below[path[0]] = next
	}
	if len(path) == 1 {
		next.field = field
		return
	}
	next.add(path[1:], field)
}

// ParseField reads the path of a field: names with dots between them, such as
// "owner.email", or a JSON pointer (RFC 6901) such as "/owner/e.mail" where names
// have dots themselves. Lists on the way need no word of their own: what is said
// of a list is said of each of its elements.
func ParseField(text string) ([]string, error) {
	var path []string
	if strings.HasPrefix(text, "/") {
		var err error
		if path, err = parsePointer(text); err != nil {
			return nil, err
		}
	} else {
		path = strings.Split(text, ".")
	}
	if slices.Contains(path, "") {
		return nil, errors.New("a name in it is empty")
	}
	return path, nil
}

// count is how many fields a record has, and how many are kept.
type count struct{ kept, all int }

func (c count) max(o count) count { return count{max(c.kept, o.kept), max(c.all, o.all)} }

func (c count) plus(o count) count { return count{c.kept + o.kept, c.all + o.all} }

// projection notes what happens to the records of one value.
type projection struct {
	seen    []bool // by field
	removed bool
}

// project appends v without the members that n does not keep. What is no object
// has none to take away and stays as it is.
func (p *projection) project(out []byte, v json.RawMessage, n *node) (json.RawMessage, count) {
	switch rawjson.Kind(v) {
	case '{':
		return p.object(out, v, n)
	case '[':
		var most count
		sep := byte('[')
		for e := range rawjson.Elements(v) {
			var c count
			out, c = p.project(append(out, sep), e, n)
			most, sep = most.max(c), ','
		}
		if sep == '[' {
			out = append(out, sep)
		}
		return append(out, ']'), most
	}
	return append(out, v...), count{}
}

func (p *projection) object(out []byte, v json.RawMessage, n *node) (json.RawMessage, count) {
	var sum count
	sep := byte('{')
	for quoted, value := range rawjson.Fields(v) {
		next := n.member(quoted)
		if next == nil {
			p.removed = true
			sum.all++
			continue
		}
		out = append(append(append(out, sep), quoted...), ':')
		sep = ','
		if next.field >= 0 {
			p.seen[next.field] = true
			out = append(out, value...)
			sum = sum.plus(count{1, 1})
			continue
		}
		var c count
		if out, c = p.project(out, value, next); c.all == 0 {
			c = count{1, 1}
		}
		sum = sum.plus(c)
	}
	if sep == '{' {
		out = append(out, sep)
	}
	return append(out, '}'), sum
}

// member returns what is kept of a member, by its name as it stands in the text.
func (n *node) member(quoted []byte) *node {
	if found := n.below[string(quoted[1:len(quoted)-1])]; found != nil && !strings.Contains(string(quoted), `\`) {
		return found
	}
	if !strings.Contains(string(quoted), `\`) {
		return nil
	}
	return n.below[rawjson.String(quoted)]
}
