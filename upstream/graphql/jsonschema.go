package graphql

import (
	"encoding/json"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// schema is the part of JSON Schema that GraphQL's types need. The zero value
// allows anything.
type schema struct {
	Type        any             `json:"type,omitempty"` // a name, or two of which one is "null"
	Description string          `json:"description,omitempty"`
	Enum        []string        `json:"enum,omitempty"`
	Items       *schema         `json:"items,omitempty"`
	Properties  properties      `json:"properties,omitempty"`
	Required    []string        `json:"required,omitempty"`
	Default     json.RawMessage `json:"default,omitempty"`
	Additional  *bool           `json:"additionalProperties,omitempty"`
	Least       int             `json:"minProperties,omitempty"`
	Most        int             `json:"maxProperties,omitempty"`
}

// properties keep their order, which the document's author chose.
type properties []property

type property struct {
	name   string
	schema *schema
}

// MarshalJSON implements [json.Marshaler].
func (p properties) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, member := range p {
		if i > 0 {
			out = append(out, ',')
		}
		value, err := rawjson.Marshal(member.schema)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, rawjson.Quote(member.name)...), ':'), value...)
	}
	return append(out, '}'), nil
}

// scalars are the types that every service has (GraphQL, October 2021, section
// 3.5), by what they are in JSON. An ID may be given as an integer; it is
// answered as a string.
var scalars = map[string]string{
	"Int": "integer", "Float": "number", "String": "string", "Boolean": "boolean", "ID": "string",
}

// constant is a constant as JSON; nil if it is none. Numbers stay as they are
// written.
func constant(v *ast.Value) json.RawMessage {
	if v == nil {
		return nil
	}
	switch v.Kind {
	case ast.IntValue, ast.FloatValue, ast.BooleanValue:
		if raw := json.RawMessage(v.Raw); json.Valid(raw) {
			return raw
		}
	case ast.NullValue:
		return json.RawMessage("null")
	case ast.StringValue, ast.BlockValue, ast.EnumValue:
		return rawjson.Quote(v.Raw)
	case ast.ListValue:
		return constants(v, '[', ']', func(*ast.ChildValue) []byte { return nil })
	case ast.ObjectValue:
		return constants(v, '{', '}', func(c *ast.ChildValue) []byte { return append(rawjson.Quote(c.Name), ':') })
	}
	return nil
}

func constants(v *ast.Value, first, last byte, head func(*ast.ChildValue) []byte) json.RawMessage {
	out := []byte{first}
	for i, c := range v.Children {
		raw := constant(c.Value)
		if raw == nil {
			return nil
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, head(c)...), raw...)
	}
	return append(out, last)
}
