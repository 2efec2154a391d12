package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The arguments that tools have besides those of their definition.
const (
	argLimit  = "limit"
	argCursor = "cursor"
	argFields = "fields"
)

// object is a JSON object in the order in which it was written.
type object struct{ buf bytes.Buffer }

func (o *object) add(name string, value []byte) {
	if o.buf.Len() > 0 {
		o.buf.WriteByte(',')
	}
	o.buf.Write(rawjson.Quote(name))
	o.buf.WriteByte(':')
	o.buf.Write(value)
}

func (o *object) json() json.RawMessage {
	return json.RawMessage("{" + o.buf.String() + "}")
}

// schema returns the JSON Schema of an argument.
func (p *Param) schema() json.RawMessage {
	if p.Schema != nil {
		s := maps.Clone(p.Schema)
		if _, ok := s["description"]; !ok && p.Doc != "" {
			s["description"] = p.Doc
		}
		if _, ok := s["default"]; !ok && p.Default != nil {
			s["default"] = p.Default
		}
		return raw(s)
	}
	var o object
	o.add("type", raw(p.kind()))
	if p.Doc != "" {
		o.add("description", raw(p.Doc))
	}
	var limits object
	if p.Enum != nil {
		limits.add("enum", raw(p.Enum))
	}
	if p.Format != "" {
		limits.add("format", raw(p.Format))
	}
	switch {
	case p.Items != "" && p.kind() == "array": // then they are about the elements
		var items object
		items.add("type", raw(p.Items))
		if limits.buf.Len() > 0 {
			items.buf.WriteString("," + limits.buf.String())
		}
		o.add("items", items.json())
	case p.kind() == "array":
		o.add("items", []byte("{}")) // some hosts demand it
	case limits.buf.Len() > 0:
		o.buf.WriteString("," + limits.buf.String())
	}
	if p.Default != nil {
		o.add("default", raw(p.Default))
	}
	return o.json()
}

// inputSchema returns the JSON Schema of the arguments of a.
func (a *action) inputSchema() json.RawMessage {
	var properties object
	required := []string{}
	for i := range a.def.Params {
		p := &a.def.Params[i]
		properties.add(p.Arg, p.schema())
		if a.params[i].required {
			required = append(required, p.Arg)
		}
	}
	if p := a.pager; p != nil && p.size >= 0 {
		var o object
		o.add("type", raw("integer"))
		o.add("description", raw("How many to give at most."))
		o.add("minimum", raw(1))
		o.add("maximum", raw(p.def.Most))
		if p.def.Default > 0 {
			o.add("default", raw(p.def.Default))
		}
		properties.add(argLimit, o.json())
	}
	if a.goesOn {
		properties.add(argCursor, []byte(`{"type":"string","description":"next_cursor of the answer before, to go on from there with the same arguments."}`))
	}
	if a.choosable {
		doc := "Fields of a record to give, as dotted paths"
		if len(a.def.Fields) > 0 {
			doc += "; [\"*\"] is all. Default: " + strings.ReplaceAll(strings.Join(a.def.Fields, ", "), "?", "")
		}
		properties.add(argFields, raw(map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "description": doc + "."}))
	}
	var o object
	o.add("type", raw("object"))
	o.add("properties", properties.json())
	if len(required) > 0 {
		o.add("required", raw(required))
	}
	o.add("additionalProperties", []byte("false"))
	return o.json()
}

// outputSchema returns the JSON Schema of the structured content; nil where
// nothing is known of the records. Nothing in a record is required: the model
// may have chosen other fields, and the source may have changed.
func (a *action) outputSchema() json.RawMessage {
	var record json.RawMessage
	switch {
	case a.def.Answer == "any": // which may have no structured content
		return nil
	case a.def.Output != nil:
		s := maps.Clone(a.def.Output)
		delete(s, "required")
		delete(s, "additionalProperties")
		record = raw(s)
	case len(a.def.Fields) > 0:
		var properties object
		for _, name := range a.shape.names {
			properties.add(name, []byte("{}"))
		}
		record = json.RawMessage(`{"type":"object","properties":` + string(properties.json()) + `}`)
	default:
		return nil
	}
	if !a.list {
		if t, _ := rawjson.GetString(record, "type"); t != "object" {
			return nil
		}
		return record
	}
	return json.RawMessage(`{"type":"object","properties":{"records":{"type":"array","items":` + string(record) +
		`},"count":{"type":"integer","description":"How many records are here."},` +
		`"total":{"type":"number","description":"How many there are in all."},` +
		`"next_cursor":{"type":"string","description":"Where to go on; there is none at the end."},` +
		`"note":{"type":"string"}},"required":["records","count"]}`)
}

func (a *action) newTool(id upstream.ID) (upstream.Tool, error) {
	d := a.def
	title := d.Title
	if title == "" {
		title = d.Name
	}
	read := !d.Writes()
	t, err := upstream.NewTool(id, upstream.ToolSpec{
		Name: d.Name, Title: title, Description: d.Description,
		Input: a.inputSchema(), Output: a.outputSchema(),
		Hints: upstream.Traits{ReadOnly: read, Idempotent: d.class() != classWrite, Destructive: !read && d.verb() != "create"},
	})
	if err != nil {
		return t, fmt.Errorf("action.%s: %w", d.Name, err)
	}
	return t, nil
}
