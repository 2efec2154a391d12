package openapi_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

var update = flag.Bool("update", false, "write what is compiled into testdata")

// TestDocuments compiles the documents of testdata: "doc", what is chosen of it
// in "operations", a line each, and what it must come to in "want".
func TestDocuments(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			section := func(name string) *txtar.File {
				i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
				if i < 0 {
					t.Fatalf("%s has no section %s", file, name)
				}
				return &a.Files[i]
			}
			s := openapi.Selection{Operations: strings.Split(strings.TrimSpace(string(section("operations").Data)), "\n")}
			c, err := openapi.Compile(t.Context(), section("doc").Data, s)
			got := ""
			if err != nil {
				got = "error: " + err.Error() + "\n"
			} else {
				got = told(t, c)
			}
			want := section("want")
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// told writes a compiled document out for people.
func told(t *testing.T, c *openapi.Compiled) string {
	var b strings.Builder
	actions := make(map[string]rest.Action)
	for _, a := range c.Definition.Actions {
		actions[a.Name] = a
	}
	for _, o := range c.Operations {
		fmt.Fprintf(&b, "%s: %s %s %s\n", o.Tool, o.Class, o.Method, o.Path)
		if o.Problem != "" {
			fmt.Fprintf(&b, "  problem: %s\n", o.Problem)
			continue
		}
		a := actions[o.Tool]
		fmt.Fprintf(&b, "  %s %q\n", a.Verb, a.Description)
		for _, m := range [][2]string{{"body", strings.TrimSpace(a.Body + " " + a.ContentType)}, {"answer", a.Answer}, {"idempotency", a.Idempotency}} {
			if m[1] != "" {
				fmt.Fprintf(&b, "  %s: %s\n", m[0], m[1])
			}
		}
		if a.Headers != nil {
			fmt.Fprintf(&b, "  headers: %v\n", a.Headers)
		}
		for _, p := range a.Params {
			line := p.Arg + " in " + p.In
			for _, m := range [][2]string{{"as", p.Name}, {"style", p.Style}} {
				if m[1] != "" {
					line += " " + m[0] + " " + m[1]
				}
			}
			if p.Required {
				line += " required"
			}
			fmt.Fprintf(&b, "  - %s %s\n", line, text(t, p.Schema))
			if p.Doc != "" {
				fmt.Fprintf(&b, "    %q\n", p.Doc)
			}
		}
		if a.Output != nil {
			fmt.Fprintf(&b, "  output: %s\n", text(t, a.Output))
		}
		for _, n := range o.Notes {
			fmt.Fprintf(&b, "  note: %s\n", n)
		}
	}
	if c.Unmatched != nil {
		fmt.Fprintf(&b, "unmatched: %q\n", c.Unmatched)
	}
	if c.Lost != nil {
		fmt.Fprintf(&b, "lost: %q\n", c.Lost)
	}
	return b.String()
}

func text(t *testing.T, v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
