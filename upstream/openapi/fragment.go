package openapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// mark is the extension that stands in a fragment where a schema was.
const mark = "x-schema"

// fragment is the text of one operation for the library to read: references
// followed, its path's parameters merged, only what a tool is made of. Schemas
// are taken out and put aside as they stand, because the library would hold
// numbers as float64, needs forty times a schema's size, and gives a whole
// document up for one schema that it cannot read.
type fragment struct {
	doc     *document
	schemas []json.RawMessage // as they stand in the document
	lost    []string          // what could not be followed, and why
}

// operation reads one operation. Whatever is wrong with it is wrong with it
// alone.
func (f *fragment) operation(src operationSource) (op *openapi3.Operation, err error) {
	defer func() {
		if p := recover(); p != nil { // the library's converter panics where it doubts itself
			op, err = nil, fmt.Errorf("cannot be read: %.200v", p)
		}
	}()
	m := members(src.text)
	out := pick(m, "operationId", "summary", "description", "deprecated")
	params, err := f.parameters(src, m)
	if err != nil {
		return nil, err
	}
	out["parameters"] = join(params)
	out["responses"] = f.responses(m["responses"])
	if f.doc.swagger {
		return f.convert(src, m, out)
	}
	if body := m["requestBody"]; body != nil {
		if out["requestBody"], err = f.body(body); err != nil {
			return nil, err
		}
	}
	op = &openapi3.Operation{}
	if err := op.UnmarshalJSON(object(out)); err != nil {
		return nil, fmt.Errorf("cannot be read: %.200w", err)
	}
	return op, nil
}

// convert reads an operation of Swagger 2.0.
func (f *fragment) convert(src operationSource, m, out map[string]json.RawMessage) (*openapi3.Operation, error) {
	consumes := f.doc.consumes
	if m["consumes"] != nil {
		consumes = m["consumes"]
	}
	out["consumes"] = mediaTypes(consumes, out["parameters"])
	out["produces"] = f.doc.produces
	if m["produces"] != nil {
		out["produces"] = m["produces"]
	}
	if !fits(several, out["produces"]) {
		out["produces"] = json.RawMessage(`["application/json"]`)
	}
	doc := object(map[string]json.RawMessage{
		"swagger": json.RawMessage(`"2.0"`),
		"paths":   object(map[string]json.RawMessage{src.path: object(map[string]json.RawMessage{strings.ToLower(src.method): object(out)})}),
	})
	var v2 openapi2.T
	if err := json.Unmarshal(doc, &v2); err != nil {
		return nil, fmt.Errorf("cannot be read: %.200w", err)
	}
	v3, err := openapi2conv.ToV3(&v2)
	if err != nil {
		return nil, fmt.Errorf("cannot be converted from Swagger 2.0: %.200w", err)
	}
	op := v3.Paths.Value(src.path).GetOperation(src.method)
	if op == nil {
		return nil, errors.New("cannot be converted from Swagger 2.0")
	}
	if op.RequestBody != nil && op.RequestBody.Value != nil {
		for _, media := range op.RequestBody.Value.Content {
			media.Encoding = lists(out["parameters"])
		}
	}
	return op, nil
}

// lists returns how the arrays of a form of Swagger 2.0 are written that are one value
// each, which the library leaves out.
func lists(params json.RawMessage) openapi3.Encodings {
	out, once := openapi3.Encodings{}, false
	for p := range rawjson.Elements(params) {
		m := members(p)
		if rawjson.String(m["in"]) == "formData" && rawjson.String(m["collectionFormat"]) == "csv" {
			out[rawjson.String(m["name"])] = &openapi3.Encoding{Style: openapi3.SerializationForm, Explode: &once}
		}
	}
	return out
}

// collections are the ways of Swagger 2.0 to write an array, by place, that can be
// built.
var collections = map[string]string{"query": "csv multi ssv pipes", "formData": "csv multi", "path": "csv", "header": "csv"}

// mediaTypes returns what a body of Swagger 2.0 is sent as; the document's first
// word on it where that suits the parameters.
func mediaTypes(consumes, params json.RawMessage) json.RawMessage {
	form, file := false, false
	for p := range rawjson.Elements(params) {
		in, _ := rawjson.GetString(p, "in")
		typ, _ := rawjson.GetString(p, "type")
		form, file = form || in == "formData", file || typ == "file"
	}
	said := strings.ToLower(string(consumes))
	switch {
	case file, form && strings.Contains(said, "multipart/form-data") && !strings.Contains(said, "urlencoded"):
		return json.RawMessage(`["multipart/form-data"]`)
	case form:
		return json.RawMessage(`["application/x-www-form-urlencoded"]`)
	case fits(several, consumes):
		return consumes
	}
	return json.RawMessage(`["application/json"]`)
}

// parameters merges those of the path and those of the operation, which win
// (OpenAPI 3.1, §4.8.9).
func (f *fragment) parameters(src operationSource, m map[string]json.RawMessage) ([]json.RawMessage, error) {
	var out []json.RawMessage
	at := make(map[string]int)
	shared, _ := rawjson.Get(src.item, "parameters")
	for _, list := range []json.RawMessage{shared, m["parameters"]} {
		for p := range rawjson.Elements(list) {
			p, _, err := f.doc.resolve(p)
			if err != nil {
				return nil, fmt.Errorf("one of its parameters %w", err)
			}
			pm := members(p)
			in, name := rawjson.String(pm["in"]), rawjson.String(pm["name"])
			if in == "" || name == "" {
				return nil, errors.New("one of its parameters has no name or no place")
			}
			key := in + " " + name
			if way := rawjson.String(pm["collectionFormat"]); f.doc.swagger && rawjson.String(pm["type"]) == "array" && way != "" && !slices.Contains(strings.Fields(collections[in]), way) {
				return nil, fmt.Errorf("its %s parameter %s has the collectionFormat %s, which is not built", in, quoted(name), quoted(way))
			}
			text := f.parameter(pm)
			if i, ok := at[key]; ok {
				out[i] = text
				continue
			}
			at[key] = len(out)
			out = append(out, text)
		}
	}
	if len(out) > maxArguments {
		return nil, fmt.Errorf("it has %d parameters, at most %d can be read", len(out), maxArguments)
	}
	return out, nil
}

func (f *fragment) parameter(m map[string]json.RawMessage) json.RawMessage {
	out := pick(m, "name", "in", "description", "deprecated", "required", "style", "explode")
	if v := m["content"]; v != nil {
		out["content"] = f.content(v)
	}
	if v := m["schema"]; v != nil {
		out["schema"] = f.aside(v)
	}
	if !f.doc.swagger || m["schema"] != nil {
		return object(out)
	}
	// In Swagger 2.0 the keywords of a schema stand in the parameter itself.
	schema := pick(m, keywordNames()...)
	delete(schema, "required")
	if rawjson.String(m["in"]) != "formData" { // else it becomes a field of a body
		delete(schema, "description")
	}
	out["type"] = m["type"]
	switch rawjson.String(m["type"]) {
	case "file":
		schema["type"], schema["format"] = json.RawMessage(`"string"`), json.RawMessage(`"binary"`)
	case "array":
		out["items"] = json.RawMessage(`{"type":"string"}`)
		if out["collectionFormat"] = m["collectionFormat"]; out["collectionFormat"] == nil {
			out["collectionFormat"] = json.RawMessage(`"csv"`) // the default (Swagger 2.0, Parameter Object)
		}
	}
	f.schemas = append(f.schemas, object(schema))
	out[mark] = fmt.Append(nil, len(f.schemas)-1)
	return object(out)
}

// aside puts a schema away and returns what stands for it.
func (f *fragment) aside(schema json.RawMessage) json.RawMessage {
	f.schemas = append(f.schemas, schema)
	return fmt.Appendf(nil, `{%q:%d}`, mark, len(f.schemas)-1)
}

func (f *fragment) body(v json.RawMessage) (json.RawMessage, error) {
	v, _, err := f.doc.resolve(v)
	if err != nil {
		return nil, fmt.Errorf("its body %w", err)
	}
	m := members(v)
	out := pick(m, "description", "required")
	out["content"] = f.content(m["content"])
	return object(out), nil
}

// content returns the media types of a body or an answer.
func (f *fragment) content(v json.RawMessage) json.RawMessage {
	out := make(map[string]json.RawMessage)
	for m := range rawjson.Members(v) {
		media, _, err := f.doc.resolve(m.Value)
		if err != nil {
			f.lost = append(f.lost, "what is sent as "+quoted(m.Name)+" "+err.Error())
			continue
		}
		mm := members(media)
		kept := make(map[string]json.RawMessage)
		if mm["schema"] != nil {
			kept["schema"] = f.aside(mm["schema"])
		}
		encodings := make(map[string]json.RawMessage)
		for e := range rawjson.Members(mm["encoding"]) {
			encodings[e.Name] = object(pick(members(e.Value), "contentType", "style", "explode"))
		}
		kept["encoding"] = object(encodings)
		out[m.Name] = object(kept)
	}
	return object(out)
}

// responses returns the answer that means success: of 2xx the lowest with
// content, else the lowest, else the default.
func (f *fragment) responses(v json.RawMessage) json.RawMessage {
	type answer struct {
		status string
		text   map[string]json.RawMessage
	}
	var answers []answer
	for m := range rawjson.Members(v) {
		status := strings.ToUpper(m.Name)
		if len(status) != 3 || status[0] != '2' {
			if m.Name != "default" {
				continue
			}
			status = "~" // behind all others
		}
		text, _, err := f.doc.resolve(m.Value)
		if err != nil {
			f.lost = append(f.lost, "its answer "+m.Name+" "+err.Error())
			continue
		}
		am := members(text)
		if am["content"] == nil && am["schema"] == nil {
			status = "}" + status // behind those that say what they hold
		}
		answers = append(answers, answer{status, am})
	}
	if answers == nil {
		return json.RawMessage(`{}`)
	}
	best := slices.MinFunc(answers, func(a, b answer) int { return cmp.Compare(a.status, b.status) })
	out := map[string]json.RawMessage{"description": json.RawMessage(`""`)}
	if schema := best.text["schema"]; schema != nil && f.doc.swagger {
		out["schema"] = f.aside(schema)
		if typ, _ := rawjson.GetString(schema, "type"); typ == "file" {
			out["schema"] = f.aside(json.RawMessage(`{"format":"binary"}`))
		}
	} else if content := best.text["content"]; content != nil {
		out["content"] = f.content(content)
	}
	return object(map[string]json.RawMessage{"200": object(out)})
}

// schema returns the text of the schema that s stands for; nil for none.
func (f *fragment) schema(s *openapi3.SchemaRef) json.RawMessage {
	if s == nil || s.Value == nil {
		return nil
	}
	if text := f.marked(s.Value.Extensions); text != nil {
		return text
	}
	// One that the converter made of a form's fields.
	properties := make(map[string]json.RawMessage, len(s.Value.Properties))
	for name, p := range s.Value.Properties {
		properties[name] = f.schema(p)
	}
	required, _ := json.Marshal(slices.Sorted(slices.Values(s.Value.Required))) // strings
	return object(map[string]json.RawMessage{
		"type": json.RawMessage(`"object"`), "properties": object(properties), "required": required,
	})
}

// marked returns the schema that extensions point to; nil for none.
func (f *fragment) marked(extensions map[string]any) json.RawMessage {
	n, ok := extensions[mark].(float64)
	if !ok || n < 0 || int(n) >= len(f.schemas) {
		return nil
	}
	return f.schemas[int(n)]
}

// pick returns the named members.
func pick(m map[string]json.RawMessage, names ...string) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(names))
	for _, name := range names {
		if v := m[name]; v != nil {
			out[name] = v
		}
	}
	return out
}

// object writes an object, its members in the order of their names.
func object(m map[string]json.RawMessage) json.RawMessage {
	out, err := json.Marshal(m)
	if err != nil { // the parts are JSON that rawjson has checked
		panic("openapi: " + err.Error())
	}
	return out
}

func join(list []json.RawMessage) json.RawMessage {
	out, err := json.Marshal(list)
	if err != nil { // as above
		panic("openapi: " + err.Error())
	}
	return out
}
