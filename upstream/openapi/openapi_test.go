package openapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
)

func everything() openapi.Selection { return openapi.Selection{Operations: []string{"* *"}} }

// document is a small one with these paths and components, as JSON.
func document(paths, components string) []byte {
	if components == "" {
		components = "{}"
	}
	return fmt.Appendf(nil, `{"openapi":"3.0.3","info":{"title":"t","version":"1"},"components":%s,"paths":%s}`, components, paths)
}

func TestDocumentsThatAreNone(t *testing.T) {
	t.Parallel()
	many := make([]string, 0, 800)
	for i := range 800 {
		many = append(many, fmt.Sprintf(`"/p%d":{"get":{},"put":{},"post":{},"delete":{},"patch":{},"head":{},"options":{}}`, i))
	}
	bomb := "openapi: 3.0.0\na: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), c-1)
	}
	for name, test := range map[string]struct{ doc, want string }{
		"empty":           {" \n", "is empty"},
		"HTML":            {"<!DOCTYPE html><html>", "HTML or XML"},
		"no JSON":         {`{"openapi":"3.0.3",`, "broken: expected a member name at byte 19"},
		"no YAML":         {"openapi: [", "neither JSON nor YAML"},
		"no mapping":      {"just text", "no OpenAPI document"},
		"a list":          {"[1]", "no OpenAPI document"},
		"something else":  {`{"info":{}}`, "no OpenAPI document"},
		"AsyncAPI":        {`{"asyncapi":"3.0.0"}`, "no OpenAPI document"},
		"too new":         {`{"openapi":"4.0.0"}`, `OpenAPI "4.0.0"`},
		"Swagger 1.2":     {`{"swagger":"1.2"}`, "no OpenAPI document"},
		"deep":            {`{"openapi":"3.0.3","x":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + "}", "nested too deeply"},
		"large":           {`{"openapi":"3.0.3","x":"` + strings.Repeat("x", openapi.MaxDocument) + `"}`, "more than 32 MiB"},
		"large YAML":      {"openapi: 3.0.3\nx: " + strings.Repeat("x", 9<<20), "convert it to JSON"},
		"aliases":         {bomb, ""},
		"many operations": {string(document("{"+strings.Join(many, ",")+"}", "")), "5600 operations"},
		"not UTF-8":       {"{\"openapi\":\"3.0.3\xff\"}", "invalid UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := openapi.Compile(t.Context(), []byte(test.doc), everything())
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 400 {
				t.Errorf("%.500v, want %q", err, test.want)
			}
		})
	}
}

func TestSelectionsThatAreNone(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"":            "neither",
		"/items":      "neither",
		"FETCH /a":    "no method",
		"TRACE /a":    "no method",
		"GET a":       "neither",
		"GET /a writ": "neither",
		"a b c d":     "neither",
	} {
		if err := openapi.CheckPattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
	for _, pattern := range []string{"a", "issues/*", "GET /a", "get /a/{b}/*", "* *", "* /a write", "a read"} {
		if err := openapi.CheckPattern(pattern); err != nil {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	if _, err := openapi.Compile(t.Context(), document("{}", ""), openapi.Selection{}); err == nil {
		t.Error("a selection of nothing compiles")
	}
}

// TestPatterns tells that * is any run of characters, everywhere in a pattern.
func TestPatterns(t *testing.T) {
	t.Parallel()
	doc := document(`{"/a/b":{"get":{"operationId":"aab"}},"/a/bb/b":{"get":{"operationId":"x*y"}}}`, "")
	for pattern, want := range map[string][]string{
		"GET /a/*":     {"/a/b", "/a/bb/b"},
		"GET /a/*b/b":  {"/a/bb/b"},
		"GET */b":      {},
		"GET /*/b":     {"/a/b", "/a/bb/b"},
		"GET /a/b*b*b": {"/a/bb/b"},
		"a*b":          {"/a/b"},
		"a*a*ab":       {},
		"*":            {"/a/b", "/a/bb/b"},
		"x*y":          {"/a/bb/b"},
		"PUT /a/*":     {},
	} {
		c, err := openapi.Compile(t.Context(), doc, openapi.Selection{Operations: []string{pattern}})
		if pattern == "GET */b" {
			if err == nil {
				t.Errorf("%q is taken", pattern)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		got := []string{}
		for _, o := range c.Operations {
			got = append(got, o.Path)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", pattern, diff)
		}
		if (len(got) == 0) != slices.Contains(c.Unmatched, pattern) {
			t.Errorf("%q: unmatched is %q", pattern, c.Unmatched)
		}
	}
}

// TestWhatSchemasMayCost tells that a schema that would be endless or enormous
// becomes a small one.
func TestWhatSchemasMayCost(t *testing.T) {
	t.Parallel()
	bomb := `{"schemas":{"S40":{"type":"string"}`
	for i := range 40 {
		bomb += fmt.Sprintf(`,"S%d":{"type":"object","properties":{"a":{"$ref":"#/components/schemas/S%d"},"b":{"$ref":"#/components/schemas/S%d"}}}`, i, i+1, i+1)
	}
	var chain, wide strings.Builder
	chain.WriteString(`{"schemas":{"C50000":{"type":"string"}`)
	for i := range 50000 {
		fmt.Fprintf(&chain, `,"C%d":{"$ref":"#/components/schemas/C%d"}`, i, i+1)
	}
	wide.WriteString(`{"schemas":{"S0":{"type":"object","properties":{"z":{"type":"integer"}`)
	for i := range 100000 {
		fmt.Fprintf(&wide, `,"property%d":{"type":"string","description":"One of very many properties, all of them alike."}`, i)
	}
	wide.WriteString(`}}}}`)
	deep := `{"schemas":{"S0":` + strings.Repeat(`{"type":"object","properties":{"a":`, 60) + `{"type":"string"}` + strings.Repeat(`}}`, 60) + `}}`
	const paths = `{"/a":{"post":{"operationId":"a","parameters":[{"name":"q","in":"query","schema":{"$ref":"#/components/schemas/NAME"}}],
		"requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/NAME"}}}},
		"responses":{"200":{"description":"","content":{"application/json":{"schema":{"$ref":"#/components/schemas/NAME"}}}}}}}}`
	for name, test := range map[string]struct{ components, schema string }{
		"doubling": {bomb + "}}", "S0"}, "chain": {chain.String() + "}}", "C0"}, "wide": {wide.String(), "S0"}, "deep": {deep, "S0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := openapi.Compile(t.Context(), document(strings.ReplaceAll(paths, "NAME", test.schema), test.components), everything())
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Definition.Actions) != 1 {
				t.Fatalf("%+v", c.Operations)
			}
			raw, err := json.Marshal(c.Definition.Actions[0])
			if err != nil || len(raw) > 100<<10 {
				t.Errorf("%d bytes, %v", len(raw), err)
			}
			if bytes.Contains(raw, []byte("$ref")) || bytes.Contains(raw, []byte("$defs")) {
				t.Errorf("a reference is left: %.300s", raw)
			}
			if name != "deep" && !slices.Contains(c.Operations[0].Notes, "what a schema says is shortened") {
				t.Errorf("nothing tells that it is shortened: %q", c.Operations[0].Notes)
			}
		})
	}
}

// TestCompiledForm tells that the same comes to the same bytes whatever the
// order in the document, that it survives being kept, and that another one is
// not taken for it.
func TestCompiledForm(t *testing.T) {
	t.Parallel()
	a := `"/a":{"get":{"operationId":"a","parameters":[{"name":"n","in":"query","schema":{"type":"integer","enum":[12345678901234567890]}}],"responses":{"200":{"description":"","content":{"application/json":{"schema":{"type":"object","properties":{"x":{"type":"string"}}}}}}}}}`
	b := `"/b":{"post":{"operationId":"b","requestBody":{"content":{"application/json":{"schema":{"type":"object","properties":{"x":{"type":"string"},"y":{"type":"string"}}}}}}}}`
	var kept [][]byte
	key := openapi.Key("hash", everything())
	for _, paths := range []string{a + "," + b, b + "," + a} {
		c, err := openapi.Compile(t.Context(), document("{"+paths+"}", ""), everything())
		if err != nil {
			t.Fatal(err)
		}
		c.Key = key
		raw, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, raw)
		again, err := openapi.Decode(raw, key)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Error(diff)
		}
	}
	if !bytes.Equal(kept[0], kept[1]) {
		t.Error("the order of the document shows")
	}
	for name, other := range map[string]string{
		"another document":   openapi.Key("another", everything()),
		"another choice":     openapi.Key("hash", openapi.Selection{Operations: []string{"a"}}),
		"another name space": openapi.Key("hash", openapi.Selection{Operations: []string{"* *"}, Room: 20}),
	} {
		if _, err := openapi.Decode(kept[0], other); err == nil {
			t.Errorf("%s is answered from it", name)
		}
	}
	for name, broken := range map[string][]byte{"nothing": nil, "text": []byte("text"), "cut": kept[0][:len(kept[0])/2]} {
		if _, err := openapi.Decode(broken, key); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestNamesLeaveRoomForThePrefix(t *testing.T) {
	t.Parallel()
	doc := document(`{"/a":{"get":{"operationId":"a-name-of-thirty-characters-ok"},"put":{"operationId":"a-name-of-thirty-one-characters"}}}`, "")
	c, err := openapi.Compile(t.Context(), doc, openapi.Selection{Operations: []string{"* *"}, Room: 30})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Operations[0].Tool; got != "a-name-of-thirty-characters-ok" {
		t.Error(got)
	}
	if got := c.Operations[1].Tool; len(got) > 30 || !strings.HasPrefix(got, "a-name-of-thirty-one_") {
		t.Error(got)
	}
}

func TestCompileEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := openapi.Compile(ctx, document(`{"/a":{"get":{}}}`, ""), everything()); err == nil {
		t.Error("it goes on")
	}
}
