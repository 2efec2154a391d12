package upstream

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Traits say what may be done to a call. They come from the upstream's
// annotations or from configuration; who may trust which is policy and is
// decided in aggregate.
type Traits struct {
	ReadOnly, Idempotent, Destructive bool
}

// Tool is one tool as its upstream defines it.
type Tool struct {
	Upstream ID
	Name     string          // the upstream's own name
	Raw      json.RawMessage // the upstream's own definition, byte for byte
	Hints    Traits          // what the upstream's annotations claim
	HasHints bool            // whether it claims whether it reads or writes
	Title    string          // for display; "" if absent
}

// ParseTool reads the members of a tool definition that routing and policy
// need. raw must have passed [rawjson.Check]. It refuses a definition that
// common hosts answer by dropping the whole list: no object, no name, an input
// schema that is not an object schema, hints that are not booleans.
func ParseTool(id ID, raw json.RawMessage) (Tool, error) {
	t := Tool{Upstream: id, Raw: raw}
	if rawjson.Kind(raw) != '{' {
		return t, errors.New("the definition is not an object")
	}
	var schema, annotations json.RawMessage
	for m := range rawjson.Members(raw) {
		switch m.Name {
		case "name":
			t.Name = rawjson.String(m.Value)
		case "title":
			t.Title = rawjson.String(m.Value)
		case "description":
			if rawjson.Kind(m.Value) != '"' {
				return t, errors.New("description is not a string")
			}
		case "inputSchema":
			schema = m.Value
		case "annotations":
			annotations = m.Value
		}
	}
	if t.Name == "" {
		return t, errors.New("name is missing, empty or not a string")
	}
	if err := checkSchema(schema); err != nil {
		return t, err
	}
	return t, t.readHints(annotations)
}

// checkSchema holds MCP's rule (tools, §Tool) that inputSchema is an object
// schema: its root says "type": "object".
func checkSchema(schema json.RawMessage) error {
	if schema == nil {
		return errors.New("inputSchema is missing")
	}
	if rawjson.Kind(schema) != '{' {
		return errors.New("inputSchema is not an object")
	}
	if typ, _ := rawjson.GetString(schema, "type"); typ != "object" {
		return errors.New(`inputSchema does not say "type": "object"`)
	}
	return nil
}

func (t *Tool) readHints(annotations json.RawMessage) error {
	if annotations == nil {
		return nil
	}
	if rawjson.Kind(annotations) != '{' {
		return errors.New("annotations is not an object")
	}
	for m := range rawjson.Members(annotations) {
		var into *bool
		switch m.Name {
		case "readOnlyHint":
			into, t.HasHints = &t.Hints.ReadOnly, true
		case "idempotentHint":
			into = &t.Hints.Idempotent
		case "destructiveHint":
			into, t.HasHints = &t.Hints.Destructive, true
		case "openWorldHint":
			into = new(bool)
		default:
			continue
		}
		if err := json.Unmarshal(m.Value, into); err != nil || rawjson.IsNull(m.Value) {
			return fmt.Errorf("annotations.%s is not a boolean", m.Name)
		}
	}
	return nil
}

// ToolSpec is a tool of an adapter that is no MCP server.
type ToolSpec struct {
	Name, Title, Description string
	Input                    json.RawMessage // the JSON Schema of the arguments, an object schema
	Output                   json.RawMessage // the JSON Schema of the structured content; nil says nothing of it
	Hints                    Traits          // stated explicitly, all of them
	OpenWorld                bool            // whether it reaches what nobody can list, such as the web
}

// NewTool builds the definition of a tool.
func NewTool(id ID, s ToolSpec) (Tool, error) {
	type annotations struct {
		ReadOnly    bool `json:"readOnlyHint"`
		Destructive bool `json:"destructiveHint"`
		Idempotent  bool `json:"idempotentHint"`
		OpenWorld   bool `json:"openWorldHint"`
	}
	raw, err := rawjson.Marshal(struct {
		Name        string          `json:"name"`
		Title       string          `json:"title,omitempty"`
		Description string          `json:"description,omitempty"`
		Input       json.RawMessage `json:"inputSchema"`
		Output      json.RawMessage `json:"outputSchema,omitempty"`
		Annotations annotations     `json:"annotations"`
	}{s.Name, s.Title, s.Description, s.Input, s.Output, annotations{s.Hints.ReadOnly, s.Hints.Destructive, s.Hints.Idempotent, s.OpenWorld}})
	if err != nil {
		return Tool{}, err
	}
	return ParseTool(id, raw)
}
