package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// maxText is how many bytes of a description a model is told.
const maxText = 600

// compiler makes one action of one operation.
type compiler struct {
	doc      *document
	fragment *fragment
	op       Operation
	action   rest.Action
	shorter  bool // some schema says less than the document
}

func (c *compiler) note(format string, args ...any) {
	c.op.Notes = append(c.op.Notes, fmt.Sprintf(format, args...))
}

func (c *compiler) compile(src operationSource, class string, room int) {
	c.op = Operation{ID: src.id, Named: src.named, Method: src.method, Path: src.path, Tool: cut(src.name, room)}
	c.action = rest.Action{Name: c.op.Tool, Method: src.method, Path: src.path, Class: class}
	c.op.Class = class
	if class == "" {
		c.op.Class = classOf(src.method)
	}
	c.action.Verb = verb(src.method, c.op.Class)
	if err := c.fill(src); err != nil {
		c.op.Problem = strings.TrimPrefix(err.Error(), "action."+c.op.Tool+".")
	}
	if c.op.Class == "write" && c.action.Idempotency != "" {
		c.op.Class = "idempotent"
	}
	for _, p := range c.action.Params {
		text := p.Arg
		if p.Required {
			text += "*"
		}
		c.op.Parameters = append(c.op.Parameters, text)
	}
	for _, lost := range c.fragment.lost {
		c.note("%s", lost)
	}
	if c.shorter {
		c.note("what a schema says is shortened")
	}
}

func (c *compiler) fill(src operationSource) error {
	if src.method == "OPTIONS" {
		return fmt.Errorf("%s operations are not built", src.method)
	}
	op, err := c.fragment.operation(src)
	if err != nil {
		return err
	}
	c.action.Title = brief(op.Summary, 120)
	c.op.Title = c.action.Title
	c.action.Description = brief(op.Description, maxText)
	if c.action.Description == "" {
		c.action.Description = c.action.Title
	}
	if c.action.Description == "" {
		c.action.Description = src.method + " " + src.path
	}
	if op.Deprecated {
		c.action.Description = "Deprecated. " + c.action.Description
	}
	if err := c.arguments(op); err != nil {
		return err
	}
	c.answer(op)
	alone := rest.Definition{Paging: []rest.Paging{linked}, Actions: []rest.Action{c.action}}
	return alone.Check()
}

// classOf is what a method means (RFC 9110, §9.2).
func classOf(method string) string {
	switch method {
	case "GET", "HEAD":
		return "read"
	case "PUT", "DELETE":
		return "idempotent"
	}
	return "write"
}

// verb is what an action is called for. It is no list until its answer is one,
// and whatever is sent with POST may destroy something.
func verb(method, class string) string {
	switch {
	case class == "read":
		return "get"
	case method == "DELETE":
		return "delete"
	}
	return "update"
}

// linked is how a list goes on: where the answer names the next page in its header
// (RFC 8288, section 3), whether the document says so or not. What documents say of
// other ways is in their parameters, which the model has.
var linked = rest.Paging{Name: "link", Kind: "link"}

// answer says what the action answers with.
func (c *compiler) answer(op *openapi3.Operation) {
	var content openapi3.Content
	if r := op.Responses.Value("200"); r != nil && r.Value != nil {
		content = r.Value.Content
	}
	names := sortedNames(content)
	i := slices.IndexFunc(names, func(n string) bool { return media(n) == "application/json" })
	if i < 0 {
		i = slices.IndexFunc(names, func(n string) bool { return isJSON(media(n)) })
	}
	if i < 0 {
		c.action.Answer = "any"
		if len(names) > 0 {
			c.accept(names[0])
		}
		return
	}
	c.accept(names[i])
	schema := c.fragment.schema(content[names[i]].Schema)
	if f, _ := rawjson.GetString(schema, "format"); f == "binary" {
		c.action.Answer = "any"
		return
	}
	switch c.shape(schema) {
	case "object":
		c.action.Output = c.doc.output(schema)
	case "array":
		if c.op.Class != "read" || slices.ContainsFunc(c.action.Params, func(p rest.Param) bool { return p.Arg == "cursor" }) {
			return
		}
		c.action.Verb, c.action.Paging = "list", linked.Name
		target, _, _ := c.doc.resolve(schema) // shape has followed it
		if items, ok := rawjson.Get(target, "items"); ok && c.shape(items) == "object" {
			c.action.Output = c.doc.output(items)
		}
	}
}

// output returns an answer's schema, the same for the same reference: most
// operations on a thing answer with it.
func (d *document) output(schema json.RawMessage) map[string]any {
	ref, _ := rawjson.GetString(schema, "$ref")
	if out, ok := d.outputs[ref]; ok {
		return out
	}
	inlined, _, _ := d.inline(schema, true, maxAnswerSchema)
	out := decoded(inlined)
	out["type"] = "object"
	if ref != "" {
		d.outputs[ref] = out
	}
	return out
}

// accept asks for the media type that the document names first.
func (c *compiler) accept(name string) {
	if m := media(name); !strings.Contains(m, "*") && m != "application/json" {
		c.action.Headers = map[string]string{"Accept": m}
	}
}

// servers is where the document says that the source is.
func (d *document) servers() []string {
	const most = 5
	root := d.members("")
	var out []string
	add := func(server string) {
		if server != "" && len(out) < most {
			out = append(out, brief(server, 300))
		}
	}
	for s := range rawjson.Elements(root["servers"]) {
		url, _ := rawjson.GetString(s, "url")
		add(url)
	}
	if host := rawjson.String(root["host"]); d.swagger && host != "" {
		add("https://" + host + strings.TrimSuffix(rawjson.String(root["basePath"]), "/"))
	}
	return out
}

// title is what the document calls itself.
func (d *document) title() string {
	title, _ := rawjson.GetString(d.members("")["info"], "title")
	return brief(title, 80)
}
