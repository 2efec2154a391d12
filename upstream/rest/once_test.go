package rest_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// A write is sent once, whatever becomes of its connection, and it is known
// whether it was.
func TestSentOnce(t *testing.T) {
	const text = "[action.do_x]\nmethod='POST'\npath='/{how}'\nparams.how={}\nparams.a={}"
	var asked atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		asked.Add(1)
		switch r.URL.Path {
		case "/cut":
			panic(http.ErrAbortHandler)
		case "/half":
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"a":`)
		}
	})
	a := open(t, text, s)
	for i, how := range []string{"fine", "cut", "fine", "half", "cut"} {
		_, err := call(t.Context(), a, "do_x", `{"how":"`+how+`","a":"b"}`)
		if how != "fine" {
			wantKind(t, err, upstream.Unavailable, true, "broke")
		} else if err != nil {
			t.Error(err)
		}
		if got := asked.Load(); got != int64(i+1) {
			t.Fatalf("%s: asked %d times in %d calls", how, got, i+1)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	gone := &httptest.Server{URL: "http://" + ln.Addr().String()}
	_, err = call(t.Context(), open(t, text, gone), "do_x", `{"how":"fine"}`)
	wantKind(t, err, upstream.Unavailable, false, "refuses connections")
}

// A call whose token has other scopes goes out by another client.
func TestClientFor(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"who":"`+r.Header.Get("Authorization")+`"}`)
	})
	with := func(token string) *http.Client {
		base := client(t).Transport
		return &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", token)
			return base.RoundTrip(r)
		})}
	}
	write := with("write")
	d := parse(t, "[action.get_x]\nmethod='GET'\npath='/'\n[action.create_x]\nmethod='POST'\npath='/'")
	a, err := rest.New(rest.Options{ID: "x", Definition: d, BaseURL: s.URL, Writes: true, ClientFor: func(c *upstream.Call) *http.Client {
		if c.Name == "create_x" {
			return write
		}
		return nil
	}}, with("read"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for tool, want := range map[string]string{"get_x": `{"who":"read"}`, "create_x": `{"who":"write"}`} {
		if got := structured(t, a, tool, `{}`); got != want {
			t.Errorf("%s: %s", tool, got)
		}
	}
}
