package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestDriftOfREST: a difference between what a definition or a document says and
// what is answered is told of once, in the list and in the log, and the calls are
// answered.
func TestDriftOfREST(t *testing.T) {
	t.Parallel()
	answer := atomic.Value{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer.Load().(string))
	}))
	defer s.Close()
	dir := t.TempDir()
	writeFile(t, `[action.list_deals]
method = "GET"
path = "/deals"
fields = ["id", "owner.name"]
[action.list_deals.output]
type = "object"
[action.list_deals.output.properties]
id = { type = "integer" }
`, dir, "crm.toml")
	writeFile(t, `{"openapi":"3.1.0","info":{"title":"x","version":"1"},"paths":{"/deals":{"get":{"operationId":"deals","responses":{"200":{"description":"",
"content":{"application/json":{"schema":{"type":"array","items":{"type":"object","properties":{"id":{"type":"integer"}}}}}}}}}}}}`, dir, "doc.json")
	table := func(name, kind, more string) string {
		return upstreamTable(name, fmt.Sprintf("kind = %q", kind), fmt.Sprintf("url = %q", s.URL), more)
	}
	p := startIn(t, shortHome(t), table("crm", "rest", fmt.Sprintf("definition = %q", filepath.Join(dir, "crm.toml")))+
		table("doc", "openapi", fmt.Sprintf("document = %q\noperations = [\"deals\"]", filepath.Join(dir, "doc.json"))), nil)
	c := p.stdio(true)
	c.ready()
	drift := func() map[string][]string {
		var st struct {
			Sources []struct {
				Name  string
				Drift []struct{ Tool, Field, Problem string }
			}
		}
		if err := json.Unmarshal(c.mustCall("bulkhead_sources", nil).Structured, &st); err != nil {
			t.Fatal(err)
		}
		out := map[string][]string{}
		for _, s := range st.Sources {
			for _, d := range s.Drift {
				out[s.Name] = append(out[s.Name], d.Tool+" "+d.Field+" "+d.Problem)
			}
		}
		return out
	}
	for _, step := range []struct{ answer, relayed, crm, doc string }{
		{`[{"id":1,"owner":{"name":"Ann"}}]`, `{"id":1,`, "", ""},
		{`[{"id":"s3cret","owner":{"name":"Ann"}}]`, `{"id":"s3cret",`, "list_deals records[].id is a string, not a number", "deals records[].id is a string, not a number or null"},
		{`[{"id":2,"owner":{}}]`, `{"id":2,`, "list_deals records[].id is a string, not a number; list_deals records[].owner.name is gone", "deals records[].id is a string, not a number or null"},
	} {
		answer.Store(step.answer)
		for tool, want := range map[string]string{"crm_list_deals": step.crm, "doc_deals": step.doc} {
			if got := string(c.mustCall(tool, nil).Structured); !strings.HasPrefix(got, `{"records":[`+step.relayed) {
				t.Errorf("%s of %s: %s", tool, step.answer, got)
			}
			name, _, _ := strings.Cut(tool, "_")
			if got := strings.Join(drift()[name], "; "); got != want {
				t.Errorf("%s: %s: %q, want %q", step.answer, name, got, want)
			}
		}
	}
	if log := p.log.String(); strings.Count(log, "source has changed") != 3 || strings.Contains(log, "s3cret") {
		t.Errorf("the log is\n%s", log)
	}
	if text := says(p, "sources"); !strings.Contains(text, "changed: list_deals records[].id is a string, not a number, ") {
		t.Error(text)
	}
}
