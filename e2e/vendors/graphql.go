package vendors

import (
	"slices"
	"strings"
)

// resolver answers one field of the root.
type resolver struct {
	kind string // query or mutation
	args string // those that it has, parted by spaces
	get  func(v object) any
}

// ask carries out the one field that a document asks for. mistake makes the
// answer to a document or variables that do not fit; the others are in data.
func ask(c *call, fields map[string]resolver, mistake func(string) Answer) (data object, a *Answer) {
	document, _ := c.body["query"].(string)
	variables, _ := c.body["variables"].(object)
	refuse := func(problem string) *Answer {
		c.from.complain("%s: %s", problem, document)
		a := mistake(problem)
		return &a
	}
	kind, root, err := parse(document, variables)
	switch {
	case err != nil:
		return nil, refuse(err.Error())
	case len(root) != 1:
		return nil, refuse("one field is asked for at a time")
	}
	f, ok := fields[root[0].name]
	if !ok || f.kind != kind {
		return nil, refuse("cannot " + kind + " " + root[0].name)
	}
	for part := range strings.FieldsSeq(strings.ReplaceAll(root[0].args, ",", " ")) {
		if name, isName := strings.CutSuffix(part, ":"); isName && !slices.Contains(strings.Fields(f.args), name) {
			if !strings.Contains(root[0].args, "{") { // inside an input object they are the vendor's to know
				return nil, refuse("there is no argument " + name)
			}
		}
	}
	if kind == "mutation" {
		c.from.wrote()
	}
	got, err := pick(f.get(variables), root[0].fields, root[0].name)
	if err != nil {
		return nil, refuse(err.Error())
	}
	return object{root[0].name: got}, nil
}

// relay is one page of a Relay connection, by the variables first and after.
func relay(records []object, v object) object {
	first := 50
	if n, ok := v["first"].(interface{ Int64() (int64, error) }); ok {
		if i, err := n.Int64(); err == nil {
			first = int(i)
		}
	}
	after, _ := v["after"].(string)
	start := 0
	for i, r := range records {
		if "cursor-"+r["id"].(string) == after {
			start = i + 1
		}
	}
	nodes := page(records, start, first)
	info := object{"hasNextPage": start+len(nodes) < len(records), "endCursor": nil}
	if len(nodes) > 0 {
		info["endCursor"] = "cursor-" + nodes[len(nodes)-1]["id"].(string)
	}
	return object{"nodes": nodes, "pageInfo": info}
}

// named finds a record.
func named(records []object, id any) any {
	for _, r := range records {
		if r["id"] == id || r["identifier"] == id {
			return r
		}
	}
	return nil
}
