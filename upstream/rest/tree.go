package rest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// wholeBody is the name of a parameter that is the body, not a part of it.
const wholeBody = "/"

// node is a place in a JSON body: where an argument goes, a constant, or what
// holds more of them.
type node struct {
	param    int             // index of the argument; -1 for none
	constant json.RawMessage // of a leaf; nil for none
	fixed    bool            // it is there even if nothing is in it
	array    bool
	names    []string // of the children of an object
	children []*node
}

// newTree lays the arguments of an action over its constants.
func newTree(a *Action) (*node, error) {
	root := constantNode(a.Constant)
	root.fixed = false
	for i := range a.Params {
		p := &a.Params[i]
		if a.in(p) != inBody {
			continue
		}
		if err := root.put(bodyTokens(p.wire()), i); err != nil {
			return nil, fmt.Errorf("params.%s: %w", p.Arg, err)
		}
	}
	return root, nil
}

// bodyTokens returns where in a body a parameter goes: a JSON pointer (RFC
// 6901), or the name of a member.
func bodyTokens(name string) []string {
	if name == wholeBody {
		return nil
	}
	if !strings.HasPrefix(name, "/") {
		return []string{name}
	}
	return pointerTokens(name)
}

func pointerTokens(pointer string) []string {
	if pointer == "" {
		return nil
	}
	tokens := strings.Split(pointer[1:], "/")
	for i, t := range tokens {
		if strings.Contains(t, "~") {
			tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
		}
	}
	return tokens
}

func constantNode(v any) *node {
	n := &node{param: -1, fixed: true}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range sortedKeys(v) {
			n.names, n.children = append(n.names, name), append(n.children, constantNode(v[name]))
		}
	case []any:
		n.array = true
		for _, e := range v {
			n.children = append(n.children, constantNode(e))
		}
	default:
		n.constant = raw(v)
	}
	return n
}

// put makes the place that tokens lead to that of an argument.
func (n *node) put(tokens []string, param int) error {
	if len(tokens) == 0 {
		if n.param >= 0 {
			return fmt.Errorf("another parameter has its place in the body")
		}
		n.param = param
		return nil
	}
	if n.constant != nil {
		return fmt.Errorf("its place in the body is inside a constant")
	}
	name := tokens[0]
	i := slices.Index(n.names, name)
	if number, err := strconv.Atoi(name); err == nil && number >= 0 && (n.array || len(n.children) == 0 && !n.fixed) {
		if n.array = true; number > len(n.children) {
			return fmt.Errorf("element %d of an array in the body has none before it", number)
		}
		i = number
	} else if n.array {
		return fmt.Errorf("%q is no element of an array in the body", name)
	}
	if i < 0 || i == len(n.children) {
		i = len(n.children)
		n.children = append(n.children, &node{param: -1})
		if !n.array {
			n.names = append(n.names, name)
		}
	}
	return n.children[i].put(tokens[1:], param)
}

// write appends what stands at n, and reports false, and appends nothing, where
// nothing does. over is what an argument further out says of it; nil if none does.
func (n *node) write(buf []byte, values []json.RawMessage, over json.RawMessage) ([]byte, bool) {
	if n.param >= 0 && values[n.param] != nil {
		over = values[n.param]
	}
	switch {
	case over != nil && (len(n.children) == 0 || n.array || rawjson.Kind(over) != '{'):
		return append(buf, over...), true
	case n.constant != nil:
		return append(buf, n.constant...), true
	case n.array:
		return n.writeArray(buf, values)
	}
	begin := len(buf)
	buf = append(buf, '{')
	some := over != nil || n.fixed
	member := func(name string, child *node, over json.RawMessage) {
		mark := len(buf)
		if mark > begin+1 {
			buf = append(buf, ',')
		}
		buf = append(append(buf, rawjson.Quote(name)...), ':')
		ok := true
		if child == nil {
			buf = append(buf, over...)
		} else {
			buf, ok = child.write(buf, values, over)
		}
		if !ok {
			buf = buf[:mark]
			return
		}
		some = true
	}
	var done []string
	for m := range rawjson.Members(over) {
		var child *node
		if i := slices.Index(n.names, m.Name); i >= 0 {
			child = n.children[i]
			done = append(done, m.Name)
		}
		member(m.Name, child, m.Value)
	}
	for i, name := range n.names {
		if !slices.Contains(done, name) {
			member(name, n.children[i], nil)
		}
	}
	if !some {
		return buf[:begin], false
	}
	return append(buf, '}'), true
}

func (n *node) writeArray(buf []byte, values []json.RawMessage) ([]byte, bool) {
	begin := len(buf)
	buf = append(buf, '[')
	for _, child := range n.children {
		mark := len(buf)
		if mark > begin+1 {
			buf = append(buf, ',')
		}
		var ok bool
		if buf, ok = child.write(buf, values, nil); !ok {
			buf = buf[:mark]
		}
	}
	if len(buf) == begin+1 && !n.fixed {
		return buf[:begin], false
	}
	return append(buf, ']'), true
}
