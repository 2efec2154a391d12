package graphql_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/graphql"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// request is what a service has received.
type request struct {
	method, body string
	header       http.Header
}

// service answers every request with the same.
type service struct {
	*httptest.Server
	mu       sync.Mutex
	status   int
	header   http.Header
	body     string
	received []request
}

func serve(t *testing.T, body string) *service {
	t.Helper()
	s := &service{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: body}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.received = append(s.received, request{r.Method, string(body), r.Header})
	status, header, answer := s.status, s.header, s.body
	s.mu.Unlock()
	maps.Copy(w.Header(), header)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

// answer has all that follow answered with this.
func (s *service) answer(status int, body string, header ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body, s.header = status, body, http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	for i := 0; i < len(header); i += 2 {
		s.header.Set(header[i], header[i+1])
	}
}

func (s *service) last() request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.received) == 0 {
		return request{}
	}
	return s.received[len(s.received)-1]
}

func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.received)
}

func adapter(t *testing.T, s *service, opt graphql.Options) *graphql.Adapter {
	t.Helper()
	opt.ID = "shop"
	tr := &http.Transport{}
	a, err := graphql.New(opt, s.URL+"/graphql", &http.Client{Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Close()
		tr.CloseIdleConnections()
	})
	return a
}

func try(ctx context.Context, a upstream.Adapter, tool, args string) (*upstream.Result, error) {
	return a.Call(ctx, &upstream.Call{
		ID: "test", Principal: upstream.Local(), Op: upstream.CallTool, Name: tool, Tool: &upstream.Tool{Name: tool},
		Arguments: json.RawMessage(args), Timing: &upstream.Timing{},
	})
}

func call(t *testing.T, a upstream.Adapter, tool, args string) string {
	t.Helper()
	r, err := try(t.Context(), a, tool, args)
	if err != nil {
		t.Fatal(err)
	}
	structured, _ := rawjson.Get(r.Raw, "structuredContent")
	return string(structured)
}

const readers = `query Read($id: ID) { thing(id: $id) { a } } query Must($id: ID!, $n: Int! = 3) { thing(id: $id, n: $n) { a } } mutation Write($id: ID) { write(id: $id) { a } }`

func TestRequest(t *testing.T) {
	s := serve(t, `{"data":{"thing":{"a":1}}}`)
	other := 0
	a := adapter(t, s, graphql.Options{Documents: docs(readers), Writes: true, ClientFor: func(c *upstream.Call) *http.Client {
		if c.Name == "write" {
			other++
			return s.Client()
		}
		return nil
	}})
	for args, want := range map[string]string{
		``: `{}`, `null`: `{}`, `{}`: `{}`, `{"id":null}`: `{"id":null}`, `{ "id" : 12345678901234567890 }`: `{ "id" : 12345678901234567890 }`,
	} {
		call(t, a, "read", args)
		r := s.last()
		if got, _ := rawjson.Get([]byte(r.body), "variables"); string(got) != want || rawjson.Check([]byte(r.body), rawjson.Limits{}) != nil {
			t.Errorf("%q was sent as %s", args, r.body)
		}
		if name, _ := rawjson.GetString([]byte(r.body), "operationName"); name != "Read" || r.method != http.MethodPost {
			t.Errorf("sent %s %s", r.method, r.body)
		}
		if r.header.Get("Content-Type") != "application/json" || !strings.HasPrefix(r.header.Get("Accept"), "application/graphql-response+json, application/json") {
			t.Errorf("header fields %v", r.header)
		}
		if strings.Contains(r.body, "Write") {
			t.Errorf("another operation was sent along: %s", r.body)
		}
	}
	call(t, a, "write", `{}`)
	if other != 1 {
		t.Error("the client of the call was not used")
	}
}

func TestWrongArgumentsAreNotSent(t *testing.T) {
	s := serve(t, `{"data":{}}`)
	a := adapter(t, s, graphql.Options{Documents: docs(readers + ` query None { a }`)})
	for _, c := range []struct{ tool, args, want string }{
		{"read", `[]`, "not an object"},
		{"read", `{"ID":1}`, `"ID" is no argument; there are: id`},
		{"none", `{"x":1}`, `"x" is no argument; there are none`},
		{"must", `{}`, "id is missing"},
		{"must", `{"id":null}`, "id must not be null"},
		{"must", `{"id":1,"n":null}`, "n must not be null"},
	} {
		_, err := try(t.Context(), a, c.tool, c.args)
		if e := failure(t, err, upstream.InvalidArguments, false); !strings.Contains(e.Public, c.want) {
			t.Errorf("%s %s: %q, want %q", c.tool, c.args, e.Public, c.want)
		}
	}
	if s.count() != 0 {
		t.Errorf("%d requests were sent", s.count())
	}
}

// failure fails unless err is an error of this kind that names upstream and tool.
func failure(t *testing.T, err error, kind upstream.Kind, sent bool) *upstream.Error {
	t.Helper()
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok || e.Kind != kind || e.Sent != sent || e.Upstream != "shop" || e.Tool == "" {
		t.Fatalf("the error is %+v (%v), want %s, sent %v", e, err, kind, sent)
	}
	return e
}

func TestAnswers(t *testing.T) {
	s := serve(t, "")
	a := adapter(t, s, graphql.Options{Documents: docs(readers)})
	for body, want := range map[string]string{
		`{"data":{"thing":{"a":12345678901234567890.123e5, "b":"<\u2028>"}},"extensions":{"x":1}}`: `{"data":{"thing":{"a":12345678901234567890.123e5, "b":"<\u2028>"}}}`,
		"{\n  \"data\": {\n    \"a b\": 1.0\n  }\n}":                                               `{"data":{"a b":1.0}}`,
		`{"errors":[],"data":{}}`: `{"data":{}}`,
		`{"errors":[{"message":"not for you","path":["thing",0,"a"],"locations":[{"line":1,"column":2}],"extensions":{"code":"FORBIDDEN"}}, {"message":"second"}, 5, "third"],"data":{"thing":[null]}}`: `{"data":{"thing":[null]},"errors":[{"message":"not for you","path":["thing",0,"a"],"code":"FORBIDDEN"},{"message":"second"},{"message":"an error without a message"},{"message":"third"}]}`,
		`{"data":{"thing":null},"errors":[` + strings.Repeat(`{"message":"x"},`, 24) + `{"message":"x"}]}`:                                                                                              `{"data":{"thing":null},"errors":[` + strings.Repeat(`{"message":"x"},`, 20) + `{"message":"and 5 more errors"}]}`,
	} {
		for _, status := range []int{200, 400} { // data is data, whatever the status
			s.answer(status, body)
			if got := call(t, a, "read", `{}`); got != want {
				t.Errorf("%s became\n%s, want\n%s", body, got, want)
			}
			r, _ := try(t.Context(), a, "read", `{}`)
			plain, err := upstream.StructuredResult(json.RawMessage(want))
			noted, _ := r.Get("structuredContent")
			content, _ := r.Get("content")
			if err != nil || r.Gaps != strings.Contains(want, `"errors"`) || rawjson.Check(r.Raw, rawjson.Limits{}) != nil || string(noted) != want || rawjson.Kind(content) != '[' ||
				!strings.Contains(want, " ") && string(plain.Raw) != string(r.Raw) {
				t.Errorf("%s became %s, %v", body, r.Raw, err)
			}
		}
	}
}

func TestFailures(t *testing.T) {
	s := serve(t, "")
	a := adapter(t, s, graphql.Options{Documents: docs(readers), Writes: true, MaxMessage: 1 << 16})
	coded := func(code string) string {
		return fmt.Sprintf(`{"errors":[{"message":"no","extensions":{"code":%q}}]}`, code)
	}
	for _, c := range []struct {
		status int
		body   string
		kind   upstream.Kind
		sent   bool
		text   string
	}{
		{200, coded("UNAUTHENTICATED"), upstream.NeedsLogin, false, "UNAUTHENTICATED: no"},
		{200, coded("FORBIDDEN"), upstream.Denied, true, ""},
		{200, coded("access-denied"), upstream.Denied, true, "ACCESS_DENIED: no"},
		{200, coded("NOT_FOUND"), upstream.NotFound, true, ""},
		{200, coded("BAD_USER_INPUT"), upstream.InvalidArguments, false, ""},
		{200, coded("RATELIMITED"), upstream.RateLimited, false, ""},
		{400, coded("RATELIMITED"), upstream.RateLimited, false, ""},
		{200, coded("THROTTLED"), upstream.RateLimited, false, ""},
		{200, `{"data":{"a":null},"errors":[{"message":"slow","path":["a"],"extensions":{"code":"RATE_LIMITED"}}]}`, upstream.RateLimited, true, "RATE_LIMITED: slow"},
		{200, coded("INTERNAL_SERVER_ERROR"), upstream.UpstreamError, true, ""},
		{400, coded("GRAPHQL_VALIDATION_FAILED"), upstream.UpstreamError, false, ""},
		{401, coded("WHATEVER"), upstream.NeedsLogin, false, ""},
		{403, coded("WHATEVER"), upstream.Denied, false, ""},
		{503, coded("WHATEVER"), upstream.Unavailable, true, ""},
		{500, coded("NOT_FOUND"), upstream.NotFound, true, ""},
		{200, `{"errors":[{"type":"NOT_FOUND","path":["repository"],"message":"Could not resolve"}],"data":null}`, upstream.NotFound, true, "NOT_FOUND: Could not resolve"},
		{200, `{"data":null,"errors":[{"message":"no","extensions":{"code":"UNAUTHENTICATED"}}]}`, upstream.NeedsLogin, true, ""}, // it was begun
		{400, `{"data":null,"errors":[{"message":"a"},{"message":"b"},{"message":"c"},{"message":"d"}]}`, upstream.InvalidArguments, true, "a; b; c; and 1 more"},
		{200, `{"errors":[{"message":"Variable \"$id\" got invalid value 5; ID cannot represent"}]}`, upstream.InvalidArguments, true, ""},
		{400, `{"errors":[{"message":"Variable \"$id\" got invalid value 5","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`, upstream.InvalidArguments, false, ""},
		{200, `{"errors":[{"message":"` + strings.Repeat("é", 1000) + `"}]}`, upstream.UpstreamError, true, ""},
		{200, `{"data":null}`, upstream.UpstreamError, true, "neither data nor errors"},
		{200, `{"errors":[]}`, upstream.UpstreamError, true, "neither data nor errors"},
		{200, `{"data":[1],"errors":[]}`, upstream.UpstreamError, true, "neither data nor errors"},
		{200, `{"message":"hello"}`, upstream.UpstreamError, true, "something other than a GraphQL response"},
		{200, `[{"data":{}}]`, upstream.UpstreamError, true, "broken JSON"},
		{200, `{"data":{"a":1`, upstream.UpstreamError, true, "broken JSON"},
		{200, `{"data":{"a":1},"data":{}}`, upstream.UpstreamError, true, "broken JSON"},
		{200, ``, upstream.UpstreamError, true, "broken JSON"},
		{200, `{"data":"` + strings.Repeat("x", 1<<16) + `"}`, upstream.UpstreamError, true, "more than 65536 bytes"},
		{404, `<html>`, upstream.UpstreamError, false, "there is no GraphQL service at its address (HTTP 404)"},
		{405, ``, upstream.UpstreamError, false, "there is no GraphQL service at its address (HTTP 405)"},
		{401, `nope`, upstream.NeedsLogin, false, "it asks for a login"},
		{403, `{}`, upstream.Denied, false, "it refuses access"},
		{429, `slow down`, upstream.RateLimited, false, "it asks to wait"},
		{502, `<html>`, upstream.Unavailable, true, "not available"},
		{500, `oops`, upstream.UpstreamError, true, "HTTP 500"},
		{402, `<html>`, upstream.UpstreamError, true, "HTTP 402"},
	} {
		s.answer(c.status, c.body)
		_, err := try(t.Context(), a, "read", `{}`)
		e := failure(t, err, c.kind, c.sent)
		if works := c.status == http.StatusPaymentRequired || strings.HasPrefix(c.text, "more than"); errors.Is(err, upstream.ErrNoOutage) != works {
			t.Errorf("HTTP %d %.100s: it works: %t", c.status, c.body, !works)
		}
		text := e.Public
		if e.RPC != nil {
			text = e.RPC.Message
			if said := map[bool]int{true: c.status}[c.status > 299]; e.RPC.Code != said {
				t.Errorf("HTTP %d %.100s is told with the code %d", c.status, c.body, e.RPC.Code)
			}
		}
		if !strings.Contains(text, c.text) || len(text) > 2000 {
			t.Errorf("HTTP %d %.100s says %q, want %q", c.status, c.body, text, c.text)
		}
	}
	s.answer(200, "<!DOCTYPE html>", "Content-Type", "text/html; charset=utf-8")
	_, err := try(t.Context(), a, "read", `{}`)
	if e := failure(t, err, upstream.UpstreamError, true); e.Public != "answered with text/html instead of JSON" {
		t.Error(e.Public)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other := serve(t, `{"data":{}}`)
	s := serve(t, "")
	s.answer(http.StatusTemporaryRedirect, "", "Location", other.URL)
	refusing := &http.Client{Transport: s.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("to another origin") }}
	for name, hc := range map[string]*http.Client{"nobody says": s.Client(), "refused": refusing} {
		a, err := graphql.New(graphql.Options{ID: "shop", Documents: docs(readers)}, s.URL, hc)
		if err != nil {
			t.Fatal(err)
		}
		_, err = try(t.Context(), a, "read", `{}`)
		if e := failure(t, err, upstream.UpstreamError, false); !strings.Contains(e.Public, "redirects") || other.count() != 0 {
			t.Errorf("%s: %q, followed %d times", name, e.Public, other.count())
		}
	}
}

func TestQuota(t *testing.T) {
	s := serve(t, "")
	a := adapter(t, s, graphql.Options{Documents: docs(readers)})
	cost := func(requested, left float64) string {
		return fmt.Sprintf(`"extensions":{"cost":{"requestedQueryCost":%g,"actualQueryCost":4,"throttleStatus":{"maximumAvailable":1000.0,"currentlyAvailable":%g,"restoreRate":50.0}}}}`, requested, left)
	}
	for _, c := range []struct {
		requested, left, remaining float64
		reset                      time.Duration
	}{{100, 950, 9, 2 * time.Second}, {100, 50, 0, time.Second}, {0, 3, 3, 20 * time.Millisecond}, {1e9, 0, 0, 15 * time.Minute}} {
		s.answer(200, `{"data":{},`+cost(c.requested, c.left))
		r, err := try(t.Context(), a, "read", `{}`)
		if err != nil || r.Quota == nil || r.Quota.Remaining != c.remaining || r.Quota.Reset != c.reset {
			t.Errorf("%+v: %+v, %v", c, r.Quota, err)
		}
	}
	for _, body := range []string{`{"data":{}}`, `{"data":{},"extensions":[]}`, `{"data":{},"extensions":{"cost":7}}`, `{"data":{},"extensions":{"cost":{"throttleStatus":{"restoreRate":0}}}}`} {
		s.answer(200, body)
		if r, err := try(t.Context(), a, "read", `{}`); err != nil || r.Quota != nil {
			t.Errorf("%s: %+v, %v", body, r, err)
		}
	}
	s.answer(200, `{"data":{}}`, "X-RateLimit-Remaining", "7", "X-RateLimit-Reset", "30")
	if r, err := try(t.Context(), a, "read", `{}`); err != nil || r.Quota == nil || r.Quota.Remaining != 7 || r.Quota.Reset != 30*time.Second {
		t.Errorf("%+v, %v", r, err)
	}
	for _, body := range []string{ // with the code, and as it was before there was one
		`{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}],` + cost(202, 102),
		`{"errors":[{"message":"Throttled"}],` + cost(202, 102),
	} {
		s.answer(200, body)
		_, err := try(t.Context(), a, "read", `{}`)
		if e := failure(t, err, upstream.RateLimited, strings.Count(body, "THROTTLED") == 0); e.RetryAfter != 2*time.Second {
			t.Errorf("it is to be asked again after %v", e.RetryAfter)
		}
	}
}

// TestRefusedOperationsAreDrift: an operation that the service does not know any
// more is told of until it takes it again.
func TestRefusedOperationsAreDrift(t *testing.T) {
	s := serve(t, "")
	var log strings.Builder
	a := adapter(t, s, graphql.Options{ID: "shop", Documents: docs(readers), Writes: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	refuse := func(message string) {
		s.answer(400, fmt.Sprintf(`{"errors":[{"message":%q}]}`, message))
		_, err := try(t.Context(), a, "read", `{}`)
		failure(t, err, map[bool]upstream.Kind{true: upstream.UpstreamError, false: upstream.InvalidArguments}[strings.HasPrefix(message, "Cannot")], false)
	}
	refuse("Something else")
	if d := a.Drift(); len(d) != 0 {
		t.Errorf("%+v", d)
	}
	for range 3 {
		refuse(`Cannot query field "a" on type "Thing".`)
	}
	if d := a.Drift(); len(d) != 1 || d[0].Tool != "read" || d[0].Since.IsZero() || !strings.Contains(d[0].Problem, `Cannot query field "a"`) {
		t.Errorf("%+v", d)
	}
	s.answer(500, "")
	_, err := try(t.Context(), a, "read", `{}`)
	failure(t, err, upstream.UpstreamError, true)
	if d := a.Drift(); len(d) != 1 {
		t.Error("a failure of another kind has made it forgotten")
	}
	s.answer(200, `{"data":{}}`)
	call(t, a, "read", `{}`)
	if d := a.Drift(); len(d) != 0 {
		t.Errorf("%+v", d)
	}
	refuse(`Cannot query field "a" on type "Thing".`) // which is logged already
	_, line, _ := strings.Cut(log.String(), " ")
	if want := "level=WARN msg=\"source has changed\" upstream=shop tool=read problem=\"the service refuses the operation\"\n"; line != want {
		t.Errorf("the log is %q, want %q", line, want)
	}
}
