package rest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// recorder answers {} and notes each request: its line, its own headers, its body.
type recorder struct{ got []string }

func (r *recorder) serve(t *testing.T) *httptest.Server {
	return serve(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		text := req.Method + " " + req.RequestURI
		for name, v := range req.Header {
			if !slices.Contains([]string{"User-Agent", "Content-Length", "Accept-Encoding", "Accept"}, name) {
				text += "\n" + name + ": " + v[0]
			}
		}
		if len(body) > 0 {
			text += "\n" + string(body)
		}
		r.got = append(r.got, text)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{}`)
	})
}

func TestRequests(t *testing.T) {
	for _, c := range []struct{ name, action, args, want string }{
		{"path", `method = "GET"
path = "/v1/things/{id}/parts/{part}.json"
params.id.type = "integer"
params.part = {}`, `{"id":9007199254740993,"part":"a b/c?d#e%2F"}`, "GET /v1/things/9007199254740993/parts/a%20b%2Fc%3Fd%23e%252F.json"},
		{"escapes that are none", `method = "GET"
path = "/x/{id}"
params.id = {}`, `{"id":"100% of %zz%2"}`, "GET /x/100%25%20of%20%25zz%252"},
		{"several in a segment", `method = "GET"
path = "/x/{a}-{b}:go"
params.a = {}
params.b = {}`, `{"a":"..","b":"ü"}`, "GET /x/..-%C3%BC:go"},
		{"query by default", `method = "GET"
path = "/x"
query = { include = "a b", n = 1 }
params.q = { name = "filter[q]" }
params.on = { type = "boolean", default = true }`, `{"q":"1&2=3+4\n"}`, "GET /x?include=a%20b&n=1&filter%5Bq%5D=1%262%3D3%2B4%0A&on=true"},
		{"form", `method = "GET"
path = "/x"
params.a = { type = "array", items = "integer" }
params.o = { type = "object" }`, `{"a":["1",2],"o":{"x":1,"y":[true,"z"]}}`, "GET /x?a=1&a=2&x=1&y=true&y=z"},
		{"comma, space, pipe", `method = "GET"
path = "/x"
params.a = { type = "array", style = "comma" }
params.b = { type = "array", style = "space" }
params.c = { type = "array", style = "pipe" }
params.o = { type = "object", style = "comma" }`, `{"a":["1,5",2],"b":[1,2],"c":["x","y|"],"o":{"r":1,"g":2}}`,
			"GET /x?a=1%2C5,2&b=1%202&c=x%7Cy%7C&o=r,1,g,2"},
		{"deep, brackets, json", `method = "GET"
path = "/x"
params.d = { type = "object", style = "deep" }
params.b = { type = "array", style = "brackets" }
params.j = { type = "object", style = "json" }`, `{"d":{"a":{"b":[1,{"c":2}]}},"b":[1,2],"j":{"a":"b c"}}`,
			"GET /x?d%5Ba%5D%5Bb%5D%5B0%5D=1&d%5Ba%5D%5Bb%5D%5B1%5D%5Bc%5D=2&b%5B%5D=1&b%5B%5D=2&j=%7B%22a%22%3A%22b%20c%22%7D"},
		{"header", `method = "GET"
path = "/x"
headers = { X-Version = "2026-11" }
params.etag = { in = "header", name = "If-Match" }`, `{"etag":"W/\"1\""}`, "GET /x\nIf-Match: W/\"1\"\nX-Version: 2026-11"},
		{"body", `method = "POST"
path = "/x"
params.name = {}
params.n = { type = "number", name = "/deep/er/n" }
params.opt = { name = "/gone/opt" }`, `{"name":"a\"<é","n":12345678901234567890.5}`,
			"POST /x\nContent-Type: application/json\n" + `{"name":"a\"<é","deep":{"er":{"n":12345678901234567890.5}}}`},
		{"constants", `method = "POST"
path = "/x"
constant = { query = "query($n: Int) { all(n: $n) { id } }", variables = { n = 10, kind = "a" }, list = [1, { k = "v" }] }
params.n = { type = "integer", name = "/variables/n" }
params.extra = { type = "object", name = "/variables" }
params.v = { name = "/list/1/v" }`, `{"n":5,"extra":{"kind":"b","z":null},"v":"w"}`,
			"POST /x\nContent-Type: application/json\n" + `{"list":[1,{"k":"v","v":"w"}],"query":"query($n: Int) { all(n: $n) { id } }","variables":{"kind":"b","z":null,"n":5}}`},
		{"arrays in pointers", `method = "POST"
path = "/x"
class = "read"
params.email = { name = "/groups/0/filters/0/value" }
params.other = { name = "/groups/0/filters/1/value" }`, `{"email":"a@example.com"}`,
			"POST /x\nContent-Type: application/json\n" + `{"groups":[{"filters":[{"value":"a@example.com"}]}]}`},
		{"whole body", `method = "PUT"
path = "/x"
params.all = { type = "array", name = "/" }`, `{"all":"[1, 2]"}`, "PUT /x\nContent-Type: application/json\n[1, 2]"},
		{"raw body", `method = "PUT"
path = "/x"
body = "raw"
content_type = "text/csv"
params.all = { name = "/" }`, `{"all":"a,b\n"}`, "PUT /x\nContent-Type: text/csv\na,b\n"},
		{"octets", `method = "PUT"
path = "/x"
body = "raw"
params.all = { name = "/", format = "byte" }`, `{"all":"aGk="}`, "PUT /x\nContent-Type: application/octet-stream\nhi"},
		{"form body", `method = "POST"
path = "/x"
body = "form"
constant = { a = 1 }
params.metadata = { type = "object" }
params.expand = { type = "array", style = "brackets" }
params.items = { type = "array" }
params.deep = { name = "/card/number" }`, `{"metadata":{"k y":"v&"},"expand":["x"],"items":[{"price":"p","n":2}],"deep":"1"}`,
			"POST /x\nContent-Type: application/x-www-form-urlencoded\na=1&metadata%5Bk%20y%5D=v%26&expand%5B%5D=x&items%5B0%5D%5Bprice%5D=p&items%5B0%5D%5Bn%5D=2&card%5Bnumber%5D=1"},
		{"no body", `method = "POST"
path = "/x"
class = "read"`, `{}`, "POST /x"},
		{"nothing in it", `method = "PATCH"
path = "/x"
params.a = {}`, `{"a":null}`, "PATCH /x\nContent-Type: application/json\n{}"},
		{"null that is meant", `method = "PATCH"
path = "/x"
params.a.schema = { type = ["string", "null"] }`, `{"a":null}`, "PATCH /x\nContent-Type: application/json\n" + `{"a":null}`},
		{"null that one of several types is", `method = "PATCH"
path = "/x"
params.a.schema = { anyOf = [{ type = "string" }, { type = "null" }] }
params.b.schema = { oneOf = [{ type = ["integer", "null"] }, { type = "string" }] }
params.c.schema = { enum = ["x"], type = "string" }`, `{"a":null,"b":null,"c":null}`, "PATCH /x\nContent-Type: application/json\n" + `{"a":null,"b":null}`},
		{"null where nothing is written so", `method = "POST"
path = "/x"
body = "form"
params.a.schema = { type = ["string", "null"] }
params.q = { in = "query", schema = { type = ["integer", "null"] } }
params.h = { in = "header", name = "X-H", schema = { type = "string", nullable = true } }`, `{"a":null,"q":null,"h":null}`, "POST /x\nContent-Type: application/x-www-form-urlencoded"},
		{"numbers as strings and back", `method = "POST"
path = "/x"
params.s = {}
params.i = { type = "integer" }
params.f = { type = "number" }
params.b = { type = "boolean" }
params.o = { type = "object" }
params.e = { enum = ["1", "2"] }`, `{"s":12,"i":"7","f":"1.50","b":"true","o":"{\"a\":1}","e":2}`,
			"POST /x\nContent-Type: application/json\n" + `{"s":"12","i":7,"f":1.50,"b":true,"o":{"a":1},"e":"2"}`},
		{"whole numbers in disguise", `method = "POST"
path = "/x"
params.i = { type = "array", items = "integer" }`, `{"i":[5.0,1e3,-0]}`, "POST /x\nContent-Type: application/json\n" + `{"i":[5,1000,-0]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rec recorder
			a := open(t, "[action.do]\n"+c.action, rec.serve(t))
			if _, err := call(t.Context(), a, "do", c.args); err != nil {
				t.Fatal(err)
			}
			if len(rec.got) != 1 || sortedHeaders(rec.got[0]) != sortedHeaders(c.want) {
				t.Errorf("got  %q\nwant %q", rec.got, c.want)
			}
		})
	}
}

// sortedHeaders makes the order of header lines irrelevant.
func sortedHeaders(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

func TestMultipart(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f, h, err := r.FormFile("file")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		content, _ := io.ReadAll(f)
		_, _ = fmt.Fprintf(w, `{"title":%q,"kind":%q,"file":%q,"name":%q}`, r.FormValue("title"), r.FormValue("kind"), content, h.Filename)
	})
	for _, format := range []string{"byte", "binary"} {
		a := open(t, `[action.upload_file]
method = "POST"
path = "/x"
body = "multipart"
constant = { kind = "doc" }
params.title = {}
params.file = { doc = "The file.", format = "`+format+`" }`, s)
		if got, want := structured(t, a, "upload_file", `{"title":"a\"b","file":"aGk="}`), `{"title":"a\"b","kind":"doc","file":"hi","name":"file"}`; got != want {
			t.Errorf("%s: got %s, want %s", format, got, want)
		}
		for _, bad := range []string{`"?"`, `"plain text"`} {
			_, err := call(t.Context(), a, "upload_file", `{"file":`+bad+`}`)
			wantKind(t, err, upstream.InvalidArguments, false, "file must be a file in base64")
		}
		const said = `"file":{"type":"string","description":"The file. In base64.","format":"byte"}`
		if tools, err := a.Tools(t.Context()); err != nil || !strings.Contains(string(tools[0].Raw), said) {
			t.Errorf("%s: %s, %v", format, tools[0].Raw, err)
		}
	}
}

func TestArgumentsAreRefused(t *testing.T) {
	var rec recorder
	a := open(t, `[paging.p]
kind = "page"
param = "page"
size = "per_page"
most = 100
[action.list_things]
method = "GET"
path = "/x/{id}"
paging = "p"
params.id = {}
params.n = { type = "integer" }
params.s = { enum = ["open", "solved"] }
params.tags = { type = "array", items = "integer" }
params.o = { type = "object" }
params.h = { in = "header", name = "X-H" }
params.must = { required = true }`, rec.serve(t))
	for _, c := range []struct{ args, says string }{
		{`[]`, "must be an object"},
		{`{"id":"1"}`, "must is required"},
		{`{"id":"1","must":null}`, "must is required"},
		{`{"must":"1"}`, "id is required"},
		{`{"id":"1","must":"x","oops":1}`, `no argument "oops"; there are: id, n, s, tags, o, h, must, limit, cursor, fields`},
		{`{"id":"1","must":"x","n":"many"}`, `n: it must be a whole number, not "many"`},
		{`{"id":"1","must":"x","n":1.5}`, "n: it must be a whole number"},
		{`{"id":"1","must":"x","n":1e400000000}`, "n: it must be a whole number"},
		{`{"id":"1","must":"x","s":"closed"}`, `s: it must be one of "open", "solved", not "closed"`},
		{`{"id":"1","must":"x","tags":[1,"b"]}`, "tags: it must be an array of the type integer"},
		{`{"id":"1","must":"x","tags":7}`, "tags: it must be an array"},
		{`{"id":"1","must":"x","o":"{"}`, "o: it must be an object"},
		{`{"id":"1","must":{},"o":{}}`, "must: it must be a string"},
		{`{"id":"1","must":"x","limit":0}`, "limit: it must be a whole number from 1 to 100"},
		{`{"id":"1","must":"x","limit":101}`, "limit"},
		{`{"id":"1","must":"x","cursor":5}`, "cursor"},
		{`{"id":"1","must":"x","fields":{"a":1}}`, "fields"},
		{`{"oops":1,"n":"many","must":{}}`, `there is no argument "oops"; there are: id, n, s, tags, o, h, must, limit, cursor, fields; n: it must be a whole number, not "many"; must: it must be a string, not {}; id is required: it must be a string`},
		{`{"id":"","must":"x"}`, "id must not be empty"},
		{`{"id":"..","must":"x"}`, "id must not have . or .."},
		{`{"id":"a/../b","must":"x"}`, "id must not"},
		{`{"id":"%2e%2e","must":"x"}`, "id must not"},
		{`{"id":"..%252fadmin","must":"x"}`, "id must not"},
		{`{"id":"..\\b","must":"x"}`, "id must not"},
		{`{"id":"a＼..＼b","must":"x"}`, "id must not"},
		{`{"id":"．．／admin","must":"x"}`, "id must not"},
		{`{"id":"..%2f..%2fadmin%zz","must":"x"}`, "id must not have . or .."},
		{`{"id":"%zz..%2f..","must":"x"}`, "id must not have . or .."},
		{`{"id":"a%2f%2e%2e%2f%zz","must":"x"}`, "id must not have . or .."},
		{`{"id":"%252e%252e%%zz%252f%2e%2e","must":"x"}`, "id must not have . or .."},
		{`{"id":"x%255c%2e%2e%5c%2","must":"x"}`, "id must not have . or .."},
		{`{"id":"%c0%ae%c0%ae%c0%afadmin","must":"x"}`, "id must not have . or .."},
		{`{"id":"%ef%bc%8e%ef%bc%8e%ef%bc%8fadmin","must":"x"}`, "id must not have . or .."},
		{`{"id":"%0d%0aHost: evil","must":"x"}`, "control characters"},
		{`{"id":"a%00","must":"x"}`, "control characters"},
		{`{"id":"a%2500%zz","must":"x"}`, "control characters"},
		{`{"id":"%25250a","must":"x"}`, "control characters"},
		{`{"id":"%7f","must":"x"}`, "control characters"},
		{`{"id":"%252525252e","must":"x"}`, "over and over"},
		{`{"id":"a\r\nb","must":"x"}`, "control characters"},
		{`{"id":"a\u0000","must":"x"}`, "control characters"},
		{`{"id":"1","must":"x","h":"a\r\nX-Evil: 1"}`, "h must not have line breaks"},
	} {
		_, err := call(t.Context(), a, "list_things", c.args)
		wantKind(t, err, upstream.InvalidArguments, false, c.says)
	}
	if rec.got != nil {
		t.Errorf("sent all the same: %q", rec.got)
	}
}

func TestIdempotencyKey(t *testing.T) {
	var rec recorder
	const text = `[action.create_charge]
method = "POST"
path = "/x"
idempotency = "Idempotency-Key"
[action.run_query]
method = "POST"
path = "/y"
idempotency = "?requestId"`
	a := open(t, text, rec.serve(t))
	other := open(t, text, rec.serve(t))
	for _, id := range []string{"c1", "c1", "c2"} {
		for _, tool := range []string{"create_charge", "run_query"} {
			if _, err := a.Call(t.Context(), &upstream.Call{ID: id, Op: upstream.CallTool, Name: tool, Timing: &upstream.Timing{}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := other.Call(t.Context(), &upstream.Call{ID: "c1", Op: upstream.CallTool, Name: "create_charge", Timing: &upstream.Timing{}}); err != nil {
		t.Fatal(err)
	}
	g := rec.got
	if !strings.Contains(g[0], "Idempotency-Key: ") || !strings.Contains(g[1], "/y?requestId=") {
		t.Fatalf("there is none: %q", g)
	}
	if g[0] != g[2] || g[1] != g[3] {
		t.Error("another attempt has another key")
	}
	if g[0] == g[4] || g[1] == g[5] {
		t.Error("another call has the same key")
	}
	if g[0] == g[6] {
		t.Error("the same call id in another process has the same key")
	}
	tools, _ := a.Tools(t.Context())
	if !tools[0].Hints.Idempotent || tools[0].Hints.ReadOnly {
		t.Errorf("%+v", tools[0].Hints)
	}
}

func TestWritesAreHidden(t *testing.T) {
	var rec recorder
	const text = `[action.get_a]
method = "GET"
path = "/x"
[action.create_a]
method = "POST"
path = "/x"
[action.update_a]
method = "PUT"
path = "/x"
[action.delete_a]
method = "DELETE"
path = "/x"
[action.search_a]
method = "POST"
class = "read"
path = "/x"`
	names := func(a *rest.Adapter) (out []string) {
		tools, err := a.Tools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range tools {
			h := tool.Hints
			out = append(out, fmt.Sprintf("%s read=%v again=%v destroys=%v", tool.Name, h.ReadOnly, h.Idempotent, h.Destructive))
		}
		return out
	}
	shut := open(t, text, rec.serve(t), func(o *rest.Options) { o.Writes = false })
	want := []string{"get_a read=true again=true destroys=false", "search_a read=true again=true destroys=false"}
	if got := names(shut); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	_, err := call(t.Context(), shut, "create_a", `{}`)
	wantKind(t, err, upstream.NotFound, false, "")
	want = slices.Insert(want, 1, "create_a read=false again=false destroys=false", "update_a read=false again=true destroys=true", "delete_a read=false again=true destroys=true")
	if got := names(open(t, text, rec.serve(t))); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What a call puts into a header is gone with the next one, also among calls at
// once: the constant fields are shared by all.
func TestHeadersOfOneCall(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"etag":%q,"version":%q,"key":%q}`, r.Header.Get("If-Match"), r.Header.Get("X-Version"), r.Header.Get("Idempotency-Key"))
	})
	a := open(t, `
headers = { X-Version = "1" }
[action.get_x]
method = "GET"
path = "/x"
params.etag = { in = "header", name = "If-Match" }
[action.do_x]
method = "POST"
path = "/x"
idempotency = "Idempotency-Key"
`, s)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			args, etag := "{}", ""
			if i%2 == 0 {
				etag = fmt.Sprint("e", i)
				args = `{"etag":"` + etag + `"}`
			}
			for range 20 {
				if got, want := structured(t, a, "get_x", args), `{"etag":"`+etag+`","version":"1","key":""}`; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				if got := structured(t, a, "do_x", "{}"); !strings.HasPrefix(got, `{"etag":"","version":"1","key":"`) || strings.HasSuffix(got, `"key":""}`) {
					t.Errorf("got %s", got)
				}
			}
		})
	}
	wg.Wait()
}
