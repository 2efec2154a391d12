package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// says is a server that always answers alike.
func says(typ, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{typ}
		_, _ = io.WriteString(w, body)
	}
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct{ name, action, body, args, want string }{
		{"records", `records = "/d/items"
fields = ["id", "owner.name", "tags.k"]`, `{"d":{"items":[{"id":9007199254740993,"x":1,"owner":{"id":1,"name":"A"},"tags":[{"k":1,"v":2},{"v":3}]},{"owner":null,"id":1.50}]}}`,
			`{}`, `{"records":[{"id":9007199254740993,"owner":{"name":"A"},"tags":[{"k":1},{}]},{"owner":null,"id":1.50}],"count":2}`},
		{"fields of one's own", `fields = ["id"]`, `[{"id":1,"a":{"b":2,"c":3}}]`, `{"fields":["a.b"]}`, `{"records":[{"a":{"b":2}}],"count":1}`},
		{"fields that no record has", `fields = ["id"]`, `[{"id":1,"a":{"b":2}},{"id":3,"c":null}]`, `{"fields":["bogus","c","a.x"]}`,
			`{"records":[{"a":{}},{"c":null}],"count":2,"note":"nothing here has the fields bogus, a.x; there are: id, a"}`},
		{"fields of nothing", `fields = ["id"]`, `[]`, `{"fields":["bogus"]}`, `{"records":[],"count":0}`},
		{"fields that are null", `fields = ["id"]`, `[{"a":null}]`, `{"fields":["a.b"]}`, `{"records":[{"a":null}],"count":1}`},
		{"fields as text", ``, `[{"id":1,"a":2,"b":3}]`, `{"fields":"id, a"}`, `{"records":[{"id":1,"a":2}],"count":1}`},
		{"all fields", `fields = ["id"]`, `[{"id":1,"a":2}]`, `{"fields":["*"]}`, `{"records":[{"id":1,"a":2}],"count":1}`},
		{"pretty JSON is made small", ``, "[ {\n  \"id\" : 1,\n \"s\": \"a  b\" } ]", `{}`, `{"records":[{"id":1,"s":"a  b"}],"count":1}`},
		{"no records", `records = "/items"`, `{"items":null}`, `{}`, `{"records":[],"count":0}`},
		{"nothing there", `records = "/items"`, `{"things":[1]}`, `{}`, `{"records":[],"count":0,"note":"the answer has nothing at /items: the source may have changed"}`},
		{"rows", `fields = ["a"]`, `[[1,"x"],[2,"y"]]`, `{}`, `{"records":[[1,"x"],[2,"y"]],"count":2}`},
		{"one as a list", `records = "/item"`, `{"item":{"id":1}}`, `{}`, `{"records":[{"id":1}],"count":1}`},
		{"names twice", ``, `[{"a":1,"a":2}]`, `{}`, `{"records":[{"a":1,"a":2}],"count":1}`},
		{"nothing at all", ``, ``, `{}`, `{"records":[],"count":0}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := open(t, "[action.list_x]\nmethod='GET'\npath='/'\n"+c.action, serve(t, says("application/json", c.body)))
			if got := structured(t, a, "list_x", c.args); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	for _, c := range []struct{ name, action, body, args, want string }{
		{"one", `records = "/item"
fields = ["id"]`, `{"item":{"id":1,"x":2}}`, `{}`, `{"id":1}`},
		{"a list all the same", ``, `[{"id":1}]`, `{}`, `{"records":[{"id":1}],"count":1}`},
		{"a number", ``, `12345678901234567890`, `{}`, `{"value":12345678901234567890}`},
		{"nothing", ``, ` `, `{}`, `{}`},
		{"a byte order mark", ``, "\ufeff" + `{"id":1}`, `{}`, `{"id":1}`},
		{"no field that it has", ``, `{"id":1}`, `{"fields":["x"]}`, `{"note":"nothing here has the fields x; there are: id"}`},
		{"a field that it has", ``, `{"id":1}`, `{"fields":["x","id"]}`, `{"id":1}`},
		{"nothing there", `records = "/item"`, `{}`, `{}`, `{"note":"the answer has nothing at /item: the source may have changed"}`},
	} {
		t.Run("get "+c.name, func(t *testing.T) {
			a := open(t, "[action.get_x]\nmethod='GET'\npath='/'\n"+c.action, serve(t, says("application/json; charset=utf-8", c.body)))
			if got := structured(t, a, "get_x", c.args); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestAnswersThatAreNoJSON(t *testing.T) {
	const text = "[action.get_x]\nmethod='GET'\npath='/'\n"
	for _, c := range []struct{ typ, body, says string }{
		{"text/html", "<html><body>Sign in</body></html>", "HTML or XML instead of JSON"},
		{"application/json", "<html>", "HTML or XML instead of JSON"},
		{"text/plain", "hello", "broken JSON"},
		{"application/json", `{"a":`, "broken JSON"},
		{"application/json", strings.Repeat("[", 1000), "broken JSON"},
		{"image/png", "\x89PNG", "image/png instead of JSON"},
		{"", "hello", "broken JSON"},
	} {
		_, err := call(t.Context(), open(t, text, serve(t, says(c.typ, c.body))), "get_x", `{}`)
		wantKind(t, err, upstream.UpstreamError, true, c.says)
	}
	for _, c := range []struct{ typ, body, want string }{
		{"text/csv; charset=utf-8", "a,b\n1,2", `[{"type":"text","text":"a,b\n1,2"}]`},
		{"text/plain", `{"a":1}`, `[{"type":"text","text":"{\"a\":1}"}]`},
		{"image/png", "\x89PNG", `[{"data":"iVBORw==","mimeType":"image/png","type":"image"}]`},
		{"application/pdf", "%PDF", `[{"resource":{"blob":"JVBERg==","mimeType":"application/pdf","uri":"bulkhead:answer"},"type":"resource"}]`},
		{"text/plain", "\xff", `[{"resource":{"blob":"/w==","mimeType":"text/plain","uri":"bulkhead:answer"},"type":"resource"}]`},
	} {
		r, err := call(t.Context(), open(t, text+"answer='any'", serve(t, says(c.typ, c.body))), "get_x", `{}`)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := r.Get("content"); string(got) != c.want {
			t.Errorf("%s: got %s, want %s", c.typ, got, c.want)
		}
	}
	if got := structured(t, open(t, text+"answer='any'", serve(t, says("application/json", `{"a":1}`))), "get_x", `{}`); got != `{"a":1}` {
		t.Errorf("JSON where anything may come: %s", got)
	}
	zipped := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "\x1f\x8b")
	})
	_, err := call(t.Context(), open(t, text, zipped), "get_x", `{}`)
	wantKind(t, err, upstream.UpstreamError, true, "compressed")
}

func TestEndlessAnswer(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		chunk := []byte(`["` + strings.Repeat("x", 1<<16))
		for range 1 << 14 { // 1 GB, if anybody reads it
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	a := open(t, "[action.get_x]\nmethod='GET'\npath='/'", s, func(o *rest.Options) { o.MaxMessage = 1 << 20 })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := call(t.Context(), a, "get_x", `{}`)
	runtime.ReadMemStats(&after)
	wantKind(t, err, upstream.UpstreamError, true, "more than 1048576 bytes")
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("it took %d MB", used>>20)
	}
}

func TestFailures(t *testing.T) {
	const text = `[errors]
failed = { path = "/ok", equals = false }
message = ["/error/text", "/error"]
code = ["/error/code", "/error"]
[errors.codes]
slow_down = "rate_limited"
token_expired = "needs_login"
"403 QUOTA" = "rate_limited"
"418" = "not_found"
QUOTA = "denied"
broken = "unavailable"
[action.do_x]
method = "POST"
path = "/"`
	for _, c := range []struct {
		status int
		body   string
		kind   upstream.Kind
		sent   bool
		says   string
		header http.Header
	}{
		{400, `{"error":{"text":"name is\n too long"}}`, upstream.InvalidArguments, false, "it refuses the request (HTTP 400): name is  too long", nil},
		{422, `<html>`, upstream.InvalidArguments, false, "HTTP 422", nil},
		{401, `{}`, upstream.NeedsLogin, false, "login", nil},
		{403, `{"error":{"code":"NOPE"}}`, upstream.Denied, false, "it refuses access: NOPE", nil},
		{403, `{"error":{"code":"QUOTA"}}`, upstream.RateLimited, false, "wait", nil},
		{400, `{"error":{"code":"QUOTA"}}`, upstream.Denied, false, "access", nil},
		{404, ``, upstream.NotFound, false, "no such thing", nil},
		{405, ``, upstream.UpstreamError, false, "HTTP 405", nil},
		{418, ``, upstream.NotFound, false, "", nil},
		{429, `busy`, upstream.RateLimited, false, "wait", http.Header{"Retry-After": {"7"}}},
		{500, `{"error":"oops"}`, upstream.UpstreamError, true, "answered HTTP 500: oops", nil},
		{503, ``, upstream.Unavailable, true, "HTTP 503", nil},
		{504, ``, upstream.Unavailable, true, "HTTP 504", nil},
		{302, ``, upstream.UpstreamError, false, "redirects", http.Header{"Location": {"http://elsewhere.invalid/"}}},
		{200, `{"ok":false,"error":"slow_down"}`, upstream.RateLimited, false, "wait", http.Header{"Retry-After": {"7"}}},
		{200, `{"ok":false,"error":"ratelimited"}`, upstream.RateLimited, false, "wait", http.Header{"Retry-After": {"7"}}},
		{200, `{"ok":false,"error":"token_expired"}`, upstream.NeedsLogin, false, "login: token_expired", nil},
		{200, `{"ok":false,"error":"broken"}`, upstream.Unavailable, true, "", nil},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			maps.Copy(w.Header(), c.header)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		_, err := call(t.Context(), open(t, text, s), "do_x", `{}`)
		e := wantKind(t, err, c.kind, c.sent, c.says)
		if c.header.Get("Retry-After") != "" && e.RetryAfter != 7*time.Second {
			t.Errorf("%d: again after %v", c.status, e.RetryAfter)
		}
		if strings.Contains(e.Public, s.URL) || strings.Contains(e.Error(), s.URL) {
			t.Errorf("the address is told: %v", e)
		}
		if works := c.status == http.StatusMethodNotAllowed; errors.Is(err, upstream.ErrNoOutage) != works {
			t.Errorf("%d, %s : it works: %t", c.status, c.body, !works)
		}
		if e.Upstream != "crm" || e.Tool != "do_x" || e.Op != "tools/call" {
			t.Errorf("it happened nowhere: %+v", e)
		}
	}
	r, err := call(t.Context(), open(t, text, serve(t, says("application/json", `{"ok":false,"error":"channel_not_found"}`))), "do_x", `{}`)
	if err != nil || !r.IsError || !strings.Contains(string(r.Raw), "channel_not_found") {
		t.Errorf("a failure that is told: %s, %v", r.Raw, err)
	}
	long := `{"error":{"text":"` + strings.Repeat("é\\u0007", 5000) + `"}}`
	_, err = call(t.Context(), open(t, text, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, long)
	})), "do_x", `{}`)
	if e := wantKind(t, err, upstream.InvalidArguments, false, "éé"); len(e.Public) > 1100 || strings.Contains(e.Public, "\a") {
		t.Errorf("the message is passed on as it is: %d bytes", len(e.Public))
	}
}

func TestFailedByPresence(t *testing.T) {
	const text = `[errors]
failed = { path = "/errors", present = true }
message = ["/errors/0/message"]
[action.do_x]
method = "POST"
class = "read"
path = "/"`
	r, err := call(t.Context(), open(t, text, serve(t, says("application/json", `{"errors":[{"message":"no"}]}`))), "do_x", `{}`)
	if err != nil || !r.IsError {
		t.Errorf("%v, %v", r, err)
	}
	_, err = call(t.Context(), open(t, text, serve(t, says("application/json", `{"errors":[{"extensions":{"code":"THROTTLED"}}]}`))), "do_x", `{}`)
	wantKind(t, err, upstream.RateLimited, false, "wait")
	for _, body := range []string{`{"errors":null,"data":1}`, `{"data":1}`} {
		if r, err = call(t.Context(), open(t, text, serve(t, says("application/json", body))), "do_x", `{}`); err != nil || r.IsError {
			t.Errorf("%s: %v, %v", body, r, err)
		}
	}
}

func TestQuotaIsTold(t *testing.T) {
	a := open(t, "[action.get_x]\nmethod='GET'\npath='/'", serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-RateLimit-Remaining", "12")
		w.Header().Set("X-RateLimit-Reset", "30")
		_, _ = io.WriteString(w, `{}`)
	}))
	r, err := call(t.Context(), a, "get_x", `{}`)
	if err != nil || r.Quota == nil || r.Quota.Remaining != 12 || r.Quota.Reset != 30*time.Second {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestQuotaInTheBody(t *testing.T) {
	const definition = "quota={left='/q/0/left',restore='/q/0/more'}\n[action.get_x]\nmethod='GET'\npath='/'"
	for body, want := range map[string]*upstream.Quota{
		`{"q":[{"left":1988,"more":100}]}`:        {Remaining: 1988},
		`{"q":[{"left":"0.5","more":"0.1"}]}`:     {Remaining: 0.5, Reset: 5 * time.Second},
		`{"q":[{"left":0,"more":1e-9}]}`:          {Reset: 15 * time.Minute},
		`{"q":[{"left":0}]}`:                      {},
		`{"q":[{"left":7,"more":0}]}`:             {Remaining: 7},
		`{"q":[{"left":-1}]}`:                     {Remaining: 9},
		`{"q":[{"left":1e999}]}`:                  {Remaining: 9},
		`{"q":[{"left":null,"more":5}],"left":3}`: {Remaining: 9},
	} {
		a := open(t, definition, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("RateLimit-Remaining", "9") // counts where the body says nothing
			_, _ = io.WriteString(w, body)
		}))
		r, err := call(t.Context(), a, "get_x", `{}`)
		if err != nil || r.Quota == nil || *r.Quota != *want {
			t.Errorf("%s: %+v, %v, want %+v", body, r.Quota, err, want)
		}
	}
}

func TestRedirects(t *testing.T) {
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("followed to another origin") })
	a := open(t, "[action.get_x]\nmethod='GET'\npath='/{to}'\nparams.to={}\n[action.do_x]\nmethod='POST'\npath='/{to}'\nparams.to={}", serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/here":
			http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
		case "/there":
			_, _ = io.WriteString(w, `{"at":"there"}`)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		default:
			http.Redirect(w, r, elsewhere.URL+"/x", http.StatusFound)
		}
	}))
	if got := structured(t, a, "get_x", `{"to":"here"}`); got != `{"at":"there"}` {
		t.Errorf("a read within the origin: %s", got)
	}
	for _, c := range [][2]string{{"get_x", "away"}, {"get_x", "round"}, {"do_x", "here"}, {"do_x", "away"}} {
		_, err := call(t.Context(), a, c[0], fmt.Sprintf(`{"to":%q}`, c[1]))
		wantKind(t, err, upstream.UpstreamError, false, "redirects")
	}
}

func TestTokenValue(t *testing.T) {
	const text = `base_url = "{instance_url}/services/v{version}"
[values.instance_url]
token = "instance_url"
suffixes = [".salesforce.com", "force.com"]
[values.version]
default = "62.0"
pattern = "[0-9.]+"
[action.get_x]
method = "GET"
path = "/x/v{version}"`
	instance := ""
	var asked []string
	o := rest.Options{ID: "sf", Definition: parse(t, text), TokenValue: func(_ context.Context, _ *upstream.Call, member string) (string, error) {
		if member != "instance_url" {
			t.Errorf("asked for %s", member)
		}
		if instance == "" {
			return "", errors.New("no token")
		}
		return instance, nil
	}}
	a, err := rest.New(o, &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.String())
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	for _, instance = range []string{"https://na1.salesforce.com", "https://NA2.my.salesforce.com/", "https://x.force.com:8443"} {
		structured(t, a, "get_x", `{}`)
	}
	want := "[https://na1.salesforce.com/services/v62.0/x/v62.0 https://NA2.my.salesforce.com/services/v62.0/x/v62.0 https://x.force.com:8443/services/v62.0/x/v62.0]"
	if fmt.Sprint(asked) != want {
		t.Errorf("asked %v", asked)
	}
	for _, instance = range []string{
		"http://na1.salesforce.com", "https://evilforce.com", "https://salesforce.com.evil.example", "https://evil.example/.salesforce.com", "https://evil.example#.salesforce.com",
		"https://user@na1.salesforce.com", "https://evil.example?x=.salesforce.com", "na1.salesforce.com", "https://evil.example\\.salesforce.com", "file:///x.salesforce.com",
	} {
		_, err := call(t.Context(), a, "get_x", `{}`)
		wantKind(t, err, upstream.Denied, false, "address")
	}
	instance = ""
	_, err = call(t.Context(), a, "get_x", `{}`)
	wantKind(t, err, upstream.Unavailable, false, "")
	if len(asked) != 3 {
		t.Errorf("asked elsewhere: %v", asked[3:])
	}
	o.TokenValue = nil
	if _, err = rest.New(o, client(t)); err == nil || !strings.Contains(err.Error(), "token response") {
		t.Errorf("without tokens: %v", err)
	}
	o.BaseURL = "http://127.0.0.1:1"
	if _, err = rest.New(o, client(t)); err != nil {
		t.Errorf("with an address of one's own: %v", err)
	}
}

func TestToolDefinitions(t *testing.T) {
	a := open(t, `[paging.p]
kind = "cursor"
param = "c"
next = "/n"
size = "s"
default = 5
most = 50
[action.list_things]
title = "Things"
description = "Lists things."
method = "GET"
path = "/{kind}"
paging = "p"
fields = ["id", "a.b", "a.c"]
params.kind = { doc = "Which.", enum = ["x", "y"] }
params.ids = { type = "array", items = "integer" }
params.any = { schema = { anyOf = [{ type = "string" }] }, doc = "Anything." }
params.when = { format = "date-time", default = "2026-01-01T00:00:00Z" }`, serve(t, says("application/json", "{}")))
	tools, err := a.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in, _ := rawjson.Get(tools[0].Raw, "inputSchema")
	want := `{"type":"object","properties":{"kind":{"type":"string","description":"Which.","enum":["x","y"]},"ids":{"type":"array","items":{"type":"integer"}},` +
		`"any":{"anyOf":[{"type":"string"}],"description":"Anything."},"when":{"type":"string","format":"date-time","default":"2026-01-01T00:00:00Z"},` +
		`"limit":{"type":"integer","description":"How many to give at most.","minimum":1,"maximum":50,"default":5},` +
		`"cursor":{"type":"string","description":"next_cursor of the answer before, to go on from there with the same arguments."},` +
		`"fields":{"description":"Fields of a record to give, as dotted paths; [\"*\"] is all. Default: id, a.b, a.c.","items":{"type":"string"},"type":"array"}},` +
		`"required":["kind"],"additionalProperties":false}`
	if string(in) != want {
		t.Errorf("got  %s\nwant %s", in, want)
	}
	out, _ := rawjson.Get(tools[0].Raw, "outputSchema")
	if !strings.Contains(string(out), `"records":{"type":"array","items":{"type":"object","properties":{"id":{},"a":{}}}}`) || !json.Valid(out) ||
		!strings.HasSuffix(string(out), `"required":["records","count"],"additionalProperties":false}`) { // so a plan is told of a part that cannot be
		t.Errorf("%s", out)
	}
	if tools[0].Title != "Things" || !tools[0].Hints.ReadOnly || tools[0].Upstream != "crm" {
		t.Errorf("%+v", tools[0])
	}
}
