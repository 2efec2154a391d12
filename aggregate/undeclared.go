package aggregate

import (
	"encoding/json"
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Undeclared says which fields are to be kept of a source's results that the
// output schemas of its tools do not have: a sentence for each, in the order of
// the tools. Of a tool that declares nothing, and behind references and
// alternatives, nothing is known. A program may have made other fields.
func Undeclared(a *Aggregate, id upstream.ID) []string {
	m, l := listedBy(a, id)
	var out []string
	for _, t := range l.offered {
		rule := m.Shape[t.key]
		if rule == nil || rule.JQ != "" {
			continue
		}
		schema, _ := rawjson.Get(t.tool.Raw, "outputSchema")
		records := recordSchema(schema, rule)
		for _, field := range rule.Fields {
			path, err := shaping.ParseField(field)
			if err == nil && !declaresPath(records, path) {
				out = append(out, fmt.Sprintf("tools.override.%s.fields names %q, which its output schema does not have", t.key, field))
			}
		}
	}
	return out
}

// listedBy returns a member and what it has listed of tools: no member, or nothing,
// where that is not known.
func listedBy(a *Aggregate, id upstream.ID) (*member, *contents) {
	if m := memberCalled(a.members(), id); m != nil {
		if l := m.contents(upstream.Tools); l != nil {
			return m, l
		}
	}
	return nil, &contents{}
}

// recordSchema returns the schema of the records that rules are about, as far as
// it can be told: nil if it cannot.
func recordSchema(schema json.RawMessage, rule *shaping.Shaper) json.RawMessage {
	if rule.RowsAt != nil {
		for _, token := range rule.Path() {
			properties, _ := rawjson.Get(schema, "properties")
			schema, _ = rawjson.Get(properties, token)
		}
		return schema
	}
	var list json.RawMessage
	properties, _ := rawjson.Get(schema, "properties")
	for p := range rawjson.Members(properties) {
		if _, is := rawjson.Get(p.Value, "items"); is {
			if list != nil {
				return schema
			}
			list = p.Value
		}
	}
	if list != nil {
		return list
	}
	return schema
}

// declaresPath reports whether a schema has a path of names, or may have it.
func declaresPath(schema json.RawMessage, path []string) bool {
	for _, name := range path {
		for {
			items, ok := rawjson.Get(schema, "items")
			if !ok {
				break
			}
			schema = items
		}
		properties, ok := rawjson.Get(schema, "properties")
		if !ok {
			return true
		}
		for _, other := range []string{"$ref", "allOf", "anyOf", "oneOf", "patternProperties", "additionalProperties"} {
			if v, has := rawjson.Get(schema, other); has && string(v) != "false" {
				return true
			}
		}
		if schema, ok = rawjson.Get(properties, name); !ok {
			return false
		}
	}
	return true
}
