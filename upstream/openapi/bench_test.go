package openapi_test

import (
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// BenchmarkStart is what a start costs with a document that is compiled already:
// from the kept bytes to the adapter. The document is GitHub's.
func BenchmarkStart(b *testing.B) {
	if !*documents {
		b.Skip("without -documents")
	}
	text := packed(b, "@octokit/openapi@23.0.2", "generated/api.github.com.json")["generated/api.github.com.json"]
	for name, operations := range map[string][]string{"issues": {"issues/*"}, "reads": {"GET *"}, "all": {"* *"}} {
		b.Run(name, func(b *testing.B) {
			c, err := openapi.Compile(b.Context(), text, openapi.Selection{Operations: operations})
			if err != nil {
				b.Fatal(err)
			}
			kept, err := c.Encode()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(c.Definition.Actions)), "tools")
			for b.Loop() {
				c, err := openapi.Decode(kept, "")
				if err != nil {
					b.Fatal(err)
				}
				if _, err := rest.New(rest.Options{ID: "x", Definition: &c.Definition, BaseURL: "https://api.example.com", Writes: true}, client(nil)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCompile is what compiling all of Stripe's document costs.
func BenchmarkCompile(b *testing.B) {
	text := stripe(b)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := openapi.Compile(b.Context(), text, everything()); err != nil {
			b.Fatal(err)
		}
	}
}
