package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shopDocument describes a shop that says that it is somewhere else, and has
// an operation that cannot be made.
const shopDocument = `{"openapi":"3.0.3","info":{"title":"Shop","version":"1"},"servers":[{"url":"https://elsewhere.invalid"}],
"components":{"schemas":{"Item":{"type":"object","properties":{"id":{"type":"integer"},"name":{"type":"string"},"parent":{"$ref":"#/components/schemas/Item"}}}}},
"paths":{
"/items":{"get":{"operationId":"items/list","parameters":[{"name":"tag","in":"query","schema":{"type":"array","items":{"type":"string"}}},{"name":"X-Api-Key","in":"header","required":true,"schema":{"type":"string"}}],
  "responses":{"200":{"description":"","content":{"application/json":{"schema":{"type":"array","items":{"$ref":"#/components/schemas/Item"}}}}}}},
 "post":{"operationId":"items/create","requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Item"}}}}}},
"/items/{id}":{"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer"}}],
 "get":{"operationId":"items/get","responses":{"200":{"description":"","content":{"application/json":{"schema":{"$ref":"#/components/schemas/Item"}}}}}},
 "delete":{"operationId":"items/delete"}},
"/search":{"post":{"operationId":"search","requestBody":{"content":{"application/x-www-form-urlencoded":{"schema":{"type":"object","properties":{"filter":{"type":"object"}}}}}}}},
"/broken/{id}":{"get":{"operationId":"broken"}},
"/other":{"get":{"operationId":"other"}}}}`

// shop answers for the document, and notes what it is asked.
type shop struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
}

func newShop(t *testing.T) *shop {
	s := &shop{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.got = append(s.got, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+r.Header.Get("Authorization")+" "+string(body)))
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/shop.json":
			_, _ = io.WriteString(w, shopDocument)
		case "/v1/items":
			_, _ = io.WriteString(w, `[{"id":9007199254740993,"name":"one"},{"id":2,"name":"two"}]`)
		default:
			_, _ = io.WriteString(w, `{"id":1,"name":"one"}`)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// asked returns what has been asked since the last time.
func (s *shop) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

func (s *shop) table(document string, more ...string) string {
	return upstreamTable("shop", append([]string{
		`kind = "openapi"`, `url = "` + s.URL + `/v1"`, `document = "` + document + `"`,
		`operations = ["items/*", "POST /search read", "broken", "gone"]`,
		`auth = { type = "bearer", token = { env = "SHOP_TOKEN" } }`,
	}, more...)...)
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	home := t.TempDir()
	document := filepath.Join(home, "shop.json")
	if err := os.WriteFile(document, []byte(shopDocument), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"SHOP_TOKEN=canary-of-the-shop"}
	p := startIn(t, home, s.table("shop.json"), env)
	c := p.stdio(true)
	c.ready()
	tools := func(c *client) []string {
		return slices.DeleteFunc(c.tools(), func(name string) bool { return !strings.HasPrefix(name, "shop_") })
	}
	if diff := cmp.Diff([]string{"shop_items_get", "shop_items_list", "shop_search"}, slices.Sorted(slices.Values(tools(c)))); diff != "" {
		t.Error(diff)
	}
	if r := c.mustCall("shop_items_list", map[string]any{"tag": []string{"a b", "c"}}); !strings.Contains(string(r.Structured), `"id":9007199254740993`) {
		t.Errorf("%s", r.Structured)
	}
	c.mustCall("shop_items_get", map[string]any{"id": 1})
	c.mustCall("shop_search", map[string]any{"filter": map[string]any{"color": "red"}})
	if diff := cmp.Diff([]string{
		"GET /v1/items?tag=a%20b&tag=c Bearer canary-of-the-shop",
		"GET /v1/items/1 Bearer canary-of-the-shop",
		"POST /v1/search Bearer canary-of-the-shop filter%5Bcolor%5D=red",
	}, s.asked()); diff != "" {
		t.Error(diff)
	}
	for _, args := range []map[string]any{{"id": "../../x"}, {"id": "1?x"}, {}} {
		if r, err := c.call("shop_items_get", args); err != nil || !r.IsError || r.Meta.Error.Code != "invalid_arguments" {
			t.Errorf("%v: %+v, %v", args, r, err)
		}
	}
	if asked := s.asked(); asked != nil {
		t.Errorf("wrong calls were made: %q", asked)
	}
	for _, want := range []string{`problem="names no operation of the document"`, "{id}, but there is no path parameter"} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log does not say %q\n%s", want, p.log)
		}
	}
	p.finish()

	// What writes is there as soon as it may be called. The compiled form is kept
	// and used, and made anew for another document.
	kept, err := filepath.Glob(filepath.Join(home, "state", "bulkhead", "*", "openapi", "shop.*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept are %q, %v", kept, err)
	}
	before, err := os.Stat(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	p = startIn(t, home, s.table("shop.json", `writes = "serial"`), env)
	c = p.stdio(true)
	c.ready()
	if got := tools(c); !slices.Contains(got, "shop_items_create") || !slices.Contains(got, "shop_items_delete") {
		t.Errorf("%q", got)
	}
	c.mustCall("shop_items_create", map[string]any{"name": "new", "parent": map[string]any{"id": 1}})
	if diff := cmp.Diff([]string{`POST /v1/items Bearer canary-of-the-shop {"name":"new","parent":{"id":1}}`}, s.asked()); diff != "" {
		t.Error(diff)
	}
	after, err := os.Stat(kept[0])
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it was compiled again: %v", err)
	}
	p.finish()
	if err := os.WriteFile(document, []byte(strings.ReplaceAll(shopDocument, "items/get", "items/read")), 0o600); err != nil {
		t.Fatal(err)
	}
	p = startIn(t, home, s.table("shop.json"), env)
	c = p.stdio(true)
	c.ready()
	if got := tools(c); !slices.Contains(got, "shop_items_read") || slices.Contains(got, "shop_items_get") {
		t.Errorf("%q", got)
	}
	p.finish()
	if again, _ := filepath.Glob(filepath.Join(home, "state", "bulkhead", "*", "openapi", "*")); len(again) != 1 || again[0] == kept[0] {
		t.Errorf("kept are %q", again)
	}
}

// TestOpenAPIFromAURL tells that a document is fetched once, without the
// credential of the source; and what is said where it cannot be.
func TestOpenAPIFromAURL(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	home := t.TempDir()
	env := []string{"SHOP_TOKEN=canary-of-the-shop"}
	for _, want := range [][]string{{"GET /shop.json"}, nil} {
		p := startIn(t, home, s.table(s.URL+"/shop.json"), env)
		c := p.stdio(true)
		c.ready()
		if got := c.tools(); !slices.Contains(got, "shop_items_list") {
			t.Errorf("%q\n%s", got, p.log)
		}
		if diff := cmp.Diff(want, s.asked()); diff != "" {
			t.Error(diff)
		}
		p.finish()
	}
	p := startIn(t, t.TempDir(), s.table("gone.json")+sandboxUpstream("crm", "crm", 0), env)
	c := p.stdio(true)
	if !eventually(func() bool { return c.source("shop").State == "down" }) {
		t.Errorf("%+v", c.source("shop"))
	}
	if r, err := c.call("crm_find_customers", map[string]any{"query": "a"}); err != nil || r.IsError {
		t.Errorf("another source is affected: %+v, %v", r, err)
	}
	if !strings.Contains(p.log.String(), "gone.json") {
		t.Errorf("the log does not name the file\n%s", p.log)
	}
}
