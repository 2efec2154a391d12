package connectors_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

// altered is a stand-in of which what it answers can be changed on the way.
type altered struct {
	http.Handler
	edit atomic.Pointer[func(any)]
}

func (a *altered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	edit := a.edit.Load()
	if edit == nil {
		a.Handler.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	a.Handler.ServeHTTP(rec, r)
	var body any
	dec := json.NewDecoder(bytes.NewReader(rec.Body.Bytes()))
	dec.UseNumber()
	text := rec.Body.Bytes()
	if dec.Decode(&body) == nil {
		(*edit)(body)
		text, _ = json.Marshal(body) // it was JSON
	}
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(text)
}

// eachRecord calls f with the records of an answer.
func eachRecord(pointer string, body any, f func(map[string]any)) {
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if name == "" {
			continue
		}
		switch v := body.(type) {
		case map[string]any:
			body = v[name]
		case []any:
			if n, err := strconv.Atoi(name); err == nil && n < len(v) {
				body = v[n]
			}
		}
	}
	switch v := body.(type) {
	case map[string]any:
		f(v)
	case []any:
		for _, one := range v {
			if m, ok := one.(map[string]any); ok {
				f(m)
			}
		}
	}
}

// declaredTypes returns those of the members of a record.
func declaredTypes(a *rest.Action) map[string][]string {
	out := map[string][]string{}
	properties, _ := a.Output["properties"].(map[string]any)
	for name, schema := range properties {
		s, _ := schema.(map[string]any)
		switch t := s["type"].(type) {
		case string:
			out[name] = []string{t}
		case []any:
			out[name] = texts(t)
		}
	}
	return out
}

// other is a value of none of some types.
func other(types []string) any {
	if !slices.Contains(types, "array") {
		return []any{}
	}
	return "another"
}

// noticed lets a vendor answer a read otherwise than it was documented: each member
// with another type, then without a field that must be there. The call gives what
// came all the same; another type breaks the schema that is published, to which
// answers are held on their way to the client, and what is gone the adapter tells
// itself, until it is back. It returns how many of both there were to try.
func noticed(t *testing.T, fake *altered, adapter *rest.Adapter, a *rest.Action, call func() (json.RawMessage, error)) (kinds, gone int) {
	t.Helper()
	defer fake.edit.Store(nil)
	with := func(field string, edit func(map[string]any)) (content json.RawMessage) {
		found := false
		change := func(body any) {
			eachRecord(a.Records, body, func(m map[string]any) {
				if _, ok := m[field]; ok {
					found = true
					edit(m)
				}
			})
		}
		fake.edit.Store(&change)
		content, err := call()
		fake.edit.Store(nil)
		if err != nil {
			t.Errorf("%s with another %s is refused: %v", a.Name, field, err)
		}
		if !found || err != nil { // or the stand-in does not have it
			return nil
		}
		return content
	}
	schema := schemaOf(t, adapter, a.Name)
	for name, types := range declaredTypes(a) {
		content := with(name, func(m map[string]any) { m[name] = other(types) })
		if content == nil {
			continue
		}
		kinds++
		if err := holds(t, schema, content); err == nil || !strings.Contains(err.Error(), "/"+name+"'") {
			t.Errorf("%s with another %s is by its schema: %s: %v", a.Name, name, content, err)
		}
	}
	for _, f := range a.Fields {
		name, _, _ := strings.Cut(f, ".")
		if strings.HasSuffix(f, "?") || with(name, func(m map[string]any) { delete(m, name) }) == nil {
			continue
		}
		gone++
		if d := adapter.Drift(); len(d) == 0 || d[0].Tool != a.Name || strings.TrimPrefix(d[0].Field, "records[].") != name || d[0].Problem != "is gone" {
			t.Errorf("%s without %s: it tells %+v", a.Name, name, d)
		}
		if _, err := call(); err != nil || len(adapter.Drift()) > 0 {
			t.Errorf("%s with %s again: %v, it tells %+v", a.Name, name, err, adapter.Drift())
		}
		break
	}
	return kinds, gone
}

// TestReadsDeclareTypes: what a read answers with is said for every connector, but
// for texts of files. Each field has its place in the schema that is published.
func TestReadsDeclareTypes(t *testing.T) {
	for _, name := range connectors.Names() {
		def, err := connectors.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range def.Actions {
			a := &def.Actions[i]
			if a.Writes() || a.Answer == "any" {
				continue
			}
			types := declaredTypes(a)
			switch kind, _ := a.Output["type"].(string); kind {
			case "object":
				if len(types) == 0 {
					t.Errorf("%s: %s declares no types", name, a.Name)
				}
			case "string", "array":
			default:
				t.Errorf("%s: a record of %s is %q", name, a.Name, kind)
			}
			properties, _ := a.Output["properties"].(map[string]any)
			for _, f := range a.Fields {
				if top, _, _ := strings.Cut(strings.TrimSuffix(f, "?"), "."); properties[top] == nil {
					t.Errorf("%s: the schema of %s has no %s", name, a.Name, top)
				}
			}
		}
	}
}

// schemaOf returns the schema of what a tool answers; nil if it has none.
func schemaOf(t *testing.T, adapter *rest.Adapter, tool string) *jsonschema.Schema {
	t.Helper()
	tools, err := adapter.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(tools, func(one upstream.Tool) bool { return one.Name == tool })
	text, ok := rawjson.Get(tools[i].Raw, "outputSchema")
	if !ok {
		return nil
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:/schema.json", schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("mem:/schema.json")
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return compiled
}

// holds returns how a result is not by a schema.
func holds(t *testing.T, schema *jsonschema.Schema, content json.RawMessage) error {
	t.Helper()
	if schema == nil {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

// conforms holds a result to the schema that is published for it, as strict
// clients do.
func conforms(t *testing.T, adapter *rest.Adapter, tool string, content json.RawMessage) {
	t.Helper()
	if err := holds(t, schemaOf(t, adapter, tool), content); err != nil {
		t.Errorf("%s does not answer by its own schema: %v", tool, err)
	}
}
