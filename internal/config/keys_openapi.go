package config

import (
	"strings"
)

// OpenAPI is what an upstream of kind "openapi" has besides.
type OpenAPI struct {
	Document   File // instead of a path also an https URL (http on this machine)
	Operations []string
}

var openapiKind = sourceKind{
	name: "openapi", where: []string{"url"}, with: []string{"document", "operations"}, also: []string{"allow_http", "auth"},
	hint: `add url = "https://...", what the paths of the document are appended to`,
}

// openapiKeys stand in the table of the upstream itself.
var openapiKeys = []key{
	{name: "document", kind: document, example: "petstore.yaml",
		doc:   "An OpenAPI 3.0 or 3.1 or Swagger 2.0 document in JSON or YAML: a file, or an https URL. It is read once and what is made of it is kept in the state directory; a file is read again when it has changed, one that has a URL when `operations` change. Nothing in it says where requests go. With `kind = \"openapi\"` only.",
		field: func(t target) any { return &t.upstream.OpenAPI.Document }},
	{name: "operations", kind: list, example: []any{"pets/list", "GET /pets/{id}", "POST /pets/search read"},
		pattern: newForm(`^([^/\s]\S*|([A-Za-z]+|\*) (/\S*|\*))( (read|idempotent|write))?$`),
		expect:  "an operationId, or a method and a path",
		doc:     "Which operations of the document become tools; there are no others. Each by its operationId, or by method and path as they stand in the document; `*` is any run of characters, as a method any. A method says what an operation does: GET reads, PUT and DELETE may be repeated, the others write. Where that is wrong, `read`, `idempotent` or `write` stands behind. What is more than a read is offered with another `writes` than `deny` only. `bulkhead import-openapi` shows what there is. With `kind = \"openapi\"` only.",
		field:   func(t target) any { return &t.upstream.OpenAPI.Operations }},
}

// openapiSections are the tables below it.
var openapiSections = []section{}

var document = &kind{"path or https URL", decodeDocument, textSchema}

func decodeDocument(d *decoder, k *key, path string, raw, into any) {
	v, ok := asText(d, k, path, raw)
	if !ok || !d.fits(k, path, v) {
		return
	}
	o := into.(*File)
	switch {
	case v == "":
		d.wrong(k, path, "must not be empty")
	case strings.Contains(v, "://"):
		if problem, hint := checkURL(v); problem != "" {
			d.fault(path, problem, hint)
		} else if !strings.HasPrefix(v, "https://") && !(strings.HasPrefix(v, "http://") && secure(v)) {
			d.fault(path, "is no https URL", "what it says becomes tools: nobody must be able to change it on the way")
		}
		o.Path = v
	default:
		*o = readFile(d.local(path, v))
	}
}
