package openapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/upstreamtest"
)

// client is one whose connections end with the test.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 300, DisableCompression: true}
	if t != nil {
		t.Cleanup(tr.CloseIdleConnections)
	}
	return &http.Client{Transport: tr}
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// open compiles a document and makes an adapter of all of it that asks s.
func open(t *testing.T, doc []byte, s *httptest.Server, errors rest.Errors) *rest.Adapter {
	t.Helper()
	return openWith(t, doc, s, errors, 0, client(t))
}

func openWith(t *testing.T, doc []byte, s *httptest.Server, errors rest.Errors, limit int64, hc *http.Client) *rest.Adapter {
	t.Helper()
	c, err := openapi.Compile(t.Context(), doc, everything())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range c.Operations {
		if o.Problem != "" {
			t.Fatalf("%s: %s", o.Tool, o.Problem)
		}
	}
	c.Definition.Errors = errors
	a, err := rest.New(rest.Options{ID: "x", Definition: &c.Definition, BaseURL: s.URL + "/base", Writes: true, MaxMessage: limit}, hc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// part is a file of a multipart body.
func part(name, typ, content string) string {
	return fmt.Sprintf("--B\nContent-Disposition: form-data; name=%q; filename=%q\nContent-Type: %s\n\n%s\n", name, name, typ, content)
}

// TestFilesAreBase64: what is none is told of its argument, and not sent.
func TestFilesAreBase64(t *testing.T) {
	t.Parallel()
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	const schema = `{"type":"object","properties":{"pic":{"type":"string","format":"binary"},"pics":{"type":"array","items":{"type":"string","format":"binary"}}}}`
	a := open(t, document(`{"/a":{"post":{"operationId":"up","requestBody":{"content":{"multipart/form-data":{"schema":`+schema+`}}}}}}`, ""), s, rest.Errors{})
	for args, want := range map[string]string{`{"pic":"plain text"}`: "pic must be a file in base64", `{"pics":["YQ==","-"]}`: "pics must be a file in base64"} {
		_, err := a.Call(t.Context(), &upstream.Call{
			ID: "1", Principal: upstream.Local(), Op: upstream.CallTool, Name: "up", Tool: &upstream.Tool{Name: "up"},
			Arguments: json.RawMessage(args), Timing: &upstream.Timing{},
		})
		if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Kind != upstream.InvalidArguments || !strings.Contains(e.Public, want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestRequests tells that what a document says of its requests is what is sent.
func TestRequests(t *testing.T) {
	t.Parallel()
	doc := document(`{
"/a/{id}":{"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer"}}],
 "get":{"operationId":"query","parameters":[
  {"name":"q","in":"query","schema":{"type":"array","items":{"type":"string"}}},
  {"name":"c","in":"query","explode":false,"schema":{"type":"array","items":{"type":"string"}}},
  {"name":"f","in":"query","style":"deepObject","explode":true,"schema":{"type":"object"}},
  {"name":"e","in":"query","style":"deepObject","explode":true,"schema":{"type":"array","items":{"type":"string"}}},
  {"name":"w","in":"query","content":{"application/json":{"schema":{"type":"object"}}}},
  {"name":"s","in":"query","schema":{"type":"object","properties":{"x":{"type":"integer"}}}},
  {"name":"If-Match","in":"header","schema":{"type":"string"}}]},
 "put":{"operationId":"json","requestBody":{"content":{"application/json":{"schema":{"type":"object","properties":{"id":{"type":"integer"},"/odd":{"type":"string"}}}}}}},
 "post":{"operationId":"whole","requestBody":{"content":{"application/json":{"schema":{"type":"array","items":{"type":"integer"}}}}}},
 "patch":{"operationId":"merge","requestBody":{"content":{"application/merge-patch+json":{"schema":{"type":"object","properties":{"a":{"type":"string","nullable":true},"b":{"anyOf":[{"type":"string"},{"type":"null"}]}}}}}}},
 "delete":{"operationId":"keyed","parameters":[{"name":"X-Api-Key","in":"header","required":true,"schema":{"type":"string"}}]}},
"/files":{"post":{"operationId":"files","requestBody":{"content":{"multipart/form-data":{"encoding":{"t":{"contentType":"text/csv"}},"schema":{"type":"object","properties":{
  "l":{"type":"array","items":{"type":"string","format":"binary"}},"o":{"anyOf":[{"type":"string","format":"binary"},{"type":"null"}]},
  "several":{"anyOf":[{"type":"string","format":"binary"},{"type":"array","items":{"type":"string","format":"binary"}}]},
  "t":{"type":"string","format":"binary"},"m":{"type":"string","contentMediaType":"text/markdown"},"e":{"type":"string","contentMediaType":"image/png","contentEncoding":"base64"},"p":{"type":"string","contentMediaType":"image/png"},
  "tags":{"type":"array","items":{"type":"string"}},"rows":{"type":"array","items":{"type":"object"}}}}}}}}},
"/form":{"post":{"operationId":"form","requestBody":{"content":{"application/x-www-form-urlencoded":{
  "encoding":{"expand":{"style":"deepObject","explode":true},"j":{"contentType":"application/json"}},
  "schema":{"type":"object","properties":{"a":{"type":"integer"},"expand":{"type":"array","items":{"type":"string"}},"card":{"type":"object"},"j":{"type":"object"},"t":{"type":"array","items":{"type":"string"}}}}}}}},
 "put":{"operationId":"multipart","requestBody":{"content":{"multipart/form-data":{"schema":{"type":"object","properties":{"file":{"type":"string","format":"binary"},"note":{"type":"string"}}}}}}},
 "patch":{"operationId":"text","requestBody":{"content":{"text/x-markdown":{}}}},
 "delete":{"operationId":"octets","requestBody":{"content":{"application/octet-stream":{}}}}}
}`, "")
	var mu sync.Mutex
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = r.Method + " " + r.RequestURI
		for _, name := range []string{"Content-Type", "If-Match", "X-Api-Key"} {
			if v := r.Header.Get(name); v != "" {
				v, boundary, _ := strings.Cut(v, "; boundary=")
				got += "\n" + name + ": " + v
				if boundary != "" {
					body = []byte(strings.ReplaceAll(string(body), boundary, "B"))
				}
			}
		}
		if len(body) > 0 {
			got += "\n" + strings.ReplaceAll(string(body), "\r", "")
		}
		_, _ = io.WriteString(w, `{}`)
	})
	a := open(t, doc, s, rest.Errors{})
	for _, test := range []struct{ tool, args, want string }{
		{"query", `{"id":9007199254740993,"q":["a b","c"],"c":["x","y,z"],"f":{"g":{"h":1}},"e":["u"],"w":{"k":"v"},"x":5,"If-Match":"1"}`,
			"GET /base/a/9007199254740993?q=a%20b&q=c&c=x,y%2Cz&f%5Bg%5D%5Bh%5D=1&e%5B%5D=u&w=%7B%22k%22%3A%22v%22%7D&x=5\nIf-Match: 1"},
		{"query", `{"id":1}`, "GET /base/a/1"},
		{"json", `{"id":1,"body_id":2,"odd":"o"}`, "PUT /base/a/1\nContent-Type: application/json\n" + `{"id":2,"/odd":"o"}`},
		{"whole", `{"id":1,"body":[1,12345678901234567890]}`, "POST /base/a/1\nContent-Type: application/json\n[1,12345678901234567890]"},
		{"merge", `{"id":1,"a":null,"b":null}`, "PATCH /base/a/1\nContent-Type: application/merge-patch+json\n" + `{"a":null,"b":null}`},
		{"keyed", `{"id":1}`, "DELETE /base/a/1"},
		{"form", `{"a":1,"expand":["x","y"],"card":{"number":{"n":1}},"j":{"k":[1]},"t":["p","q"]}`,
			"POST /base/form\nContent-Type: application/x-www-form-urlencoded\na=1&expand%5B%5D=x&expand%5B%5D=y&card%5Bnumber%5D%5Bn%5D=1&j=%7B%22k%22%3A%5B1%5D%7D&t=p&t=q"},
		{"multipart", `{"file":"ZGF0YQ==","note":"n"}`, "PUT /base/form\nContent-Type: multipart/form-data\n--B\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\nContent-Type: application/octet-stream\n\ndata\n--B\nContent-Disposition: form-data; name=\"note\"\n\nn\n--B--\n"},
		{"files", `{"several":["YQ=="]}`, "POST /base/files\nContent-Type: multipart/form-data\n" + part("several", "application/octet-stream", "a") + "--B--\n"},
		{"files", `{"l":["YQ==","Yg=="],"o":"Yw==","t":"d,d","m":"*e*","e":"Zg==","p":"Zw=="}`, "POST /base/files\nContent-Type: multipart/form-data\n" +
			part("l", "application/octet-stream", "a") + part("l", "application/octet-stream", "b") + part("o", "application/octet-stream", "c") +
			part("t", "text/csv", "d,d") + part("m", "text/markdown", "*e*") + part("e", "application/octet-stream", "f") + part("p", "application/octet-stream", "g") + "--B--\n"},
		{"files", `{"tags":["x","y"],"rows":[{"n":1}]}`, "POST /base/files\nContent-Type: multipart/form-data\n" +
			"--B\nContent-Disposition: form-data; name=\"tags\"\n\nx\n--B\nContent-Disposition: form-data; name=\"tags\"\n\ny\n" +
			"--B\nContent-Disposition: form-data; name=\"rows\"\nContent-Type: application/json\n\n[{\"n\":1}]\n--B--\n"},
		{"text", `{"body":"*a*"}`, "PATCH /base/form\nContent-Type: text/x-markdown\n*a*"},
		{"octets", `{"body":"aGk="}`, "DELETE /base/form\nContent-Type: application/octet-stream\nhi"},
	} {
		_, err := a.Call(t.Context(), &upstream.Call{
			ID: "1", Principal: upstream.Local(), Op: upstream.CallTool, Name: test.tool, Tool: &upstream.Tool{Name: test.tool},
			Arguments: json.RawMessage(test.args), Timing: &upstream.Timing{},
		})
		if err != nil {
			t.Errorf("%s(%s): %v", test.tool, test.args, err)
			continue
		}
		mu.Lock()
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s(%s):\n%s", test.tool, test.args, diff)
		}
		mu.Unlock()
	}
}

// TestPages tells that a list goes on where the service names the next page in a
// Link header, with the arguments that it has put there, and nowhere else.
func TestPages(t *testing.T) {
	t.Parallel()
	doc := document(`{"/items":{"get":{"operationId":"items","parameters":[{"name":"tag","in":"query","schema":{"type":"string"}}],
"responses":{"200":{"description":"","content":{"application/json":{"schema":{"type":"array","items":{"type":"object","properties":{"id":{"type":"integer"}}}}}}}}}},
"/one":{"get":{"operationId":"one","responses":{"200":{"description":"","content":{"application/json":{"schema":{"type":"object"}}}}}}}}`, "")
	links := map[string]string{
		"/base/items?tag=a":        `</base/items?tag=a&page=2>; rel="next", </base/items?tag=a&page=9>; rel="last"`,
		"/base/items?tag=a&page=2": `</base/items?tag=a>; rel="prev"`,
		"/base/items?tag=out":      `<https://elsewhere.invalid/items?page=2>; rel="next"`,
		"/base/one":                `</base/one?page=2>; rel="next"`,
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		link, known := links[r.RequestURI]
		if !known && r.RequestURI != "/base/items" {
			t.Errorf("it asks for %s", r.RequestURI)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Link", link)
		if r.URL.Path == "/base/one" {
			_, _ = io.WriteString(w, `{"id":1}`)
			return
		}
		_, _ = io.WriteString(w, `[{"id":1},{"id":2}]`)
	})
	a := open(t, doc, s, rest.Errors{})
	ask := func(tool, args string) (content, cursor string) {
		t.Helper()
		r, err := a.Call(t.Context(), &upstream.Call{
			ID: "1", Principal: upstream.Local(), Op: upstream.CallTool, Name: tool, Tool: &upstream.Tool{Name: tool},
			Arguments: json.RawMessage(args), Timing: &upstream.Timing{},
		})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := r.Get("structuredContent")
		var page struct {
			Next string `json:"next_cursor"`
		}
		if err := json.Unmarshal(v, &page); err != nil {
			t.Fatal(err)
		}
		return string(v), page.Next
	}
	const records = `{"records":[{"id":1},{"id":2}],"count":2`
	first, cursor := ask("items", `{"tag":"a"}`)
	if cursor == "" || !strings.HasPrefix(first, records) {
		t.Errorf("the first page: %s", first)
	}
	if last, next := ask("items", `{"tag":"a","cursor":"`+cursor+`"}`); next != "" || last != records+"}" {
		t.Errorf("the last page: %s", last)
	}
	if all, next := ask("items", `{}`); next != "" || all != records+"}" {
		t.Errorf("a list without a link: %s", all)
	}
	if out, next := ask("items", `{"tag":"out"}`); next != "" || !strings.Contains(out, "the source names another address") {
		t.Errorf("a next page elsewhere: %s", out)
	}
	if one, _ := ask("one", `{}`); one != `{"id":1}` {
		t.Errorf("what is no list: %s", one)
	}
}

// TestReadsUnlessSaid tells that nothing but a read is offered unless writes are,
// and that a POST is one only if the operator says so.
func TestReadsUnlessSaid(t *testing.T) {
	t.Parallel()
	doc := document(`{"/a":{"get":{"operationId":"get"},"head":{"operationId":"head"},"post":{"operationId":"post"},"put":{"operationId":"put"},
"patch":{"operationId":"patch"},"delete":{"operationId":"delete"}},"/search":{"post":{"operationId":"search"}}}`, "")
	c, err := openapi.Compile(t.Context(), doc, openapi.Selection{Operations: []string{"POST /search read", "* *"}})
	if err != nil {
		t.Fatal(err)
	}
	for writes, want := range map[bool]string{false: "get head search", true: "delete get head patch post put search"} {
		a, err := rest.New(rest.Options{ID: "x", Definition: &c.Definition, BaseURL: "https://a.example", Writes: writes}, &http.Client{})
		if err != nil {
			t.Fatal(err)
		}
		tools, err := a.Tools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, tool := range tools {
			names = append(names, tool.Name)
			if read := strings.Contains("get head search", tool.Name); tool.Hints.ReadOnly != read {
				t.Errorf("%s reads: %v", tool.Name, tool.Hints.ReadOnly)
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("with writes %v: %s, want %s", writes, got, want)
		}
	}
}

func suite(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/base/echo":
		var in struct{ Text string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, in.Text)
	case "/base/sleep":
		ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			_, _ = io.WriteString(w, `{}`)
		case <-r.Context().Done():
		}
	case "/base/fail":
		_, _ = io.WriteString(w, `{"ok":false,"message":"it did not work"}`)
	case "/base/refuse":
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
}

// TestConformance holds what a document is compiled into to what every adapter
// is held to.
func TestConformance(t *testing.T) {
	t.Parallel()
	doc := document(`{
"/echo":{"post":{"operationId":"echo","requestBody":{"content":{"application/json":{"schema":{"type":"object","properties":{"text":{"type":"string"}}}}}},"responses":{"200":{"description":"","content":{"text/plain":{}}}}}},
"/sleep":{"get":{"operationId":"sleep","parameters":[{"name":"ms","in":"query","schema":{"type":"integer"}}]}},
"/fail":{"get":{"operationId":"fail"}},"/refuse":{"get":{"operationId":"refuse"}}}`, "")
	failed := rest.Errors{Failed: &rest.Failed{Path: "/ok", Equals: false}}
	upstreamtest.Run(t, upstreamtest.Fixture{
		Start: func(t *testing.T) upstreamtest.Harness {
			return upstreamtest.Harness{Adapter: open(t, doc, serve(t, suite), failed)}
		},
		Trapped: func(t *testing.T, p *upstreamtest.Trap) upstreamtest.Harness {
			s := serve(t, p.Before(http.HandlerFunc(suite), func(r *http.Request, _ []byte) string { return strings.TrimPrefix(r.URL.Path, "/base/") }).ServeHTTP)
			return upstreamtest.Harness{Adapter: openWith(t, doc, s, failed, upstreamtest.Limit, p.Client(client(t).Transport))}
		},
	})
}
