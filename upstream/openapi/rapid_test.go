package openapi_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
)

// words are names of members and strings that mean something somewhere in a
// document, most of them in the wrong place.
var words = []string{
	"openapi", "swagger", "3.0.3", "3.1.0", "2.0", "paths", "components", "schemas", "parameters", "requestBodies", "responses", "definitions",
	"get", "post", "put", "operationId", "a", "b", "name", "in", "path", "query", "header", "body", "formData", "cookie", "required", "schema", "content",
	"application/json", "multipart/form-data", "application/x-www-form-urlencoded", "text/plain", "*/*", "type", "object", "array", "string", "file",
	"properties", "items", "allOf", "oneOf", "anyOf", "additionalProperties", "enum", "nullable", "readOnly", "style", "deepObject", "explode", "encoding",
	"200", "default", "$ref", "#/components/schemas/a", "#/components/parameters/a", "#/paths/~1a", "#", "", "collectionFormat", "csv", "minimum", "exclusiveMinimum",
	"consumes", "produces", "description", "summary", "deprecated", "securitySchemes", "format", "binary", "{a}", "pattern", "^a$", "Idempotency-Key",
}

func anything(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Map(rapid.SampledFrom(words), func(s string) any { return s }), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.IntRange(-2, 300), func(n int) any { return n }), rapid.Just[any](nil),
	)
	if depth == 0 {
		return leaf
	}
	inner := rapid.Deferred(func() *rapid.Generator[any] { return anything(depth - 1) })
	return rapid.OneOf(leaf,
		rapid.Map(rapid.MapOfN(rapid.SampledFrom(words), inner, 0, 5), func(m map[string]any) any { return m }),
		rapid.Map(rapid.MapOfN(rapid.SampledFrom(words), inner, 1, 5), func(m map[string]any) any { return m }),
		rapid.Map(rapid.SliceOfN(inner, 0, 3), func(l []any) any { return l }),
	)
}

// parameter is most often one.
func parameter() *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		p := map[string]any{
			"name": rapid.SampledFrom([]string{"a", "b", "a[b]", "é"}).Draw(t, "name"),
			"in":   rapid.SampledFrom([]string{"path", "query", "header", "body", "formData", "cookie"}).Draw(t, "in"),
		}
		for range rapid.IntRange(0, 4).Draw(t, "more") {
			p[rapid.SampledFrom(words).Draw(t, "key")] = anything(3).Draw(t, "value")
		}
		return p
	})
}

// TestAnyDocument tells that documents in which anything stands anywhere come to
// actions that can be built, or to words on why not.
func TestAnyDocument(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		operation := map[string]any{"parameters": rapid.SliceOfN(parameter(), 0, 4).Draw(r, "parameters")}
		for range rapid.IntRange(0, 4).Draw(r, "more") {
			operation[rapid.SampledFrom([]string{"requestBody", "responses", "operationId", "consumes", "produces", "deprecated", "description", "parameters"}).Draw(r, "key")] =
				anything(5).Draw(r, "value")
		}
		doc := map[string]any{
			rapid.SampledFrom([]string{"openapi", "swagger"}).Draw(r, "form"): rapid.SampledFrom([]string{"3.0.3", "3.1.0", "2.0"}).Draw(r, "version"),
			"paths": map[string]any{"/a/{a}": map[string]any{
				"get": operation, "post": anything(5).Draw(r, "post"), "parameters": anything(3).Draw(r, "shared"),
			}, "/b": anything(4).Draw(r, "path")},
			"components":  anything(5).Draw(r, "components"),
			"definitions": anything(4).Draw(r, "definitions"),
		}
		text, err := json.Marshal(doc)
		if err != nil {
			r.Fatal(err)
		}
		c, err := openapi.Compile(t.Context(), text, everything())
		if err != nil {
			return
		}
		raw, err := c.Encode()
		if err != nil {
			r.Fatal(err)
		}
		again, err := openapi.Compile(t.Context(), text, everything())
		if err != nil {
			r.Fatal(err)
		}
		if other, _ := again.Encode(); !bytes.Equal(raw, other) {
			r.Error("it comes to something else the second time")
		}
		for _, o := range c.Operations {
			if o.Problem == "" && o.Tool == "" {
				r.Errorf("%+v", o)
			}
		}
		if len(c.Definition.Actions) > 0 {
			if err := c.Definition.Check(); err != nil {
				r.Error(err)
			}
		}
	})
}
