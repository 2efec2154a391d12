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

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

// account is a stand-in for an account at a vendor.
type account interface {
	http.Handler
	Plan(...vendors.Answer)
	Requests() []vendors.Request
	Last() vendors.Request
}

// connected is a connector before an account.
type connected struct {
	*rest.Adapter
	account
	url    string
	def    *rest.Definition
	values map[string]string
	fake   *altered
}

// connect serves an account and puts a connector before it, that signs in as
// attach says. Where the address depends on values, they are filled in.
func connect(t *testing.T, name string, acc account, values map[string]string, attach func(url string) credentials.Attachment) *connected {
	t.Helper()
	def, err := connectors.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	fake := &altered{Handler: acc}
	server := httptest.NewServer(fake)
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(func() { tr.CloseIdleConnections(); server.Close() })
	grant, err := credentials.NewGrant(credentials.Spec{Name: name, Origins: []string{server.URL}, Attach: attach(server.URL)})
	if err != nil {
		t.Fatal(err)
	}
	base := server.URL
	if _, path, ok := strings.Cut(strings.TrimPrefix(def.BaseURL, "https://"), "/"); ok {
		base += "/" + strings.ReplaceAll(path, "{version}", "v67.0")
	}
	a, err := rest.New(rest.Options{ID: "src", Definition: def, Values: values, BaseURL: base, Writes: true}, grant.Client(tr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return &connected{a, acc, server.URL, def, values, fake}
}

// always attaches what needs no address.
func always(a credentials.Attachment) func(string) credentials.Attachment {
	return func(string) credentials.Attachment { return a }
}

// tell makes a call and returns its content.
func (c *connected) tell(ctx context.Context, tool, args string) (json.RawMessage, *upstream.Result, error) {
	res, err := c.Call(ctx, &upstream.Call{ID: tool + args, Principal: upstream.Local(), Op: upstream.CallTool, Name: tool,
		Tool: &upstream.Tool{Name: tool}, Arguments: json.RawMessage(args), Timing: &upstream.Timing{}})
	if err != nil {
		return nil, nil, err
	}
	content, _ := res.Get("structuredContent")
	return content, res, nil
}

// turn is one call of a tool, the request that it has to become, and what has to
// be in its result.
type turn struct {
	tool, args string
	asks       string // "METHOD /path?query", the query decoded
	body       string // JSON; "" is none
	says       []string
}

// play makes the calls one after another. Every action of the connector must be
// among them, give only its declared fields, by the schema that is published, and
// find nothing changed. What a read finds when something is changed is tried too.
func (c *connected) play(t *testing.T, turns []turn) {
	t.Helper()
	done := map[string]bool{}
	kinds, gone := 0, 0
	for _, s := range turns {
		content, _, err := c.tell(t.Context(), s.tool, s.args)
		if err != nil {
			t.Errorf("%s(%s): %v", s.tool, s.args, err)
			continue
		}
		done[s.tool] = true
		c.asked(t, s)
		for _, want := range s.says {
			if !strings.Contains(string(content), want) {
				t.Errorf("%s(%s) says %s, want %s in it", s.tool, s.args, content, want)
			}
		}
		projected(t, c.def, s.tool, content)
		conforms(t, c.Adapter, s.tool, content)
		i := slices.IndexFunc(c.def.Actions, func(a rest.Action) bool { return a.Name == s.tool })
		if a := &c.def.Actions[i]; !a.Writes() {
			k, g := noticed(t, c.fake, c.Adapter, a, func() (json.RawMessage, error) {
				content, _, err := c.tell(t.Context(), s.tool, s.args)
				return content, err
			})
			kinds, gone = kinds+k, gone+g
		}
	}
	if kinds < 4 || gone < 1 {
		t.Errorf("only %d changes of types and %d fields that are gone could be tried", kinds, gone)
	}
	for _, a := range c.def.Actions {
		if !done[a.Name] {
			t.Errorf("nothing calls %s", a.Name)
		}
	}
	if d := c.Drift(); len(d) > 0 {
		t.Errorf("it finds that the source has changed: %+v", d)
	}
}

// asked compares the last request with what a turn says.
func (c *connected) asked(t *testing.T, s turn) {
	t.Helper()
	got := c.Last()
	method, address, _ := strings.Cut(s.asks, " ")
	path, text, _ := strings.Cut(address, "?")
	query, err := url.ParseQuery(text)
	if err != nil {
		t.Fatal(err)
	}
	delete(got.Query, "requestId") // is another each time
	if got.Method != method || got.Path != path || !reflect.DeepEqual(got.Query, query) {
		t.Errorf("%s(%s) asked %s %s?%s, want %s", s.tool, s.args, got.Method, got.Path, got.Query.Encode(), s.asks)
	}
	if s.body == "" && len(got.Body) == 0 {
		return
	}
	var have, want any
	if json.Unmarshal([]byte(got.Body), &have) != nil || json.Unmarshal([]byte(s.body), &want) != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("%s(%s) sent %s, want %s", s.tool, s.args, got.Body, s.body)
	}
	if kind := got.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("%s sent it as %q", s.tool, kind)
	}
	if got.Header.Get("Accept") != "application/json" {
		t.Errorf("%s: Accept is %q", s.tool, got.Header.Get("Accept"))
	}
}

// pages reads a list to its end and returns how many records its pages had, and
// how many it said that there are (-1 for nothing).
func (c *connected) pages(t *testing.T, tool string, args map[string]any) (sizes []int, total int) {
	t.Helper()
	total = -1
	seen := map[string]bool{}
	for {
		text, _ := json.Marshal(args)
		content, _, err := c.tell(t.Context(), tool, string(text))
		if err != nil {
			t.Fatalf("%s(%s): %v", tool, text, err)
		}
		var page struct {
			Records []json.RawMessage `json:"records"`
			Next    string            `json:"next_cursor"`
			Total   *int              `json:"total"`
		}
		if err := json.Unmarshal(content, &page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			if seen[string(r)] {
				t.Errorf("%s gives %s twice", tool, r)
			}
			seen[string(r)] = true
		}
		sizes = append(sizes, len(page.Records))
		if page.Total != nil {
			total = *page.Total
		}
		if page.Next == "" || len(sizes) > 20 {
			return sizes, total
		}
		if strings.Contains(page.Next, "after") || len(page.Next) < 40 {
			t.Errorf("the cursor of %s can be read: %s", tool, page.Next)
		}
		args["cursor"] = page.Next
	}
}

// failing is a planned answer and what has to become of it.
type failing struct {
	reply vendors.Answer
	kind  upstream.Kind
	sent  bool
	wait  time.Duration
	says  string
}

// fail lets calls of a tool meet refusals one after another.
func (c *connected) fail(t *testing.T, tool, args string, failures map[string]failing) {
	t.Helper()
	for name, f := range failures {
		c.Plan(f.reply)
		_, _, err := c.tell(t.Context(), tool, args)
		e, ok := errors.AsType[*upstream.Error](err)
		if !ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.Kind != f.kind || e.Sent != f.sent || e.RetryAfter != f.wait || !strings.Contains(e.Public, f.says) {
			t.Errorf("%s: %s sent %v wait %s %q, want %s %v %s %q", name, e.Kind, e.Sent, e.RetryAfter, e.Public, f.kind, f.sent, f.wait, f.says)
		}
	}
}

// called makes a call without arguments.
func (c *connected) called(t *testing.T, tool string) (json.RawMessage, error) {
	t.Helper()
	content, _, err := c.tell(t.Context(), tool, `{}`)
	return content, err
}
