package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

var graphqlBehaviour = map[string]behaves{
	"upstream.*.documents": {upstream(`kind = "graphql"`, `url = "https://example.com/graphql"`, `documents = ["~/b.graphql", "a.graphql", "./a.graphql", "none-*.graphql"]`),
		of(func(u config.Upstream) any { return u.GraphQL.Documents }), []config.File{{Path: "/etc/bulkhead/a.graphql"}, {Path: "/home/u/b.graphql"}}},
	"upstream.*.schema_file": {upstream(`kind = "graphql"`, `url = "https://example.com/graphql"`, `schema_file = "s.json"`),
		of(func(u config.Upstream) any { return u.GraphQL.Schema }), config.File{Path: "/etc/bulkhead/s.json"}},
}

// TestDocumentsAreNewWithTheirContent: what changes in a file changes the
// configuration.
func TestDocumentsAreNewWithTheirContent(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() []config.File {
		t.Helper()
		cfg, err := config.Parse([]byte(upstream(`kind = "graphql"`, `url = "https://example.com/graphql"`, `documents = ["*.graphql"]`)), filepath.Join(dir, "config.toml"), nil)
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Upstreams[0].GraphQL.Documents
	}
	if none := read(); len(none) != 0 {
		t.Errorf("%+v", none)
	}
	write("b.graphql", "query B { b }")
	write("a.graphql", "query A { a }")
	first := read()
	if len(first) != 2 || first[0].Path != filepath.Join(dir, "a.graphql") || len(first[0].Sum) != 64 {
		t.Errorf("%+v", first)
	}
	if err := os.Chtimes(filepath.Join(dir, "a.graphql"), time.Time{}, time.Unix(7, 0)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, read()); diff != "" {
		t.Errorf("another value without a change: %s", diff)
	}
	write("a.graphql", "query A { b }")
	if second := read(); cmp.Equal(first, second) {
		t.Errorf("the same value after a change: %+v", second)
	}
}

var graphqlFaults = []faultCase{
	{"graphql nowhere", upstream(`kind = "graphql"`, `documents = ["a.graphql"]`), []string{
		`upstream.crm: says nowhere where the source is | add url = "https://..."`}},
	{"graphql keys elsewhere", upstream(`sandbox = "crm"`, `documents = ["a.graphql"]`), []string{
		`upstream.crm.documents: does not belong to an upstream of kind "mcp" | remove it`}},
	{"other keys in graphql", upstream(`kind = "graphql"`, `url = "https://e.com"`, `era = "modern"`), []string{
		`upstream.crm.era: does not belong to an upstream of kind "graphql"`}},
	{"documents", upstream(`kind = "graphql"`, `url = "https://e.com"`, `documents = "a"`), []string{
		`upstream.crm.documents: must be a list of strings, not a string`}},
	{"document pattern", upstream(`kind = "graphql"`, `url = "https://e.com"`, `documents = ["[a*"]`), []string{
		`upstream.crm.documents: "/etc/bulkhead/[a*" is no pattern`}},
	{"graphql over http", upstream(`kind = "graphql"`, `url = "http://e.com"`, `schema_file = 5`), []string{
		`upstream.crm.schema_file: must be a path in quotes`, `upstream.crm.url: plain http`}},
}
