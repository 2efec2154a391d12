package mcpserver_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// turncoat is a server in memory that speaks one era at a time and refuses the
// other as servers do.
type turncoat struct {
	mu       sync.Mutex
	modern   bool
	status   int      // of a refusal for its era
	refusal  string   // its body
	faults   []string // what becomes of the next requests, in order, see fault
	asked    []string // the methods, in order
	executed int      // calls of tools
	onCall   string   // the answer to those, with the status below; "" for a good one
	code     int
}

const (
	legacyRefusal = `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Unsupported protocol version: 2026-07-28"}}`
	modernRefusal = `{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"Unsupported protocol version: 2025-11-25","data":{"supported":["2026-07-28"]}}}`
)

// turn has another version of the server take its place.
func (s *turncoat) turn(modern bool, status int, refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.modern, s.status, s.refusal = modern, status, refusal
}

// fail says what becomes of the next requests: "cut" and "swallowed" are taken
// and never answered, "-" is answered, and all else is the message of an error.
func (s *turncoat) fail(faults ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.asked = faults, nil
}

func (s *turncoat) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GotConn(httptrace.GotConnInfo{})
		trace.WroteHeaders()
	}
	w := httptest.NewRecorder()
	var m fakeMsg
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
	} else if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		return nil, err
	} else {
		switch fault := s.next(m.Method); fault {
		case "-":
			s.answer(w, r, &m)
		case "cut":
			return nil, io.ErrUnexpectedEOF
		case "swallowed":
			<-r.Context().Done()
			return nil, r.Context().Err()
		default:
			answerError(w, m.ID, fault)
		}
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func answerError(w http.ResponseWriter, id json.RawMessage, message string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":%q}}`, id, message)
}

func (s *turncoat) next(method string) (fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, method)
	if len(s.faults) == 0 {
		return "-"
	}
	fault, s.faults = s.faults[0], s.faults[1:]
	return fault
}

func (s *turncoat) answer(w http.ResponseWriter, r *http.Request, m *fakeMsg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.modern != (r.Header.Get("Mcp-Method") != ""):
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.refusal)
	case m.Method == "server/discover":
		answerJSON(w, m.ID, `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}`)
	case m.Method == "initialize":
		answerJSON(w, m.ID, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"turncoat","version":"1"}}`)
	case m.Method == "tools/call" && s.onCall != "":
		s.executed++
		w.WriteHeader(s.code)
		_, _ = io.WriteString(w, s.onCall)
	case m.Method == "tools/call":
		s.executed++
		answerJSON(w, m.ID, textResult(m.Params.Arguments.Text))
	case m.Method == "ping":
		answerJSON(w, m.ID, `{}`)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (s *turncoat) seen() (asked string, executed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.asked, " "), s.executed
}

// inMemory watches an adapter for s, within a bubble.
func (s *turncoat) inMemory(t *testing.T, o mcpserver.Options) *mcpserver.Adapter {
	t.Helper()
	o.ID = "fake"
	a := mcpserver.NewHTTP(o, "http://crm.invalid/", &http.Client{Transport: s})
	watch(t, a)
	synctest.Wait()
	return a
}

// TestServerTurns: a server may be replaced by one of another era while we run.
// The call that finds it out is answered all the same, and executed once.
func TestServerTurns(t *testing.T) {
	rpc := func(code int, message string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":"server-error","error":{"code":%d,"message":%q}}`, code, message)
	}
	for name, c := range map[string]struct {
		toModern bool
		status   int
		refusal  string
	}{
		"back, version in words":          {false, 400, legacyRefusal},
		"back, no session":                {false, 400, rpc(-32600, "Bad Request: Missing session ID")},
		"back, no valid session":          {false, 400, rpc(-32000, "Bad Request: No valid session ID provided")},
		"back, not initialized":           {false, 400, rpc(-32000, "Bad Request: Server not initialized")},
		"back, plain text":                {false, 400, "Bad Request: Unsupported MCP-Protocol-Version\n"},
		"back, names versions":            {false, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"m","data":{"supported":["2025-11-25"]}}}`},
		"forth, version":                  {true, 400, modernRefusal},
		"forth, version in words":         {true, 400, rpc(-32022, "Unsupported protocol version: 2025-11-25")},
		"forth, headers are missing":      {true, 400, rpc(-32020, "Header mismatch: Mcp-Method is missing")},
		"forth, _meta has not its things": {true, 400, rpc(-32602, "Invalid params: _meta lacks io.modelcontextprotocol/protocolVersion")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &turncoat{modern: !c.toModern, status: 400, refusal: modernRefusal}
				if c.toModern {
					s.refusal = legacyRefusal
				}
				a := s.inMemory(t, mcpserver.Options{})
				wantText(t, a, "hi", "hi")
				s.turn(c.toModern, c.status, c.refusal)
				for range 3 {
					wantText(t, a, "hi", "hi")
				}
				if _, n := s.seen(); n != 4 {
					t.Errorf("4 calls were executed %d times", n)
				}
				if got := a.Health().Protocol == "2026-07-28"; got != c.toModern {
					t.Errorf("the server is now modern: %v, and taken for %s", c.toModern, a.Health().Protocol)
				}
			})
		})
	}
}

// TestServerTurnsUnasked: that the server is another one is found out without a
// call where a request was lost, as by a restart.
func TestServerTurnsUnasked(t *testing.T) {
	for name, c := range map[string]struct {
		toModern bool
		status   int
		refusal  string
	}{
		"back":           {false, 400, legacyRefusal},
		"back, carefree": {false, 200, `{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"m"}}`},
		"forth":          {true, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"m","data":{"supported":["2026-07-28"]}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &turncoat{modern: !c.toModern, status: 400, refusal: legacyRefusal}
				a := s.inMemory(t, mcpserver.Options{})
				wantText(t, a, "hi", "hi")
				s.turn(c.toModern, c.status, c.refusal)
				s.fail("cut")
				_, err := call(t.Context(), a, "echo", `{}`)
				wantKind(t, err, upstream.Unavailable, true)
				synctest.Wait()
				if got := a.Health(); got.State != upstream.Up || (got.Protocol == "2026-07-28") != c.toModern {
					t.Errorf("health is %+v", got)
				}
			})
		})
	}
}

// TestServerTurnsBackAndForth: as often as it does so, no call has to wait.
func TestServerTurnsBackAndForth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &turncoat{status: 400, refusal: legacyRefusal}
		a := s.inMemory(t, mcpserver.Options{})
		for range 5 {
			wantText(t, a, "hi", "hi")
			time.Sleep(10 * time.Second)
			if s.modern {
				s.turn(false, 400, legacyRefusal)
			} else {
				s.turn(true, 400, modernRefusal)
			}
			began := time.Now()
			wantText(t, a, "hi", "hi")
			if took := time.Since(began); took > 0 {
				t.Errorf("a call waited for %v", took)
			}
		}
	})
}

// TestNoQuestionOfAHandshakeIsLost: what becomes of a question says something
// about the server only if it was answered. What the server makes of the question
// of the other era is never the answer to a call.
func TestNoQuestionOfAHandshakeIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		modern bool
		memory string
		faults []string
		asked  string // "" means any
		fails  string // what a call is told; "" for nothing
	}{
		"legacy, initialize is cut":        {false, "legacy", []string{"cut"}, "initialize server/discover initialize", ""},
		"modern, the probe is cut":         {true, "modern", []string{"cut"}, "server/discover initialize server/discover", ""},
		"modern, the probe is swallowed":   {true, "modern", []string{"swallowed"}, "server/discover initialize server/discover", ""},
		"unknown, the probe is cut":        {true, "", []string{"cut"}, "server/discover initialize server/discover", ""},
		"unknown, legacy, probe is cut":    {false, "", []string{"cut"}, "server/discover initialize", ""},
		"unknown, legacy, and swallowed":   {false, "", []string{"swallowed"}, "server/discover initialize", ""},
		"unknown, legacy, both":            {false, "", []string{"-", "cut"}, "server/discover initialize initialize", ""},
		"all is cut":                       {false, "legacy", []string{"cut", "cut"}, "initialize server/discover", "unavailable"},
		"legacy, cut again":                {false, "legacy", []string{"cut", "-", "cut"}, "initialize server/discover initialize", "unavailable"},
		"legacy, has a trouble of its own": {false, "legacy", []string{"no database"}, "initialize server/discover", "no database"},
		"modern, has a trouble of its own": {true, "modern", []string{"no database"}, "server/discover initialize", "no database"},
		"wrong memory":                     {true, "legacy", nil, "initialize server/discover", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &turncoat{modern: c.modern, status: 400, refusal: legacyRefusal, faults: c.faults}
				if c.modern {
					s.refusal = modernRefusal
				}
				a := s.inMemory(t, mcpserver.Options{Remembered: c.memory})
				_, err := call(t.Context(), a, "echo", `{}`)
				asked, _ := s.seen()
				asked = strings.TrimSuffix(strings.ReplaceAll(asked, " notifications/initialized", ""), " tools/call")
				if asked != c.asked {
					t.Errorf("it was asked %q, want %q", asked, c.asked)
				}
				switch {
				case c.fails == "" && err != nil:
					t.Errorf("the call: %v", err)
				case c.fails == "":
				case err == nil:
					t.Error("the call succeeds")
				default:
					e := upstream.AsError("", "", err)
					if e.Sent || e.RPC != nil || !strings.Contains(e.Kind.Code()+e.Public, c.fails) {
						t.Errorf("the call fails by %+v", e)
					}
				}
			})
		})
	}
}

// TestOwnAnswerIsNoContradiction: a server that has been asked again and speaks
// what it spoke before means the request, whatever its words.
func TestOwnAnswerIsNoContradiction(t *testing.T) {
	for name, answer := range map[string]struct {
		code int
		text string
	}{
		"words":     {400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Server not initialized"}}`},
		"not found": {404, "404 page not found"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &turncoat{status: 400, refusal: legacyRefusal, code: answer.code, onCall: answer.text}
				a := s.inMemory(t, mcpserver.Options{})
				handshakes := func() int {
					asked, _ := s.seen()
					return strings.Count(asked, "initialize ")
				}
				for _, want := range []int{2, 3} {
					for range 5 {
						_, err := call(t.Context(), a, "echo", `{}`)
						if e := upstream.AsError("", "", err); err == nil || e.Kind != upstream.UpstreamError {
							t.Errorf("the call fails by %v", err)
						}
						time.Sleep(2 * time.Second)
					}
					if n := handshakes(); n != want {
						t.Errorf("%d handshakes, want %d", n, want)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

// TestRefusedHandshakeIsNoAnswer: while there is no connection, what the server
// said to the handshake is taken neither for an answer to a call nor for its lack
// of a list.
func TestRefusedHandshakeIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &turncoat{modern: true, status: 200, refusal: `{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"no such method"}}`}
		a := s.inMemory(t, mcpserver.Options{Era: mcpserver.Legacy})
		_, err := call(t.Context(), a, "echo", `{}`)
		if e := wantKind(t, err, upstream.UpstreamError, false); e.RPC != nil || !strings.Contains(e.Public, "handshake") {
			t.Errorf("the call fails by %+v", e)
		}
		if list, err := a.Tools(t.Context()); err == nil {
			t.Errorf("it has %d tools", len(list))
		}
		if list, err := a.Items(t.Context(), upstream.Prompts); err == nil {
			t.Errorf("it has %d prompts", len(list))
		}
	})
}

// TestServerTurnsToTheOlderTransport: where nothing takes a POST any more, there
// may be a stream to open.
func TestServerTurnsToTheOlderTransport(t *testing.T) {
	_, modern := reference()
	o := &older{}
	var turned atomic.Bool
	a := startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if turned.Load() {
			o.ServeHTTP(w, r)
			return
		}
		modern.ServeHTTP(w, r)
	}))
	wantText(t, a, "hi", "hi")
	turned.Store(true)
	wantText(t, a, "hi", "hi")
	if got := a.Health().Protocol; got == "2026-07-28" {
		t.Errorf("it still counts as modern: %s", got)
	}
}
