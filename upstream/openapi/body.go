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

// whole is the name on the wire of an argument that is the body.
const whole = "/"

// body turns a request's body into arguments: one for each field of an object,
// or one that is all of it.
func (c *compiler) body(b *openapi3.RequestBody) ([]argument, error) {
	name, kind := choose(b.Content)
	if name == "" {
		if b.Required && len(b.Content) > 0 {
			return nil, fmt.Errorf("its body is sent as %s, which is not built", quoted(sortedNames(b.Content)[0]))
		}
		return nil, nil
	}
	if c.action.Method == "GET" || c.action.Method == "HEAD" {
		return c.noBody(b, name) // it has no meaning there (RFC 9110, §9.3.1)
	}
	content := b.Content[name]
	schema := c.fragment.schema(content.Schema)
	if schema == nil {
		schema = json.RawMessage(`{}`)
	}
	c.action.Body = kind
	if m := media(name); (kind == "json" && m != "application/json" && !strings.Contains(m, "*")) || kind == "raw" {
		c.action.ContentType = m
	}
	expected := b.Required || slices.Contains([]string{"POST", "PUT", "PATCH"}, c.action.Method)
	if kind != "raw" {
		obj := c.flatten(schema)
		if len(obj.properties) > 0 && (kind != "json" || !obj.open && !obj.numbered()) {
			return c.fields(obj, content, expected), nil
		}
	}
	switch kind {
	case "raw":
		schema = json.RawMessage(`{"type":"string"}`)
		if m := c.action.ContentType; !strings.HasPrefix(m, "text/") && !strings.HasSuffix(m, "xml") {
			schema = json.RawMessage(`{"type":"string","format":"byte","description":"In base64."}`)
		}
	case "form", "multipart":
		if !b.Required && c.shape(schema) != "" {
			c.action.Body = ""
			return nil, nil // nothing is said of it: a form without fields
		}
		return nil, fmt.Errorf("its body is sent as %s, but its fields are not told", quoted(name))
	}
	return []argument{{wish: "body", schema: schema, param: rest.Param{
		In: "body", Name: whole, Required: b.Required, Doc: brief(b.Description, maxDescription),
	}}}, nil
}

// noBody leaves the body of a GET out, and says so if it is more than an empty
// form.
func (c *compiler) noBody(b *openapi3.RequestBody, name string) ([]argument, error) {
	if b.Required {
		return nil, fmt.Errorf("%s with a body cannot be sent", c.action.Method)
	}
	if obj := c.flatten(c.fragment.schema(b.Content[name].Schema)); len(obj.properties) > 0 {
		c.note("its body is left out: %s has none", c.action.Method)
	}
	return nil, nil
}

// fields makes an argument of each field of the body.
func (c *compiler) fields(obj flat, content *openapi3.MediaType, expected bool) []argument {
	var out []argument
	for _, p := range obj.properties {
		a := argument{wish: p.Name, schema: p.Value, param: rest.Param{
			In: "body", Name: p.Name, Required: expected && obj.required[p.Name],
		}}
		if strings.HasPrefix(p.Name, "/") { // it would be read as a pointer
			a.param.Name = "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(p.Name)
		}
		if c.action.Body == "multipart" {
			if schema, ok := file(p.Value, content.Encoding[p.Name]); ok {
				a.schema = schema
			}
		}
		if c.action.Body != "json" {
			a.param.Style = c.formStyle(p.Value, content.Encoding[p.Name])
		}
		out = append(out, a)
	}
	return out
}

// file returns the schema of a file in a multipart body as a model can follow it, and
// whether it is one: in base64, unless its media type is one of text. A file is of
// format "binary" (OpenAPI 3.0, Considerations for File Uploads; Swagger's type "file"
// becomes it) or says its encoding or media type (OpenAPI 3.1, see [inliner.modern]);
// it may be a list of them, or be allowed to be null.
func file(schema json.RawMessage, e *openapi3.Encoding) (json.RawMessage, bool) {
	kw := members(schema)
	if kw["items"] != nil {
		items, ok := file(kw["items"], e)
		kw["items"] = items
		return object(kw), ok
	}
	for _, several := range []string{"anyOf", "oneOf"} {
		some := slices.DeleteFunc(slices.Collect(rawjson.Elements(kw[several])), func(s json.RawMessage) bool {
			t, _ := rawjson.GetString(s, "type")
			return t == "null"
		})
		if one, ok := files(some, e); ok || len(some) == 1 {
			return one, ok
		}
	}
	format, media := rawjson.String(kw["format"]), ""
	if e != nil {
		media = e.ContentType
	}
	out := pick(kw, "type", "description", "deprecated")
	if out["type"] == nil {
		out["type"] = json.RawMessage(`"string"`)
	}
	switch {
	case format != "binary" && format != "byte":
		return schema, false
	case format == "binary" && rest.TextFile(media):
		out["format"] = rawjson.Quote(media)
	default:
		out["format"] = json.RawMessage(`"byte"`)
		out["description"] = rawjson.Quote(strings.TrimSpace(rawjson.String(kw["description"]) + " In base64."))
	}
	return object(out), true
}

// files is [file] for alternatives that are all files: the list of them, if that is
// among them, and else the first.
func files(some []json.RawMessage, e *openapi3.Encoding) (one json.RawMessage, ok bool) {
	for i, s := range some {
		f, is := file(s, e)
		if !is {
			return s, false
		}
		if i == 0 || members(f)["items"] != nil {
			one = f
		}
	}
	return one, one != nil
}

// formStyle returns how a field of a form is written (OpenAPI 3.1, §4.8.15); ""
// is with brackets, which services read where nothing is said of an object.
func (c *compiler) formStyle(schema json.RawMessage, e *openapi3.Encoding) string {
	shape := c.shape(schema)
	switch {
	case e == nil || (e.Style == "" && e.Explode == nil && e.ContentType == ""):
		if shape == "array" {
			return "form"
		}
		return ""
	case isJSON(media(e.ContentType)):
		return "json"
	case e.Style == "deepObject" && shape == "array":
		return "brackets"
	case e.Style == "deepObject":
		return ""
	case e.Explode != nil && !*e.Explode:
		return "comma"
	}
	return "form"
}

// choose returns the media type that a body is sent as and its kind; "" if
// there is none.
func choose(content openapi3.Content) (name, kind string) {
	names := sortedNames(content)
	for _, want := range []struct {
		kind string
		is   func(string) bool
	}{
		{"json", func(m string) bool { return m == "application/json" }},
		{"json", isJSON},
		{"form", func(m string) bool { return m == "application/x-www-form-urlencoded" }},
		{"multipart", func(m string) bool { return m == "multipart/form-data" }},
		{"raw", func(m string) bool { return !strings.Contains(m, "*") && !strings.HasPrefix(m, "multipart/") }},
	} {
		for _, name := range names {
			if want.is(media(name)) {
				return name, want.kind
			}
		}
	}
	return "", ""
}
