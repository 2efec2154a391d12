package mcpserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
	"github.com/bulkhead-mcp/bulkhead/upstream/upstreamtest"
)

// serve starts a server on loopback that ends with the test.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func newHTTP(t *testing.T, url string, o mcpserver.Options) *mcpserver.Adapter {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: 300}
	t.Cleanup(tr.CloseIdleConnections)
	return mcpserver.NewHTTP(o, url, &http.Client{Transport: tr})
}

// legacy is a hand-made server of the legacy era. Each hook may take a request
// over.
type legacy struct {
	session atomic.Int64 // the number of the current session
	inits   atomic.Int64
	gets    atomic.Int64
	deletes atomic.Int64
	calls   atomic.Int64
	cancels atomic.Int64
	onCall  func(w http.ResponseWriter, r *http.Request, m *fakeMsg) bool
	onGet   func(w http.ResponseWriter, r *http.Request)
	onInit  func(w http.ResponseWriter, r *http.Request) bool
	talk    talker
}

func (l *legacy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		l.gets.Add(1)
		if l.onGet != nil {
			l.onGet(w, r)
			return
		}
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case http.MethodDelete:
		l.deletes.Add(1)
		return
	}
	var m fakeMsg
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := fmt.Sprintf("s%d", l.session.Load())
	if m.Method == "initialize" {
		l.inits.Add(1)
		l.talk.take(&m)
		if l.onInit != nil && l.onInit(w, r) {
			return
		}
		w.Header().Set("Mcp-Session-Id", id)
		answerJSON(w, m.ID, `{"protocolVersion":"2025-06-18","capabilities":{"logging":{},"tools":{"listChanged":true}},"serverInfo":{"name":"hand-made","version":"2"}}`)
		return
	}
	if got := r.Header.Get("Mcp-Session-Id"); got != id {
		code := http.StatusNotFound
		if got == "" {
			code = http.StatusBadRequest
		}
		http.Error(w, "session not found", code)
		return
	}
	if r.Header.Get("Mcp-Protocol-Version") != "2025-06-18" {
		http.Error(w, "no protocol version", http.StatusBadRequest)
		return
	}
	switch m.Method {
	case "notifications/cancelled":
		l.cancels.Add(1)
		w.WriteHeader(http.StatusAccepted)
	case "tools/list":
		answerJSON(w, m.ID, fakeTools)
	case "tools/call":
		l.calls.Add(1)
		if l.onCall == nil || !l.onCall(w, r, &m) {
			answerJSON(w, m.ID, textResult(m.Params.Arguments.Text))
		}
	case "logging/setLevel":
		l.talk.take(&m)
		answerJSON(w, m.ID, `{}`)
	default:
		l.talk.take(&m)
		w.WriteHeader(http.StatusAccepted)
	}
}

func answerJSON(w http.ResponseWriter, id json.RawMessage, result string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

func startHTTP(t *testing.T, h http.Handler) *mcpserver.Adapter {
	t.Helper()
	a := newHTTP(t, serve(t, h).URL, quickly())
	watch(t, a)
	return a
}

// reference is a mcp-go server with the tools of the conformance suite.
func reference(opts ...server.StreamableHTTPOption) (*server.MCPServer, http.Handler) {
	s := server.NewMCPServer("reference", "1", server.WithToolCapabilities(true))
	s.AddTool(mcp.NewTool("echo", mcp.WithString("text", mcp.Required())), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(r.GetString("text", "")), nil
	})
	s.AddTool(mcp.NewTool("sleep", mcp.WithNumber("ms")), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(r.GetInt("ms", 0)) * time.Millisecond):
			return mcp.NewToolResultText("slept"), nil
		}
	})
	s.AddTool(mcp.NewTool("fail"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("failed"), nil
	})
	s.AddTool(mcp.NewTool("refuse"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, nil
	})
	s.AddResource(mcp.NewResource("ref://a", "a"), func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		return []mcp.ResourceContents{mcp.TextResourceContents{URI: "ref://a", Text: "of a"}}, nil
	})
	s.AddPrompt(mcp.NewPrompt("greet"), nil)
	h := server.NewStreamableHTTPServer(s, opts...)
	// mcp-go gives a handler no way to answer -32602; do it before it.
	return s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m fakeMsg
		if json.Unmarshal(body, &m) == nil && m.Method == "tools/call" && m.Params.Name == "refuse" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"wrong"}}`, m.ID)
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		h.ServeHTTP(w, r)
	})
}

// toolCalled returns the tool that a message calls; "" if it calls none.
func toolCalled(_ *http.Request, body []byte) string {
	var m fakeMsg
	if json.Unmarshal(body, &m) != nil || m.Method != "tools/call" {
		return ""
	}
	return m.Params.Name
}

func trapClient(t *testing.T, p *upstreamtest.Trap) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 300}
	t.Cleanup(tr.CloseIdleConnections)
	return p.Client(tr)
}

func TestConformanceHTTP(t *testing.T) {
	t.Parallel()
	for _, era := range []mcpserver.Era{mcpserver.Legacy, mcpserver.Modern} {
		t.Run(string(era), func(t *testing.T) {
			o := quickly()
			o.Era = era
			upstreamtest.Run(t, upstreamtest.Fixture{
				Start: func(t *testing.T) upstreamtest.Harness {
					_, h := reference(server.WithStateful(true))
					return upstreamtest.Harness{Adapter: newHTTP(t, serve(t, h).URL, o)}
				},
				Trapped: func(t *testing.T, p *upstreamtest.Trap) upstreamtest.Harness {
					_, h := reference(server.WithStateful(true))
					o := o
					o.MaxMessage = upstreamtest.Limit
					return upstreamtest.Harness{Adapter: mcpserver.NewHTTP(o, serve(t, p.Before(h, toolCalled)).URL, trapClient(t, p))}
				},
			})
		})
	}
}

func TestListChangedOverHTTP(t *testing.T) {
	for _, era := range []mcpserver.Era{mcpserver.Legacy, mcpserver.Modern} {
		t.Run(string(era), func(t *testing.T) {
			s, h := reference(server.WithStateful(true))
			o := quickly()
			o.Era = era
			a := newHTTP(t, serve(t, h).URL, o)
			changes := watch(t, a)
			wantText(t, a, "hi", "hi")
			limit := time.Now().Add(hanging)
			for n := 0; changes.Load() < 2; n++ {
				if time.Now().After(limit) {
					t.Fatal("no change was heard of")
				}
				s.AddTool(mcp.NewTool(fmt.Sprintf("new_%d", n)), nil)
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

func TestAutoFindsTheEra(t *testing.T) {
	_, h := reference()
	o := quickly()
	o.ProbeTimeout = hanging // it answers: only a busy machine makes it late
	a := newHTTP(t, serve(t, h).URL, o)
	watch(t, a)
	wantText(t, a, "hi", "hi")
	if got := a.Health(); got.Protocol != "2026-07-28" || got.Server != "reference 1" {
		t.Errorf("health is %+v", got)
	}
	old := startHTTP(t, &legacy{})
	wantText(t, old, "hi", "hi")
	if got := old.Health(); got.Protocol != "2025-06-18" || got.Server != "hand-made 2" {
		t.Errorf("health is %+v", got)
	}
}

func TestLostSessionIsReplacedOnce(t *testing.T) {
	l := &legacy{}
	a := startHTTP(t, l)
	wantText(t, a, "hi", "hi")
	l.session.Add(1) // the server has restarted
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			want := fmt.Sprint("n", i)
			r, err := call(t.Context(), a, "echo", fmt.Sprintf(`{"text":%q}`, want))
			if err != nil || text(r) != want {
				t.Errorf("call %d: %v, %v", i, r, err)
			}
		})
	}
	wg.Wait()
	if n := l.inits.Load(); n != 2 {
		t.Errorf("%d handshakes, want 2", n)
	}
	if n := l.calls.Load(); n != 51 {
		t.Errorf("%d calls were executed, want 51", n)
	}
	_ = a.Close()
	if l.deletes.Load() != 1 {
		t.Errorf("%d sessions were deleted, want 1", l.deletes.Load())
	}
}

func TestSecondLossIsAFailure(t *testing.T) {
	l := &legacy{onCall: func(w http.ResponseWriter, _ *http.Request, _ *fakeMsg) bool {
		http.Error(w, "session not found", http.StatusNotFound)
		return true
	}}
	a := startHTTP(t, l)
	_, err := call(t.Context(), a, "echo", `{}`)
	wantKind(t, err, upstream.Unavailable, false)
	if n := l.calls.Load(); n != 2 {
		t.Errorf("the call was sent %d times, want 2", n)
	}
}

func TestCallIsBytesButForNameAndMeta(t *testing.T) {
	var body atomic.Value
	l := &legacy{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if strings.Contains(string(b), "tools/call") {
			body.Store(string(b))
		}
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		l.ServeHTTP(w, r)
	})
	a := startHTTP(t, h)
	params := `{ "x-odd" : 9007199254740993, "name":"exposed", "arguments":{"a":1.0 ,"b":"<>"}, "_meta":{"progressToken":7,"vendor":"v","io.modelcontextprotocol/clientInfo":{}} }`
	_, err := a.Call(t.Context(), &upstream.Call{Op: upstream.CallTool, Name: "own\"name", Tool: &upstream.Tool{Name: "own\"name"}, Params: json.RawMessage(params)})
	if err != nil {
		t.Fatal(err)
	}
	want := `"params":{ "x-odd" : 9007199254740993, "name":"own\"name", "arguments":{"a":1.0 ,"b":"<>"}, "_meta":{"vendor":"v"} }}`
	if got := body.Load().(string); !strings.HasSuffix(got, want) {
		t.Errorf("sent %s\nwant the end %s", got, want)
	}
}

func TestModernHeaders(t *testing.T) {
	_, h := reference()
	var seen atomic.Value
	a := newHTTP(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Method") == "tools/call" {
			seen.Store(r.Header.Clone())
		}
		h.ServeHTTP(w, r)
	})).URL, quickly())
	watch(t, a)
	tool := upstream.Tool{Name: "größe", Raw: json.RawMessage(`{"name":"größe","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}`)}
	_, _ = a.Call(t.Context(), &upstream.Call{Op: upstream.CallTool, Name: tool.Name, Tool: &tool, Params: json.RawMessage(`{"name":"x","arguments":{"region":"eu"}}`)})
	got, _ := seen.Load().(http.Header)
	for name, want := range map[string]string{
		"Mcp-Name": "=?base64?Z3LDtsOfZQ==?=", "Mcp-Param-Region": "eu", "Mcp-Protocol-Version": "2026-07-28",
	} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
}
