package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

const openapiTable = "[upstream.crm]\nkind = 'openapi'\nurl = 'https://api.example.com/v1'\n"

var openapiBehaviour = map[string]behaves{
	"upstream.*.document": {openapiTable + "document = 'crm.yaml'\noperations = ['a']\n",
		of(func(u config.Upstream) any { return u.OpenAPI.Document }), config.File{Path: "/etc/bulkhead/crm.yaml"}},
	"upstream.*.operations": {openapiTable + "document = 'https://example.com/crm.json'\noperations = ['a/*', 'GET /a/{id}', '* *', 'post /search read']\n",
		of(func(u config.Upstream) any { return u.OpenAPI.Operations }), []string{"a/*", "GET /a/{id}", "* *", "post /search read"}},
}

func TestOpenAPIFaults(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		openapiTable:                      "upstream.crm.document: is missing",
		openapiTable + "document = 'a'\n": "upstream.crm.operations: is missing",
		openapiTable + "operations = ['a']\ndocument = ''\n":                                     "upstream.crm.document: must not be empty",
		openapiTable + "operations = ['a']\ndocument = 'http://example.com/a.json'\n":            "upstream.crm.document: is no https URL",
		openapiTable + "operations = ['a']\ndocument = 'ftp://example.com/a.json'\n":             "upstream.crm.document: is no https URL",
		openapiTable + "operations = ['a']\ndocument = 'https://e.com/?api_key=abc'\n":           "looks like a secret",
		openapiTable + "document = 'a'\noperations = ['/a']\n":                                   "upstream.crm.operations[0]: must be an operationId, or a method and a path",
		openapiTable + "document = 'a'\noperations = ['GET a b']\n":                              "upstream.crm.operations[0]",
		openapiTable + "document = 'a'\noperations = 'a'\n":                                      "upstream.crm.operations: must be a list",
		openapiTable + "document = 'a'\noperations = ['a']\ncommand = ['x']\n":                   `upstream.crm.command: does not belong to an upstream of kind "openapi"`,
		"[upstream.crm]\nkind = 'openapi'\ndocument = 'a'\noperations = ['a']\n":                 "upstream.crm: says nowhere where the source is",
		"[upstream.crm]\nsandbox = 'crm'\ndocument = 'a'\n":                                      `upstream.crm.document: does not belong to an upstream of kind "mcp"`,
		strings.Replace(openapiTable, "https:", "http:", 1) + "document='a'\noperations=['a']\n": "upstream.crm.url: plain http",
	} {
		faults := faultsOf(t, doc)
		if !slices.ContainsFunc(faults, func(f config.Fault) bool { return strings.Contains(f.Path+": "+f.Problem, want) }) {
			t.Errorf("%s\nhas the faults\n%v\nnot %q", doc, faults, want)
		}
	}
}

// TestAChangedDocumentIsAnotherValue tells that a configuration that is read
// again differs if the document does.
func TestAChangedDocumentIsAnotherValue(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "doc.json")
	doc := openapiTable + "operations = ['a']\ndocument = " + "'" + path + "'\n"
	var seen []config.OpenAPI
	for _, content := range []string{"", "{}", "{ }"} {
		if content != "" {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := mustParse(t, doc).Upstreams[0].OpenAPI
		if slices.ContainsFunc(seen, func(s config.OpenAPI) bool { return s.Document == o.Document }) {
			t.Errorf("%q looks as before: %+v", content, o)
		}
		seen = append(seen, o)
	}
}
