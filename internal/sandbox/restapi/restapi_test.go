package restapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/restapi"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

func TestMain(m *testing.M) {
	egress.Poison()
	goleak.VerifyTestMain(m)
}

// serve serves the sample CRM without a guard.
func serve(t *testing.T) (*httptest.Server, *http.Client) {
	t.Helper()
	crm, err := sandbox.New("crm", sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(restapi.New(crm))
	tr := &http.Transport{}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		s.Close()
		_ = crm.Close()
	})
	return s, &http.Client{Transport: tr}
}

// crm is the sample CRM, asked by its definition.
func crm(t *testing.T) *rest.Adapter {
	t.Helper()
	s, hc := serve(t)
	d, err := rest.Parse(restapi.Definition, "crm.toml")
	if err != nil {
		t.Fatal(err)
	}
	a, err := rest.New(rest.Options{ID: "crm", Definition: d, Values: map[string]string{"origin": s.URL}, Writes: true}, hc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func call(ctx context.Context, a *rest.Adapter, tool, arguments string) (string, error) {
	res, err := a.Call(ctx, &upstream.Call{
		ID: "1", Principal: upstream.Local(), Op: upstream.CallTool, Name: tool, Tool: &upstream.Tool{Name: tool},
		Arguments: json.RawMessage(arguments), Timing: &upstream.Timing{},
	})
	if err != nil {
		return "", err
	}
	out, _ := res.Get("structuredContent")
	return string(out), nil
}

func TestDefinition(t *testing.T) {
	a := crm(t)
	type page struct {
		Records []map[string]any
		Next    string `json:"next_cursor"`
		Total   int
	}
	seen := map[string]bool{}
	cursor := ""
	for pages := 0; ; pages++ {
		out, err := call(t.Context(), a, "find_customers", `{"query":"logistics","limit":7`+cursor+`}`)
		if err != nil {
			t.Fatal(err)
		}
		var p page
		if err := json.Unmarshal([]byte(out), &p); err != nil || len(p.Records) == 0 || len(p.Records) > 7 || p.Records[0]["mrr"] == nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, r := range p.Records {
			seen[r["customer_id"].(string)] = true
		}
		if p.Next == "" {
			if len(seen) != p.Total || pages < 1 {
				t.Errorf("%d of %d customers on %d pages", len(seen), p.Total, pages+1)
			}
			break
		}
		cursor = `,"cursor":"` + p.Next + `"`
	}
	for _, c := range []struct{ tool, arguments, want string }{
		{"get_customer", `{"customer_id":"C-1001"}`, `"customer_id":"C-1001"`},
		{"list_contacts", `{"customer_id":"C-1001"}`, `"contacts":[{`},
		{"add_note", `{"customer_id":"C-1001","text":"called back"}`, `"text":"called back"`},
		{"get_customer", `{"customer_id":"C-1001"}`, "called back"},
	} {
		if out, err := call(t.Context(), a, c.tool, c.arguments); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v %.300s", c.tool, err, out)
		}
	}
	for _, c := range []struct {
		tool, arguments string
		kind            upstream.Kind
	}{
		{"get_customer", `{"customer_id":"C-9"}`, upstream.NotFound},
		{"get_customer", `{"customer_id":"../../token"}`, upstream.InvalidArguments},
		{"find_customers", `{"query":"` + strings.Repeat("x", 200) + `"}`, upstream.InvalidArguments},
	} {
		_, err := call(t.Context(), a, c.tool, c.arguments)
		if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Kind != c.kind {
			t.Errorf("%s %s: %v", c.tool, c.arguments, err)
		}
	}
}

func TestRequestsThatAreWrong(t *testing.T) {
	s, hc := serve(t)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/customers?query=a&page_size=0", "", 400}, {"GET", "/v1/customers?query=a&cursor=-1", "", 400},
		{"GET", "/v1/customers", "", 400}, {"GET", "/v1/nothing", "", 404}, {"GET", "/", "", 404},
		{"DELETE", "/v1/customers/C-1001", "", 404}, {"POST", "/v1/customers/C-1001/notes", "{", 400},
		{"POST", "/v1/customers/C-1001/notes", `{"text":7}`, 400}, {"POST", "/v1/customers/C-1/notes", `{"text":"x"}`, 404},
		{"POST", "/v1/customers/C-1001/notes", `{"text":"` + strings.Repeat("x", 70<<10) + `"}`, 400},
		{"GET", "/v1/customers?query=a&cursor=50", "", 200},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, s.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: HTTP %d %s", c.method, c.path, resp.StatusCode, text)
		}
		if restapi.Writes(r) != (c.method != "GET") {
			t.Errorf("%s: %v", c.method, restapi.Writes(r))
		}
	}
}
