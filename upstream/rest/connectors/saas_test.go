package connectors_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

// step is one call of a tool, the request that it must become, and what must be
// in its result.
type step struct {
	tool, args string
	asks       string // method and address below the vendor's origin, the query decoded
	body       string // JSON, or a form
	says       string
}

// refusal is what must become of one of a vendor's failures.
type refusal struct {
	kind  upstream.Kind
	sent  bool
	least time.Duration // to wait; 0 if that is not told
	says  string        // what the model reads
	plain bool          // it is a result that says so, no error
	final bool          // another attempt is of no use
}

// saas is one vendor under test.
type saas struct {
	start    func() *vendors.Server
	values   map[string]string
	sign     func(*http.Request) // nil is a bearer token
	steps    []step
	failures map[string]refusal
	probe    int  // the step that meets the failures
	quota    bool // whether its answers tell of one
}

// stage is a vendor's fake and a connector's adapter before it.
type stage struct {
	*vendors.Server
	fake *altered
	def  *rest.Definition
	url  string // of the fake's origin
	hc   *http.Client
	a    *rest.Adapter
}

func (v saas) open(t *testing.T, name string, writes bool) *stage {
	t.Helper()
	def, err := connectors.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{Server: v.start(), def: def}
	s.fake = &altered{Handler: s.Server}
	server := httptest.NewServer(s.fake)
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		server.Close()
		for _, c := range s.Complaints() {
			t.Errorf("the vendor does not know this: %s", c)
		}
	})
	sign := v.sign
	if sign == nil {
		sign = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+vendors.Token) }
	}
	s.url, s.hc = server.URL, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("User-Agent", "bulkhead")
		sign(r)
		return tr.RoundTrip(r)
	})}
	s.a = s.adapter(t, v.values, writes)
	return s
}

// adapter returns one that asks the fake at the path of the definition's address.
func (s *stage) adapter(t *testing.T, values map[string]string, writes bool) *rest.Adapter {
	t.Helper()
	base := s.def.BaseURL
	for _, v := range s.def.Values {
		text := values[v.Name]
		if text == "" {
			text = v.Default
		}
		base = strings.ReplaceAll(base, "{"+v.Name+"}", text)
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" {
		t.Fatalf("the base URL is %q", base)
	}
	a, err := rest.New(rest.Options{ID: "saas", Definition: s.def, Values: values, BaseURL: s.url + u.Path, Writes: writes}, s.hc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (s *stage) call(ctx context.Context, id, tool, args string) (*upstream.Result, error) {
	return s.a.Call(ctx, &upstream.Call{ID: id, Principal: upstream.Local(), Op: upstream.CallTool, Name: tool, Tool: &upstream.Tool{Name: tool},
		Arguments: json.RawMessage(args), Timing: &upstream.Timing{}})
}

// text is what of a result the model reads.
func text(t *testing.T, r *upstream.Result) string {
	t.Helper()
	if v, ok := r.Get("structuredContent"); ok {
		return string(v)
	}
	v, _ := r.Get("content")
	return string(v)
}

// checkAsked compares the last request with what a step says.
func (s *stage) checkAsked(t *testing.T, st step) {
	t.Helper()
	got := s.Last()
	method, rest, _ := strings.Cut(st.asks, " ")
	path, query, _ := strings.Cut(rest, "?")
	want, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	if got.Method != method || got.Path != path || !reflect.DeepEqual(got.Query, want) {
		t.Errorf("it asked %s %s?%s, want %s", got.Method, got.Path, got.Query.Encode(), st.asks)
	}
	kind := got.Header.Get("Content-Type")
	switch {
	case strings.HasPrefix(kind, "application/x-www-form-urlencoded"):
		form, _ := url.ParseQuery(got.Body)
		if want, _ := url.ParseQuery(st.body); !reflect.DeepEqual(form, want) {
			t.Errorf("the form is %s, want %s", form.Encode(), st.body)
		}
	case st.body == "" && got.Body == "":
	default:
		var g, w any
		if json.Unmarshal([]byte(got.Body), &g) != nil || json.Unmarshal([]byte(st.body), &w) != nil {
			t.Fatalf("the body is %s, want %s", got.Body, st.body)
		}
		if m, ok := g.(map[string]any); ok && strings.HasPrefix(rest, "/graphql") || strings.HasSuffix(path, "/graphql.json") {
			delete(m, "query") // the fake reads the document
		}
		if !reflect.DeepEqual(g, w) {
			t.Errorf("the body is %s, want %s", got.Body, st.body)
		}
	}
	for name, v := range s.def.Headers {
		if h := got.Header.Get(name); h != v && name != "Accept" {
			t.Errorf("%s: %s is %q, want %q", st.tool, name, h, v)
		}
	}
}

// TestActions makes every action of each connector at least once.
func TestActions(t *testing.T) {
	for name, v := range all() {
		t.Run(name, func(t *testing.T) {
			s := v.open(t, name, true)
			done := map[string]bool{}
			kinds, gone := 0, 0
			for _, st := range v.steps {
				r, err := s.call(t.Context(), "c", st.tool, st.args)
				if err != nil {
					t.Errorf("%s(%s): %v", st.tool, st.args, err)
					continue
				}
				done[st.tool] = true
				s.checkAsked(t, st)
				if got := text(t, r); !strings.Contains(got, st.says) || st.says == "" {
					t.Errorf("%s(%s) says %s, want %q in it", st.tool, st.args, got, st.says)
				}
				content, _ := r.Get("structuredContent")
				conforms(t, s.a, st.tool, content)
				if !strings.Contains(st.args, `"fields"`) {
					projected(t, s.def, st.tool, content)
					k, g := s.noticed(t, st)
					kinds, gone = kinds+k, gone+g
				}
				if v.quota && r.Quota == nil {
					t.Errorf("%s: the quota is not read", st.tool)
				}
			}
			for _, d := range s.a.Drift() {
				t.Errorf("%s: %s %s", d.Tool, d.Field, d.Problem)
			}
			if kinds < 20 || gone < 5 {
				t.Errorf("only %d changes of types and %d fields that are gone could be tried", kinds, gone)
			}
			for _, a := range s.def.Actions {
				if !done[a.Name] {
					t.Errorf("nothing calls %s", a.Name)
				}
			}
		})
	}
}

// noticed tries what a read finds when the vendor has changed something.
func (s *stage) noticed(t *testing.T, st step) (kinds, gone int) {
	t.Helper()
	i := slices.IndexFunc(s.def.Actions, func(a rest.Action) bool { return a.Name == st.tool })
	if s.def.Actions[i].Writes() {
		return 0, 0
	}
	return noticed(t, s.fake, s.a, &s.def.Actions[i], func() (json.RawMessage, error) {
		r, err := s.call(t.Context(), "c", st.tool, st.args)
		if err != nil {
			return nil, err
		}
		return json.RawMessage(text(t, r)), nil
	})
}

// projected fails for a member of a record that the action does not give.
func projected(t *testing.T, def *rest.Definition, tool string, v json.RawMessage) {
	t.Helper()
	i := slices.IndexFunc(def.Actions, func(a rest.Action) bool { return a.Name == tool })
	var fields []string
	for _, f := range def.Actions[i].Fields {
		fields = append(fields, strings.TrimSuffix(f, "?"))
	}
	if len(fields) == 0 {
		return
	}
	var content map[string]any
	if err := json.Unmarshal(v, &content); err != nil {
		t.Fatalf("%s: %v in %s", tool, err, v)
	}
	records, ok := content["records"].([]any)
	if !ok {
		records = []any{content}
	}
	for _, one := range records {
		if m, _ := one.(map[string]any); len(m) == 0 {
			t.Errorf("%s: an empty record in %s", tool, v)
		}
		walk("", one, func(path string) {
			if !slices.ContainsFunc(fields, func(f string) bool {
				return f == path || strings.HasPrefix(path, f+".") || strings.HasPrefix(f, path+".")
			}) {
				t.Errorf("%s gives %s, which is none of its fields", tool, path)
			}
		})
	}
}

func walk(path string, v any, see func(string)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			walk(path, e, see)
		}
	case map[string]any:
		for name, m := range v {
			at := strings.TrimPrefix(path+"."+name, ".")
			see(at)
			walk(at, m, see)
		}
	}
}

// TestPagesToTheEnd reads every list by three records, to its end.
func TestPagesToTheEnd(t *testing.T) {
	for name, v := range all() {
		t.Run(name, func(t *testing.T) {
			s := v.open(t, name, true)
			seen := map[string]bool{}
			for _, st := range v.steps {
				i := slices.IndexFunc(s.def.Actions, func(a rest.Action) bool { return a.Name == st.tool })
				if s.def.Actions[i].Paging == "" || seen[st.tool] {
					continue
				}
				seen[st.tool] = true
				var args map[string]any
				if err := json.Unmarshal([]byte(st.args), &args); err != nil {
					t.Fatal(err)
				}
				args["limit"] = 3
				records, pages := 0, 0
				for more := true; more && pages < 9; pages++ {
					text, _ := json.Marshal(args)
					r, err := s.call(t.Context(), "c", st.tool, string(text))
					if err != nil {
						t.Fatalf("%s, page %d: %v", st.tool, pages, err)
					}
					var page struct {
						Records []any  `json:"records"`
						Next    string `json:"next_cursor"`
					}
					content, _ := r.Get("structuredContent")
					if err := json.Unmarshal(content, &page); err != nil {
						t.Fatal(err)
					}
					records += len(page.Records)
					args["cursor"], more = page.Next, page.Next != ""
				}
				if records != 7 || pages != 3 {
					t.Errorf("%s: %d records on %d pages, want 7 on 3", st.tool, records, pages)
				}
			}
		})
	}
}

// TestFailures meets each way in which a vendor fails.
func TestFailures(t *testing.T) {
	for name, v := range all() {
		t.Run(name, func(t *testing.T) {
			s := v.open(t, name, true)
			st := v.steps[v.probe]
			for _, failure := range s.Failures() {
				want, ok := v.failures[failure]
				if !ok {
					t.Errorf("nobody says what must become of %q", failure)
					continue
				}
				s.Fail(failure)
				r, err := s.call(t.Context(), "c", st.tool, st.args)
				if want.plain {
					if err != nil || !r.IsError || !strings.Contains(text(t, r), want.says) {
						t.Errorf("%s: %v, %v; want a result that says %q", failure, r, err, want.says)
					}
					continue
				}
				e, ok := errors.AsType[*upstream.Error](err)
				if !ok {
					t.Errorf("%s: %v, want %s", failure, err, want.kind)
					continue
				}
				if e.Kind != want.kind || e.Sent != want.sent || errors.Is(e, upstream.ErrFinal) != want.final || !strings.Contains(e.Public, want.says) {
					t.Errorf("%s is %s, sent %v, %q; want %s, %v, %q", failure, e.Kind, e.Sent, e.Public, want.kind, want.sent, want.says)
				}
				if e.RetryAfter < want.least || e.RetryAfter > want.least+want.least/3 {
					t.Errorf("%s: to be asked again after %s, want %s", failure, e.RetryAfter, want.least)
				}
			}
			if _, err := s.call(t.Context(), "c", st.tool, st.args); err != nil {
				t.Errorf("after all that: %v", err)
			}
		})
	}
}

// TestWithoutLogin: a credential that the vendor does not know is told as such, and
// what writes is not there unless it is asked for.
func TestWithoutLogin(t *testing.T) {
	for name, v := range all() {
		t.Run(name, func(t *testing.T) {
			v.sign = func(r *http.Request) { r.Header.Set("Authorization", "Bearer wrong") }
			s := v.open(t, name, false)
			tools, err := s.a.Tools(t.Context())
			if err != nil || len(tools) < 5 {
				t.Errorf("%d tools, %v", len(tools), err)
			}
			for _, tool := range tools {
				if !tool.Hints.ReadOnly {
					t.Errorf("%s is offered though it writes", tool.Name)
				}
			}
			st := v.steps[v.probe]
			_, err = s.call(t.Context(), "c", st.tool, st.args)
			if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Kind != upstream.NeedsLogin {
				t.Errorf("%v, want needs_login", err)
			}
			if s.Writes() != 0 {
				t.Error("something was written")
			}
		})
	}
}
