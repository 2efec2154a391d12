package openapi_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// FuzzCompile tells that whatever is called a document either is refused or
// comes to actions that can be built, the same ones each time.
func FuzzCompile(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, section := range txtar.Parse(raw).Files {
			if section.Name == "doc" {
				f.Add(section.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := openapi.Compile(t.Context(), doc, everything())
		if err != nil {
			return
		}
		raw, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := openapi.Compile(t.Context(), doc, everything())
		if err != nil {
			t.Fatal(err)
		}
		if other, _ := again.Encode(); !bytes.Equal(raw, other) {
			t.Error("it comes to something else the second time")
		}
		if len(c.Definition.Actions) == 0 {
			return
		}
		names := make(map[string]bool)
		for _, a := range c.Definition.Actions {
			if names[a.Name] || len(a.Name) > 64 {
				t.Errorf("the name %q", a.Name)
			}
			names[a.Name] = true
		}
		a, err := rest.New(rest.Options{ID: "x", Definition: &c.Definition, BaseURL: "https://api.example.com", Writes: true}, client(nil))
		if err != nil {
			t.Fatal(err)
		}
		tools, err := a.Tools(t.Context())
		if err != nil || len(tools) != len(c.Definition.Actions) {
			t.Errorf("%d tools, %v", len(tools), err)
		}
		for _, tool := range tools {
			if _, err := upstream.ParseTool("x", tool.Raw); err != nil || !json.Valid(tool.Raw) {
				t.Errorf("%s: %v", tool.Raw, err)
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}
