package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/upstreamtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		serveRecords()
		return
	}
	egress.Poison()
	goleak.VerifyTestMain(m)
}

// serve starts a server on loopback that ends with the test.
func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func client(t testing.TB) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 300, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func parse(t testing.TB, text string) *rest.Definition {
	t.Helper()
	d, err := rest.Parse([]byte(text), "test.toml")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// open makes an adapter of a definition that asks s.
func open(t testing.TB, text string, s *httptest.Server, change ...func(*rest.Options)) *rest.Adapter {
	t.Helper()
	o := rest.Options{ID: "crm", Definition: parse(t, text), BaseURL: s.URL, Writes: true}
	for _, c := range change {
		c(&o)
	}
	a, err := rest.New(o, client(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func call(ctx context.Context, a *rest.Adapter, tool, args string) (*upstream.Result, error) {
	return callAs(ctx, upstream.Local(), a, tool, args)
}

func callAs(ctx context.Context, who upstream.Principal, a *rest.Adapter, tool, args string) (*upstream.Result, error) {
	return a.Call(ctx, &upstream.Call{
		ID: "call-1", Principal: who, Op: upstream.CallTool, Name: tool, Tool: &upstream.Tool{Name: tool},
		Arguments: json.RawMessage(args), Timing: &upstream.Timing{},
	})
}

// structured returns the structured content of a call that must work.
func structured(t testing.TB, a *rest.Adapter, tool, args string) string {
	t.Helper()
	r, err := call(t.Context(), a, tool, args)
	if err != nil {
		t.Fatalf("%s(%s): %v", tool, args, err)
	}
	v, _ := r.Get("structuredContent")
	return string(v)
}

func wantKind(t testing.TB, err error, kind upstream.Kind, sent bool, says string) *upstream.Error {
	t.Helper()
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok {
		t.Fatalf("the error is %v, want %s", err, kind)
	}
	if e.Kind != kind || e.Sent != sent || !strings.Contains(e.Public, says) {
		t.Errorf("the error is %s, sent %v, %q; want %s, %v, %q", e.Kind, e.Sent, e.Public, kind, sent, says)
	}
	return e
}

const suiteDefinition = `
[errors]
failed = { path = "/ok", equals = false }
message = ["/message"]
[action.echo]
method = "POST"
path = "/echo"
class = "read"
answer = "any"
params.text.required = true
[action.sleep]
method = "GET"
path = "/sleep"
params.ms.type = "integer"
[action.fail]
method = "GET"
path = "/fail"
[action.refuse]
method = "GET"
path = "/refuse"
`

func suiteServer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/echo":
		var in struct{ Text string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, in.Text)
	case "/sleep":
		ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			_, _ = io.WriteString(w, `{"slept":true}`)
		case <-r.Context().Done():
		}
	case "/fail":
		_, _ = io.WriteString(w, `{"ok":false,"message":"it did not work"}`)
	case "/refuse":
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"message":"wrong"}`)
	}
}

func TestConformance(t *testing.T) {
	upstreamtest.Run(t, upstreamtest.Fixture{
		Start: func(t *testing.T) upstreamtest.Harness {
			return upstreamtest.Harness{Adapter: open(t, suiteDefinition, serve(t, suiteServer))}
		},
		Trapped: func(t *testing.T, p *upstreamtest.Trap) upstreamtest.Harness {
			s := serve(t, p.Before(http.HandlerFunc(suiteServer), func(r *http.Request, _ []byte) string { return strings.Trim(r.URL.Path, "/") }).ServeHTTP)
			a, err := rest.New(rest.Options{ID: "crm", Definition: parse(t, suiteDefinition), BaseURL: s.URL, Writes: true, MaxMessage: upstreamtest.Limit}, p.Client(client(t).Transport))
			if err != nil {
				t.Fatal(err)
			}
			return upstreamtest.Harness{Adapter: a}
		},
	})
}
