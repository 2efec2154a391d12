package mcpserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// progressOf is the notification number i of a call, marked with its text.
func progressOf(m *fakeMsg, i int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d.0, "message":"%s","x":1e400}}`,
		m.Params.Meta.Token, i, m.Params.Arguments.Text)
}

// oddProgress are params that belong to no call or are none.
func oddProgress(m *fakeMsg) []string {
	token := string(m.Params.Meta.Token)
	return []string{
		`{}`, `[]`, `null`, `{"progressToken":null}`, `{"progressToken":{}}`, `{"progressToken":"x"}`,
		`{"progressToken":4711,"progress":1}`, `{"progressToken":-1}`, `{"progressToken":0}`,
		`{"progressToken":` + token + `,"progress":}`,
		`{"progressToken":` + token + `,"a":1,"a":2}`,
		`{"progressToken":` + token + `,"message":"` + strings.Repeat("x", 1<<20) + `"}`,
	}
}

// told collects the progress of one call.
type told struct {
	mu   sync.Mutex
	msgs []string
	over bool
	late bool
	news chan struct{} // may be nil
}

func (p *told) take(params json.RawMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = p.late || p.over
	p.msgs = append(p.msgs, string(params))
	if p.news != nil {
		p.news <- struct{}{}
	}
}

// callTold runs a call that wants progress; its text is the mark.
func callTold(t *testing.T, a upstream.Adapter, p *told, mark string, n int) (*upstream.Result, error) {
	params := fmt.Sprintf(`{"name":"x","arguments":{"text":%q,"ms":%d},"_meta":{"progressToken":"theirs","v":1}}`, mark, n)
	r, err := a.Call(t.Context(), &upstream.Call{
		Op: upstream.CallTool, Name: "echo", Tool: &upstream.Tool{Name: "echo"}, Params: json.RawMessage(params), Back: upstream.Back{Progress: p.take},
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	return r, err
}

// check wants n notifications of the call with the mark, in order, under one
// token.
func (p *told) check(t *testing.T, mark string, n int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.msgs) != n || p.late {
		t.Errorf("%s: %d notifications, want %d; one after the answer: %v", mark, len(p.msgs), n, p.late)
		return
	}
	for i, got := range p.msgs {
		token, _ := rawjson.Get([]byte(got), "progressToken")
		if want := fmt.Sprintf(`{"progressToken":%s,"progress":%d.0, "message":"%s","x":1e400}`, token, i, mark); got != want {
			t.Errorf("%s: notification %d is %s, want %s", mark, i, got, want)
		}
	}
}

// streams answers a call on a stream of its own, after its progress.
func streams(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
	sse(w)
	for i := range m.Params.Arguments.MS {
		fmt.Fprintf(w, "event: message\ndata: %s\n\n", progressOf(m, i))
	}
	fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n\n", m.ID, textResult(string(m.Params.Meta.Token)))
	return true
}

// modernStreams is a server of the modern era.
func modernStreams(w http.ResponseWriter, r *http.Request) {
	var m fakeMsg
	_ = json.NewDecoder(r.Body).Decode(&m)
	switch m.Method {
	case "server/discover":
		answerJSON(w, m.ID, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}`)
	case "tools/call":
		streams(w, r, &m)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestProgressReachesItsCallInOrder(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) *mcpserver.Adapter{
		"stdio":       func(t *testing.T) *mcpserver.Adapter { return start(t, "progress") },
		"http":        func(t *testing.T) *mcpserver.Adapter { return startHTTP(t, &legacy{onCall: streams}) },
		"modern http": func(t *testing.T) *mcpserver.Adapter { return startHTTP(t, http.HandlerFunc(modernStreams)) },
		"sse":         func(t *testing.T) *mcpserver.Adapter { return startSSE(t, &older{onCall: olderStreams}) },
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			const calls, each = 128, 25
			var wg sync.WaitGroup
			var mu sync.Mutex
			var tokens []string
			for i := range calls {
				wg.Go(func() {
					var p told
					mark := fmt.Sprint("call ", i)
					r, err := callTold(t, a, &p, mark, each)
					if err != nil {
						t.Errorf("%s: %v", mark, err)
						return
					}
					p.check(t, mark, each)
					mu.Lock()
					defer mu.Unlock()
					tokens = append(tokens, text(r))
				})
			}
			wg.Wait()
			slices.Sort(tokens)
			if n := len(slices.Compact(tokens)); n != calls {
				t.Errorf("%d tokens for %d calls", n, calls)
			}
		})
	}
}

func TestNoTokenUnlessProgressIsWanted(t *testing.T) {
	a := start(t, "progress")
	r, err := call(t.Context(), a, "echo", `{}`)
	if err != nil || text(r) != "" {
		t.Errorf("the token is %q, %v", text(r), err)
	}
}

func TestProgressOnTheStreamOfTheSession(t *testing.T) {
	stream, arrived := make(chan string), make(chan struct{}, 10)
	a := startHTTP(t, &legacy{
		onCall: func(_ http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
			for i := range 3 {
				stream <- progressOf(m, i)
			}
			stream <- `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":4711}}`
			for range 3 {
				<-arrived // the two streams have no order among them
			}
			return false
		},
		onGet: func(w http.ResponseWriter, r *http.Request) {
			sse(w)
			for {
				select {
				case msg := <-stream:
					fmt.Fprintf(w, "data: %s\n\n", msg)
					w.(http.Flusher).Flush()
				case <-r.Context().Done():
					return
				}
			}
		},
	})
	p := told{news: arrived}
	if _, err := callTold(t, a, &p, "mark", 0); err != nil {
		t.Fatal(err)
	}
	p.check(t, "mark", 3)
}

func TestOddProgressIsDropped(t *testing.T) {
	a := start(t, "odd progress")
	for range 2 {
		var p told
		r, err := callTold(t, a, &p, "mark", 0)
		if err != nil || text(r) != "mark" {
			t.Fatal(r, err)
		}
		p.check(t, "mark", 0)
	}
}

func TestProgressAfterTheAnswerIsDropped(t *testing.T) {
	a := start(t, "late progress")
	var calls [20]told
	for i := range calls {
		if _, err := callTold(t, a, &calls[i], "mark", 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range calls {
		calls[i].mu.Lock()
		if calls[i].late {
			t.Error("a call heard of its progress after it had returned")
		}
		calls[i].mu.Unlock()
	}
}

func TestFloodOfProgressDelaysNobody(t *testing.T) {
	a := start(t, "progress")
	var flood told
	done := make(chan error, 1)
	go func() {
		_, err := callTold(t, a, &flood, "flood", 100_000)
		done <- err
	}()
	for range 5 {
		began := time.Now()
		if _, err := call(t.Context(), a, "echo", `{}`); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > hanging/2 {
			t.Errorf("a call beside the flood took %v", took)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(flood.msgs); n == 0 || n > 60_000 {
		t.Errorf("%d notifications passed", n)
	}
}
