package mcpserver_test

import (
	"context"
	"fmt"
	"net/http"
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

// eventually waits for what must come soon.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(hanging); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("this never came: " + what)
		}
	}
}

// referenceSSE is a mcp-go server over SSE.
func referenceSSE(opts ...server.SSEOption) (*server.MCPServer, http.Handler) {
	s, _ := reference()
	return s, server.NewSSEServer(s, opts...)
}

func TestConformanceSSE(t *testing.T) {
	t.Parallel()
	normal := func(s *olderStream, m *fakeMsg) bool {
		switch m.Params.Name {
		case "echo":
			return false
		case "sleep":
			time.AfterFunc(time.Duration(m.Params.Arguments.MS)*time.Millisecond, func() { s.result(m.ID, textResult("slept")) })
		case "fail":
			s.result(m.ID, `{"content":[],"isError":true}`)
		default:
			s.message(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"no"}}`, m.ID)
		}
		return true
	}
	long := func(s *olderStream, m *fakeMsg) bool {
		if m.Params.Name == "refuse" {
			s.result(m.ID, textResult(strings.Repeat("x", 1<<20)))
			return true
		}
		return normal(s, m)
	}
	for name, link := range map[string]func(mcpserver.Options, string, *http.Client) *mcpserver.Adapter{"configured": mcpserver.NewSSE, "found": mcpserver.NewHTTP} {
		t.Run(name, func(t *testing.T) {
			start := func(t *testing.T, h http.Handler, o mcpserver.Options, hc *http.Client) upstreamtest.Harness {
				return upstreamtest.Harness{Adapter: link(o, serve(t, h).URL+"/sse", hc)}
			}
			short := quickly()
			short.MaxMessage = upstreamtest.Limit
			plain := func(t *testing.T) *http.Client {
				tr := &http.Transport{MaxIdleConnsPerHost: 300}
				t.Cleanup(tr.CloseIdleConnections)
				return &http.Client{Transport: tr}
			}
			upstreamtest.Run(t, upstreamtest.Fixture{
				Start:    func(t *testing.T) upstreamtest.Harness { return start(t, &older{onCall: normal}, quickly(), plain(t)) },
				Oversize: func(t *testing.T) upstreamtest.Harness { return start(t, &older{onCall: long}, short, plain(t)) },
				Trapped: func(t *testing.T, p *upstreamtest.Trap) upstreamtest.Harness {
					return start(t, p.Before(&older{onCall: normal}, toolCalled), short, trapClient(t, p))
				},
			})
		})
	}
}

func TestRealSSEServer(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{true, false} {
		t.Run(fmt.Sprint("full address ", full), func(t *testing.T) {
			s, h := referenceSSE(server.WithUseFullURLForMessageEndpoint(full), server.WithKeepAliveInterval(20*time.Millisecond))
			a := newHTTP(t, serve(t, h).URL+"/sse", quickly())
			changes := watch(t, a)
			wantText(t, a, "hi", "hi")
			if got := a.Health(); got.Server != "reference 1" || got.Protocol != "2025-11-25" {
				t.Errorf("health is %+v", got)
			}
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					// Its pings use the ids of the calls over and over.
					r, err := call(t.Context(), a, "sleep", fmt.Sprintf(`{"ms":%d}`, 10*i))
					if err != nil || text(r) != "slept" {
						t.Errorf("call %d: %v, %v", i, r, err)
					}
				})
			}
			wg.Wait()
			before := changes.Load()
			s.AddTool(mcp.NewTool("new"), nil)
			eventually(t, "a changed list", func() bool { return changes.Load() > before })
		})
	}
}

func TestSSEInPieces(t *testing.T) {
	o := &older{replies: make(chan string, 10)}
	o.onCall = func(s *olderStream, m *fakeMsg) bool {
		stream := ": comment\r\n\r\nid: 1\r\ndata:\r\n\r\n" +
			fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"ping\"}\n\n", m.ID) +
			fmt.Sprintf("event: other\ndata: {\"id\":%s,\"result\":{}}\n\n", m.ID) +
			"event: endpoint\ndata: http://other.invalid/\n\n" +
			"data: not json\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":4711,\"result\":{}}\n\n" +
			fmt.Sprintf("event: message\r\ndata: {\"jsonrpc\":\"2.0\",\r\ndata: \"id\":%s,\r\ndata: \"result\":%s}\r\n\r\n", m.ID, textResult("pieces"))
		for _, b := range []byte(stream) {
			s.raw(string(b))
		}
		return true
	}
	a := startSSE(t, o)
	wantText(t, a, "x", "pieces")
	wantText(t, a, "x", "pieces")
	for range 2 {
		select {
		case <-o.replies:
		case <-time.After(hanging):
			t.Fatal("a ping was not answered")
		}
	}
}

func TestSSEThatDoesNotBeginRight(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o      *older
		kind   upstream.Kind
		public string
	}{
		"another origin": {&older{announce: "event: endpoint\ndata: http://other.invalid/messages\n\n"},
			upstream.UpstreamError, "another origin"},
		"another port": {&older{announce: "event: endpoint\ndata: //127.0.0.1:1/messages\n\n"},
			upstream.UpstreamError, "another origin"},
		"no address": {&older{announce: "event: endpoint\ndata: http://[::1\n\n"},
			upstream.UpstreamError, "is not usable"},
		"another event": {&older{announce: "event: message\ndata: {}\n\n"},
			upstream.UpstreamError, "does not begin by saying"},
		"silence": {&older{announce: ": nothing\n\n"},
			upstream.Unavailable, "did not answer the handshake"},
		"end": {&older{onGet: func(w http.ResponseWriter, _ *http.Request) bool { sse(w); return true }},
			upstream.Unavailable, "ended before it said"},
		"cut": {&older{onGet: func(w http.ResponseWriter, _ *http.Request) bool {
			sse(w)
			fmt.Fprint(w, "event: endpoint\ndata: /mess")
			return true
		}}, upstream.Unavailable, "ended before it said"},
		"too long": {&older{announce: "event: endpoint\ndata: /" + strings.Repeat("x", 2<<20) + "\n\n"},
			upstream.Unavailable, "ended before it said"},
		"no stream": {&older{onGet: func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "<html>"); return true }},
			upstream.UpstreamError, "no stream of events"},
		"401": {&older{onGet: httpStatus(401)}, upstream.NeedsLogin, "login"},
		"403": {&older{onGet: httpStatus(403)}, upstream.Denied, "refuses access"},
		"404": {&older{onGet: httpStatus(404)}, upstream.UpstreamError, "no MCP server"},
		"429": {&older{onGet: httpStatus(429)}, upstream.RateLimited, "wait"},
		"503": {&older{onGet: httpStatus(503)}, upstream.Unavailable, "not available"},
		"redirect": {&older{onGet: func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://other.invalid/", http.StatusTemporaryRedirect)
			return true
		}}, upstream.UpstreamError, "redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := quickly()
			opt.MaxMessage = 1 << 20
			if name == "silence" {
				opt.ConnectTimeout = 2 * time.Second
			}
			a := newSSE(t, serve(t, c.o).URL+"/sse", opt)
			watch(t, a)
			_, err := call(t.Context(), a, "echo", `{}`)
			e := wantKind(t, err, c.kind, false)
			if !strings.Contains(e.Public, c.public) || strings.Contains(e.Public, "other.invalid") {
				t.Errorf("the model reads %q, want %q", e.Public, c.public)
			}
			if n := c.o.inits.Load(); n != 0 {
				t.Errorf("%d handshakes", n)
			}
		})
	}
}

func httpStatus(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "http://other.invalid/", code)
		return true
	}
}

func TestRefusedPosts(t *testing.T) {
	for name, c := range map[string]struct {
		code int
		body string
		kind upstream.Kind
		sent bool
		lost bool
	}{
		"401":     {401, "", upstream.NeedsLogin, false, false},
		"403":     {403, "", upstream.Denied, false, false},
		"429":     {429, "", upstream.RateLimited, false, false},
		"500":     {500, "", upstream.UpstreamError, true, false},
		"503":     {503, "", upstream.Unavailable, true, false},
		"400":     {400, "no", upstream.UpstreamError, true, false},
		"message": {400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"cannot read"}}`, upstream.UpstreamError, true, false},
		// What is lost twice is a failure.
		"404":             {404, "", upstream.Unavailable, false, true},
		"session":         {400, "Invalid session ID", upstream.Unavailable, false, true},
		"session message": {400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"Invalid session ID"}}`, upstream.Unavailable, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startSSE(t, &older{onPost: func(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
				if m.Method != "tools/call" {
					return false
				}
				w.WriteHeader(c.code)
				fmt.Fprint(w, c.body)
				return true
			}})
			_, err := call(t.Context(), a, "echo", `{}`)
			wantKind(t, err, c.kind, c.sent)
			if c.lost {
				return // it backs off now
			}
			if _, err := a.Tools(t.Context()); err != nil {
				t.Errorf("the list after it: %v", err)
			}
		})
	}
}

func TestSSELostWithCallsPending(t *testing.T) {
	const calls = 50
	var waiting sync.WaitGroup
	waiting.Add(calls)
	o := &older{}
	o.onCall = func(s *olderStream, m *fakeMsg) bool {
		if m.Params.Arguments.Text != "wait" {
			return false
		}
		waiting.Done()
		waiting.Wait()
		s.raw(fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":", m.ID)) // cut in mid-event
		s.end()
		return true
	}
	a := startSSE(t, o)
	wantText(t, a, "hi", "hi")
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			began := time.Now()
			_, err := call(t.Context(), a, "echo", `{"text":"wait"}`)
			wantKind(t, err, upstream.Unavailable, true)
			if took := time.Since(began); took > hanging/2 {
				t.Errorf("the call failed only after %v", took)
			}
		})
	}
	wg.Wait()
	wantText(t, a, "again", "again")
	if n := o.inits.Load(); n != 2 {
		t.Errorf("%d handshakes, want 2", n)
	}
	if h := a.Health(); h.Restarts != 1 || h.State != upstream.Up {
		t.Errorf("health is %+v", h)
	}
}

func TestForgottenSSESessionIsReplaced(t *testing.T) {
	o := &older{}
	a := startSSE(t, o)
	wantText(t, a, "hi", "hi")
	o.forget("1") // its stream stays open
	wantText(t, a, "again", "again")
	if o.calls.Load() != 2 || o.inits.Load() != 2 {
		t.Errorf("%d calls and %d handshakes", o.calls.Load(), o.inits.Load())
	}
}

func TestSSEAnswersThatAreTooLong(t *testing.T) {
	o := &older{onCall: func(s *olderStream, m *fakeMsg) bool {
		switch m.Params.Arguments.Text {
		case "long":
			s.result(m.ID, textResult(strings.Repeat("x", 2<<20)))
		case "id last":
			s.message(`{"jsonrpc":"2.0","result":%s,"id":%s}`, textResult(strings.Repeat("x", 2<<20)), m.ID)
		case "lines":
			s.raw(fmt.Sprintf("data: {\"id\":%s,\"result\":{\n%s\n", m.ID, strings.Repeat("data: "+strings.Repeat(" ", 60_000)+"\n", 30)))
		default:
			return false
		}
		return true
	}}
	opt := quickly()
	opt.MaxMessage = 1 << 20
	a := newSSE(t, serve(t, o).URL, opt)
	watch(t, a)
	for _, s := range []string{"long", "id last", "lines"} {
		_, err := call(t.Context(), a, "echo", fmt.Sprintf(`{"text":%q}`, s))
		if e := wantKind(t, err, upstream.UpstreamError, true); !strings.Contains(e.Public, "the limit is 1048576") {
			t.Errorf("%s: %q", s, e.Public)
		}
		wantText(t, a, "hi", "hi")
	}
	if n := o.inits.Load(); n != 1 {
		t.Errorf("%d handshakes, want 1", n)
	}
}

func TestSSECallThatIsGivenUp(t *testing.T) {
	hold := make(chan struct{})
	o := &older{onCall: func(_ *olderStream, m *fakeMsg) bool { return m.Params.Arguments.Text == "wait" }}
	o.onPost = func(_ http.ResponseWriter, r *http.Request, m *fakeMsg) bool {
		if m.Params.Arguments.Text != "hold" {
			return false
		}
		select { // never confirmed
		case <-hold:
		case <-r.Context().Done():
		}
		return true
	}
	a := startSSE(t, o)
	defer close(hold)
	wantText(t, a, "hi", "hi")
	for i, s := range []string{"wait", "hold"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := call(ctx, a, "echo", fmt.Sprintf(`{"text":%q}`, s))
		cancel()
		wantKind(t, err, upstream.Timeout, true)
		eventually(t, "a cancellation", func() bool { return o.cancels.Load() == int64(i+1) })
	}
	wantText(t, a, "hi", "hi")
}

func TestSSEServerThatConfirmsLate(t *testing.T) {
	o := &older{}
	o.onPost = func(_ http.ResponseWriter, r *http.Request, m *fakeMsg) bool {
		if m.Method != "tools/call" {
			return false
		}
		o.mu.Lock()
		s := o.streams[r.URL.Query().Get("session")]
		o.mu.Unlock()
		s.result(m.ID, textResult("before"))
		<-r.Context().Done()
		return true
	}
	wantText(t, startSSE(t, o), "x", "before")
}

// TestSSELostBeforeAPostWentOut: what the caller is told holds for good. A message
// that was not yet out when its call failed does not go out afterwards.
func TestSSELostBeforeAPostWentOut(t *testing.T) {
	for _, c := range []struct {
		name     string
		fail     func(o *older, cancel func())
		answered bool
	}{
		{"the stream ends", func(o *older, _ func()) { o.endStream("1") }, true},
		{"the caller gives up", func(_ *older, cancel func()) { cancel() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var arrived atomic.Int64
			o := &older{onPost: func(_ http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
				if m.Method == "tools/call" {
					arrived.Add(1)
				}
				return false
			}}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			var hold atomic.Bool
			rt := roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPost && hold.CompareAndSwap(true, false) {
					c.fail(o, cancel)
					select { // as when it has to connect first
					case <-time.After(2 * time.Second):
					case <-r.Context().Done():
						return nil, r.Context().Err()
					}
				}
				return tr.RoundTrip(r)
			})
			a := mcpserver.NewSSE(quickly(), serve(t, o).URL+"/sse", &http.Client{Transport: rt})
			watch(t, a)
			wantText(t, a, "hi", "hi")
			hold.Store(true)
			_, err := call(ctx, a, "echo", `{"text":"once"}`)
			time.Sleep(300 * time.Millisecond) // for what must not go out any more
			if n := arrived.Load() - 1; c.answered != (err == nil) || c.answered != (n == 1) || n > 1 {
				t.Errorf("the call arrived %d times; its caller was told %v", n, err)
			}
			if err != nil {
				wantKind(t, err, upstream.Cancelled, false)
			}
		})
	}
}
