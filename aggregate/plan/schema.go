package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// foretold returns what is certain to go wrong with a reference of call i in its
// argument at path, by what the tools say of their results and arguments; "" if
// nothing is.
func (r *reader) foretold(i int, p *pointer, path []string) string {
	got, problem := r.schema(i, p)
	if problem != "" {
		return fmt.Sprintf("%.80s: %s", p.text, problem)
	}
	want, _ := descend(r.calls[i].tool.Takes, path)
	is, may := types(got), types(want)
	if len(is) == 0 || len(may) == 0 || slices.ContainsFunc(is, func(t string) bool { return slices.Contains(may, t) }) {
		return ""
	}
	return fmt.Sprintf("%.80s is %s, but the argument %s must be %s", p.text, oneOf(is), strings.Join(path, "."), oneOf(may))
}

// unlisted returns why what call i is made for each element of is certainly no
// list; "" if it may be one.
func (r *reader) unlisted(i int) string {
	over := r.calls[i].over
	got, problem := r.schema(i, over)
	if problem != "" {
		return fmt.Sprintf("%.80s: %s", over.text, problem)
	}
	if is := types(got); len(is) > 0 && !slices.Contains(is, "array") && !slices.Contains(is, "null") {
		return fmt.Sprintf("%.80s is %s, not a list", over.text, oneOf(is))
	}
	return ""
}

// schema returns what is known of the value that p means in call i, nil if nothing
// is, and why there certainly is none.
func (r *reader) schema(i int, p *pointer) (schema json.RawMessage, problem string) {
	if p.call == item {
		list, _ := r.schema(i, r.calls[i].over) // what is wrong there is told there
		if is := types(list); len(is) != 1 || is[0] != "array" {
			return nil, ""
		}
		return descend(elements(list), p.tokens, "#", item)
	}
	j, ok := r.places[p.call]
	if !ok || p == noList {
		return nil, ""
	}
	of := r.calls[j].tool.Returns
	if r.calls[j].over != nil { // its result is the list of results
		if of == nil {
			of = json.RawMessage("{}")
		}
		of = fmt.Appendf(nil, `{"type":"array","items":%s}`, of)
	}
	return descend(of, p.tokens, "#", p.call)
}

// descend returns the schema of what the tokens lead to in a value of this one, as
// far as it can be known without a look at the value: nil if not. problem says why
// there certainly is nothing; it calls the value by the parts of name.
func descend(schema json.RawMessage, tokens []string, name ...string) (sub json.RawMessage, problem string) {
	for _, t := range tokens {
		if _, elsewhere := rawjson.Get(schema, "$ref"); elsewhere {
			return nil, ""
		}
		is, at := types(schema), strings.Join(name, "/")
		switch {
		case len(is) == 0 || strings.Contains(oneOf(is), " or "):
			return nil, ""
		case is[0] == "object":
			schema, problem = property(schema, t, at)
		case is[0] == "array" && index(t) < 0:
			return nil, fmt.Sprintf("at %s there is a list: %.40q is none of its elements, which are 0, 1, ...", at, t)
		case is[0] == "array":
			schema = elements(schema)
		default:
			return nil, fmt.Sprintf("at %s there is %s, which has no parts such as %.40q", at, oneOf(is), t)
		}
		if schema == nil {
			return nil, problem
		}
		name = append(name, t)
	}
	return schema, ""
}

func property(schema json.RawMessage, name, at string) (sub json.RawMessage, problem string) {
	properties, _ := rawjson.Get(schema, "properties")
	if sub, ok := rawjson.Get(properties, name); ok {
		return sub, ""
	}
	more, _ := rawjson.Get(schema, "additionalProperties")
	_, patterns := rawjson.Get(schema, "patternProperties")
	if patterns || string(more) != "false" {
		return nil, ""
	}
	return nil, fmt.Sprintf("at %s there is no %.40q, but %s", at, name, names(properties))
}

func elements(schema json.RawMessage) json.RawMessage {
	items, _ := rawjson.Get(schema, "items")
	if _, first := rawjson.Get(schema, "prefixItems"); first || rawjson.Kind(items) != '{' {
		return nil
	}
	return items
}

// types returns the types that a schema allows; none if it does not say.
func types(schema json.RawMessage) []string {
	if rawjson.Kind(schema) != '{' {
		return nil
	}
	var out []string
	add := func(t string) {
		switch out = append(out, t); t {
		case "integer":
			out = append(out, "number")
		case "number": // it may be one without a fraction
			out = append(out, "integer")
		}
	}
	typ, _ := rawjson.Get(schema, "type")
	if rawjson.Kind(typ) == '"' {
		add(rawjson.String(typ))
	}
	for t := range rawjson.Elements(typ) {
		add(rawjson.String(t))
	}
	return out
}

// oneOf names types of JSON Schema as the model knows them.
func oneOf(types []string) string {
	words := map[string]string{
		"object": "an object", "array": "a list", "string": "a text", "number": "a number", "integer": "a number",
		"boolean": "a boolean", "null": "null",
	}
	var out []string
	for _, t := range types {
		if w := words[t]; w != "" && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return strings.Join(out, " or ")
}
