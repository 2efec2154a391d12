package rest_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// hostile is what arguments, cursors and sources may say to lead a request
// elsewhere.
var hostile = []string{
	"1", "../../admin", "..", ".", "a/../b", "%2e%2e%2f", "..%252f", "..%2f..%2fadmin%zz", "//evil.example", "@evil.example/", "\\\\evil.example", "evil.example#", "?x=1",
	"a\r\nHost: evil.example", "\x00", "．．／", "‥", "∕", "%", "%zz", ";a=b", "a:b@c", "http://evil.example/", "https://api.example.com@evil.example/", "https:evil.example",
	"https://api.example.com:1/", "{id}", "é", "\u2028", ":80", "[::1]", " ", "/", "/\\evil.example", "&q=2", "%00", "%0d%0a", "\"", "a\"; filename=\"b", "--x\r\n\r\n", "fixed", "page[size]",
	"https://api.example.com//evil.example/x", "/base/../../x", "?next=1#f", "? é", "", "001=", "javascript:alert(1)", "\t//evil.example", "https://API.example.com./",
}

// asked is an adapter without a network, what it was asked last, and how it
// answers.
type asked struct {
	*rest.Adapter
	got    *http.Request
	body   []byte
	header http.Header
	answer string
}

func newAsked(f *testing.F, text string, change ...func(*rest.Options)) *asked {
	a := &asked{header: http.Header{}, answer: "{}"}
	o := rest.Options{ID: "x", Definition: parse(f, text), BaseURL: "https://api.example.com/base", Writes: true}
	for _, c := range change {
		c(&o)
	}
	var err error
	if a.Adapter, err = rest.New(o, &http.Client{Transport: a}); err != nil {
		f.Fatal(err)
	}
	return a
}

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	a.got, a.body = r, nil
	if r.Body != nil {
		a.body, _ = io.ReadAll(r.Body)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: a.header, Body: io.NopCloser(strings.NewReader(a.answer))}, nil
}

// ask makes a call; false if its arguments are refused, which must be without a
// request.
func (a *asked) ask(t *testing.T, tool string, args any) (*upstream.Result, bool) {
	t.Helper()
	text, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	a.got = nil
	r, err := a.Call(t.Context(), &upstream.Call{Principal: upstream.Local(), Op: upstream.CallTool, Name: tool, Arguments: text, Timing: &upstream.Timing{}})
	if err != nil {
		wantKind(t, err, upstream.InvalidArguments, false, "")
		if a.got != nil {
			t.Errorf("%s(%s) is refused and sent all the same", tool, text)
		}
		return nil, false
	}
	a.home(t, string(text))
	return r, true
}

// home holds the request to the origin of the definition, and its line to
// characters that a line can have.
func (a *asked) home(t *testing.T, by string) {
	t.Helper()
	u := a.got.URL
	if u.Scheme != "https" || u.Host != "api.example.com" || a.got.Host != "api.example.com" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		t.Errorf("%q leads to %s", by, u)
	}
	line := u.RequestURI()
	for i := range len(line) {
		if c := line[i]; c <= ' ' || c >= 0x7f {
			t.Errorf("%q makes the request line %q", by, line)
		}
	}
	again, err := url.Parse("https://api.example.com" + line)
	if err != nil || again.Host != "api.example.com" || !strings.HasPrefix(line, "/") || strings.HasPrefix(line, "//") {
		t.Errorf("%q makes the request line %q: %v", by, line, err)
	}
	for name, v := range a.got.Header {
		if len(v) != 1 || strings.ContainsAny(v[0], "\r\n\x00") {
			t.Errorf("%q makes the header %s: %q", by, name, v)
		}
	}
}

// FuzzRequest holds that whatever an argument says, the origin and the constant
// path are those of the definition, each argument stays where it belongs, and no
// header is anybody else's.
func FuzzRequest(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	a := newAsked(f, `[action.get_it]
method = "GET"
path = "/v1/things/{id}/a-{part}.json"
params.id = {}
params.part = {}
[action.find_it]
method = "GET"
path = "/v1"
query = { fixed = "1" }
params.q = {}
params.list = { type = "array", items = "string", style = "comma" }
params.deep = { type = "object", style = "deep" }
[action.spread_it]
method = "GET"
path = "/v1"
query = { fixed = "1" }
params.free = { type = "object" }
[action.head_it]
method = "GET"
path = "/v1"
params.h = { in = "header", name = "X-H" }`)
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip() // JSON text cannot carry it
		}
		if _, ok := a.ask(t, "get_it", map[string]any{"id": s, "part": s}); ok {
			checkPath(t, a.got.URL.EscapedPath(), s)
		}
		if _, ok := a.ask(t, "find_it", map[string]any{"q": s, "list": []string{s, s}, "deep": map[string]string{s: s}}); !ok {
			t.Errorf("%q is refused in a query", s)
		} else {
			checkFields(t, a.got.URL.RawQuery, map[string]string{"fixed": "1", "q": s, "list": s + "," + s, "deep[" + s + "]": s})
		}
		if _, ok := a.ask(t, "spread_it", map[string]any{"free": map[string]any{s: map[string]string{s: s}}}); ok {
			checkFields(t, a.got.URL.RawQuery, map[string]string{"fixed": "1", s: s})
		} else if !strings.Contains(strings.ToLower(s), "fixed") {
			t.Errorf("%q is refused as a member", s)
		}
		if _, ok := a.ask(t, "head_it", map[string]any{"h": s}); ok && (len(a.got.Header) != 2 || a.got.Header.Get("X-H") != s) {
			t.Errorf("%q makes the header %q", s, a.got.Header)
		}
	})
}

var escape = regexp.MustCompile("%[0-9A-Fa-f]{2}")

// checkPath holds a path with s in two places to what was meant, also for a server
// that decodes it several times and lets pass what is no escape.
func checkPath(t *testing.T, path, s string) {
	t.Helper()
	segments := strings.Split(path, "/")
	if len(segments) != 6 || strings.Join(segments[:4], "/") != "/base/v1/things" ||
		!strings.HasPrefix(segments[5], "a-") || !strings.HasSuffix(segments[5], ".json") {
		t.Errorf("%q makes the path %s", s, path)
		return
	}
	if id, err := url.PathUnescape(segments[4]); err != nil || id != s {
		t.Errorf("%q arrives as %q", s, id)
	}
	for range 4 {
		path = escape.ReplaceAllStringFunc(path, func(e string) string {
			c, _ := hex.DecodeString(e[1:])
			return string(c)
		})
		parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' })
		if slices.Contains(parts, "..") || slices.Contains(parts, ".") || strings.ContainsAny(path, "\r\n\x00") {
			t.Errorf("%q may be read as %q", s, path)
		}
	}
}

// checkFields holds a query or form to these fields, each there once.
func checkFields(t *testing.T, encoded string, want map[string]string) {
	t.Helper()
	got, err := url.ParseQuery(encoded)
	if err != nil || len(got) != len(want) {
		t.Errorf("%s is read as %q, %v; want %q", encoded, got, err, want)
	}
	for name, text := range want {
		if v := got[name]; len(v) != 1 || v[0] != text {
			t.Errorf("%s has %q for %q, want %q", encoded, v, name, text)
		}
	}
}

// FuzzBody holds that whatever an argument says, a body is one that the other side
// reads as what was given, no more and no less.
func FuzzBody(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	a := newAsked(f, `[action.send_json]
method = "POST"
path = "/x"
constant = { fixed = 1 }
params.s = { name = "/a/0/b" }
params.o = { type = "object" }
params.n = { type = "number" }
[action.send_whole]
method = "POST"
path = "/x"
params.all = { name = "/", schema = {} }
[action.send_form]
method = "POST"
path = "/x"
body = "form"
constant = { fixed = 1 }
params.s = { name = "/a/b" }
params.o = { type = "object" }
params.list = { type = "array", style = "brackets" }
[action.send_free]
method = "POST"
path = "/x"
body = "form"
constant = { fixed = 1 }
params.free = { type = "object", style = "form" }
[action.send_parts]
method = "POST"
path = "/x"
body = "multipart"
constant = { fixed = 1 }
params.s = {}
params.file = { format = "byte" }
params.text = { format = "text/csv" }
params.o = { type = "object" }
[action.send_raw]
method = "POST"
path = "/x"
body = "raw"
params.all = { name = "/" }
[action.send_bytes]
method = "POST"
path = "/x"
body = "raw"
params.all = { name = "/", format = "byte" }`)
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip()
		}
		object, bytes := map[string]string{s: s}, base64.StdEncoding.EncodeToString([]byte(s))
		send := func(tool string, args map[string]any) string {
			if _, ok := a.ask(t, tool, args); !ok {
				t.Fatalf("%q is refused by %s", s, tool)
			}
			return string(a.body)
		}
		checkJSON(t, send("send_json", map[string]any{"s": s, "o": object}), map[string]any{"fixed": 1, "a": []any{map[string]any{"b": s}}, "o": object})
		if _, ok := a.ask(t, "send_json", map[string]any{"n": s}); ok && !json.Valid(a.body) {
			t.Errorf("%q is taken for a number: %s", s, a.body)
		}
		checkJSON(t, send("send_whole", map[string]any{"all": []any{s, object}}), []any{s, object})
		checkFields(t, send("send_form", map[string]any{"s": s, "o": object, "list": []string{s}}), map[string]string{"fixed": "1", "a[b]": s, "o[" + s + "]": s, "list[]": s})
		if _, ok := a.ask(t, "send_free", map[string]any{"free": object}); ok {
			checkFields(t, string(a.body), map[string]string{"fixed": "1", s: s})
		}
		checkParts(t, send("send_parts", map[string]any{"s": s, "file": bytes, "text": s, "o": object}), a.got.Header.Get("Content-Type"), s)
		if got := send("send_raw", map[string]any{"all": s}); got != s || a.got.ContentLength != int64(len(s)) {
			t.Errorf("%q is sent as %q", s, got)
		}
		if got := send("send_bytes", map[string]any{"all": bytes}); got != s {
			t.Errorf("%q is sent as %q", s, got)
		}
		plain, err := base64.StdEncoding.DecodeString(s)
		if _, ok := a.ask(t, "send_bytes", map[string]any{"all": s}); ok != (err == nil) || ok && string(a.body) != string(plain) {
			t.Errorf("%q is sent as %q, taken for base64: %v", s, a.body, ok)
		}
	})
}

func checkJSON(t *testing.T, got string, want any) {
	t.Helper()
	var v any
	text, err := json.Marshal(want)
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err := errors.Join(err, json.Unmarshal([]byte(got), &v)); err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("the body is %s, %v; want %s", got, err, text)
	}
}

// checkParts holds a multipart body to the parts that were given.
func checkParts(t *testing.T, body, typ, s string) {
	t.Helper()
	media, params, err := mime.ParseMediaType(typ)
	if err != nil || media != "multipart/form-data" {
		t.Fatalf("%q is sent as %s: %v", s, typ, err)
	}
	object, _ := json.Marshal(map[string]string{s: s})
	want := [][3]string{{"fixed", "", "1"}, {"s", "", s}, {"file", "file", s}, {"text", "text", s}, {"o", "", string(object)}}
	r := multipart.NewReader(strings.NewReader(body), params["boundary"])
	for i := 0; ; i++ {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) && i == len(want) {
			return
		}
		if err != nil || i == len(want) {
			t.Fatalf("%q makes part %d: %v", s, i, err)
		}
		content, err := io.ReadAll(p)
		got := [3]string{p.FormName(), p.FileName(), string(content)}
		if i == len(want)-1 {
			checkJSON(t, got[2], json.RawMessage(object))
			got[2] = want[i][2]
		}
		if err != nil || got != want[i] {
			t.Fatalf("%q makes part %d %q, want %q: %v", s, i, got, want[i], err)
		}
	}
}

// FuzzCursor holds that neither a made-up cursor nor what a source says of its next
// page leads a request away, and that a cursor is good for nobody else.
func FuzzCursor(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	const text = `[paging.link]
kind = "link"
[paging.url]
kind = "next_url"
next = "/next"
[action.list_linked]
method = "GET"
path = "/list"
records = "/records"
paging = "link"
[action.list_named]
method = "GET"
path = "/list"
records = "/records"
paging = "url"`
	key := func(o *rest.Options) { o.Key = []byte("the same") }
	a, other := newAsked(f, text, key), newAsked(f, text, key, func(o *rest.Options) { o.ID = "y" })
	f.Fuzz(func(t *testing.T, s string) {
		next, err := json.Marshal(map[string]any{"records": []any{1}, "next": s})
		if err != nil {
			t.Fatal(err)
		}
		for tool, links := range map[string][]string{"list_linked": {"<" + s + `>; rel="next"`, s, "<" + s + ">; rel=next, <https://evil.example/>; rel=next"}, "list_named": {""}} {
			if _, ok := a.ask(t, tool, map[string]any{"cursor": s}); ok && s != "" {
				t.Fatalf("the cursor %q is taken", s)
			}
			for _, link := range links {
				a.header, a.answer = http.Header{"Link": {link}}, string(next)
				cursor := nextCursor(t, a, tool)
				if cursor == "" {
					continue
				}
				args := map[string]any{"cursor": cursor}
				if _, ok := a.ask(t, tool, args); !ok {
					t.Fatalf("the cursor for %q is refused", s)
				}
				if _, ok := other.ask(t, tool, args); ok {
					t.Fatalf("the cursor for %q is good for another source", s)
				}
				for _, c := range []string{cursor + s, s + cursor, cursor[:len(cursor)-2] + "!" + s} {
					if _, ok := a.ask(t, tool, map[string]any{"cursor": c}); ok && c != cursor {
						t.Fatalf("the cursor %q is taken", c)
					}
				}
			}
		}
	})
}

// nextCursor returns where the first page of a list goes on.
func nextCursor(t *testing.T, a *asked, tool string) string {
	t.Helper()
	r, ok := a.ask(t, tool, map[string]any{})
	if !ok {
		t.Fatal("it is refused")
	}
	content, _ := r.Get("structuredContent")
	var page struct {
		Next string `json:"next_cursor"`
	}
	if err := json.Unmarshal(content, &page); err != nil {
		t.Fatal(err)
	}
	return page.Next
}
