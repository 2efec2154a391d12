package rest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// transport answers without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzRequest holds that whatever an argument says, the origin and the constant
// path are those of the definition, each argument stays where it belongs, and no
// header is anybody else's.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"1", "../../admin", "..", ".", "a/../b", "%2e%2e%2f", "..%252f", "//evil.example", "@evil.example/", "\\\\evil.example", "evil.example#", "?x=1",
		"a\r\nHost: evil.example", "\x00", "．．／", "‥", "∕", "%", "%zz", ";a=b", "a:b@c", "http://evil.example/", "{id}", "é", "\u2028", ":80", "[::1]", " ", "/", "&q=2", "%00", "%0d%0a",
	} {
		f.Add(s)
	}
	const text = `[action.get_it]
method = "GET"
path = "/v1/things/{id}/a-{part}.json"
query = { fixed = "1" }
params.id = {}
params.part = {}
params.q = {}
params.list = { type = "array", items = "string", style = "comma" }
params.deep = { type = "object", style = "deep" }
params.h = { in = "header", name = "X-H" }`
	var got *http.Request
	d, err := rest.Parse([]byte(text), "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	a, err := rest.New(rest.Options{ID: "x", Definition: d, BaseURL: "https://api.example.com/base"}, &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		got = r
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	})})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip() // JSON text cannot carry it
		}
		args, err := json.Marshal(map[string]any{"id": s, "part": s, "q": s, "list": []string{s, s}, "deep": map[string]string{s: s}, "h": s})
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		_, err = a.Call(t.Context(), &upstream.Call{Op: upstream.CallTool, Name: "get_it", Arguments: args, Timing: &upstream.Timing{}})
		if err != nil {
			wantKind(t, err, upstream.InvalidArguments, false, "")
			if got != nil {
				t.Error("sent all the same")
			}
			return
		}
		checkFuzzed(t, got, s)
	})
}

func checkFuzzed(t *testing.T, r *http.Request, s string) {
	u := r.URL
	if u.Scheme != "https" || u.Host != "api.example.com" || r.Host != "api.example.com" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		t.Errorf("%q leads to %s", s, u)
	}
	line := u.RequestURI()
	path, query, _ := strings.Cut(line, "?")
	segments := strings.Split(path, "/")
	if len(segments) != 6 || strings.Join(segments[:4], "/") != "/base/v1/things" ||
		!strings.HasPrefix(segments[5], "a-") || !strings.HasSuffix(segments[5], ".json") {
		t.Errorf("%q makes the path %s", s, path)
	}
	if id, err := url.PathUnescape(segments[4]); err != nil || id != s || s == "." || s == ".." {
		t.Errorf("%q arrives as %q", s, id)
	}
	for i := range len(line) {
		if c := line[i]; c <= ' ' || c >= 0x7f {
			t.Errorf("%q makes the request line %q", s, line)
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil || values.Get("fixed") != "1" || values.Get("q") != s || values.Get("deep["+s+"]") != s || len(values) != 4 {
		t.Errorf("%q makes the query %s", s, query)
	}
	for name, v := range r.Header {
		if name != "Accept" && name != "X-H" || len(v) != 1 || strings.ContainsAny(v[0], "\r\n\x00") {
			t.Errorf("%q makes the header %s: %q", s, name, v)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(suiteDefinition)
	f.Add("[action.a]\nmethod=1")
	f.Add("[auth.x]\n[values.a]\npattern='('\n[paging.p]\nkind='x'")
	f.Add("base_url='https://{a}.example.com/{b'\n[action.a]\npath='/{x}/../'\nparams.a={name='/0/1',in='body',default=[1]}")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := rest.Parse([]byte(text), "fuzz")
		if err != nil {
			return
		}
		if err := d.Check(); err != nil {
			t.Errorf("parsed, but %v", err)
		}
		a, err := rest.New(rest.Options{ID: "x", Definition: d, BaseURL: "https://example.com", Writes: true}, &http.Client{})
		if err != nil {
			return // values are missing
		}
		_ = a.Close()
	})
}
