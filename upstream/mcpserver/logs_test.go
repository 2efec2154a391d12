package mcpserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const allLevels = "emergency alert critical error warning notice info debug"

// logged is a call of a talker that logs at these levels.
func logged(who, level, levels string, p *told) *upstream.Call {
	c := asked(who, "s", "log", levels, nil)
	c.Back.Log, c.Back.LogLevel = p.take, level
	return c
}

// levels are those that were told, in order.
func (p *told) levels() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, msg := range p.msgs {
		level, _ := rawjson.GetString([]byte(msg), "level")
		all = append(all, level)
	}
	return strings.Join(all, " ")
}

func TestLogReachesItsCall(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(mcpserver.Options) *mcpserver.Adapter, _ bool) {
		a := start(quickly())
		for level, want := range map[string]string{
			"debug": allLevels, "warning": "emergency alert critical error warning", "emergency": "emergency", "": "", "odd": "",
		} {
			var p told
			mustText(t, a, logged("u", level, "trace "+allLevels, &p))
			p.mu.Lock()
			p.over = true
			p.mu.Unlock()
			if got := p.levels(); got != want {
				t.Errorf("at %q the call heard %q, want %q", level, got, want)
			}
			for _, msg := range p.msgs {
				if !strings.Contains(msg, `"data":{"n":1e400,"of":`) {
					t.Errorf("told %s", msg)
				}
			}
		}
		if got := mustText(t, a, asked("u", "s", "log", allLevels, nil)); got != "done" {
			t.Errorf("a call that wants none got %s", got)
		}
	})
}

// TestLevelIsOnlyLowered holds that the server is told each lower level once.
func TestLevelIsOnlyLowered(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(mcpserver.Options) *mcpserver.Adapter, _ bool) {
		a := start(quickly())
		var p told
		for _, level := range []string{"warning", "error", "warning", "info", "debug", "emergency"} {
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() { mustText(t, a, logged("u", level, "", &p)) })
			}
			wg.Wait()
		}
		if got := mustText(t, a, asked("u", "s", "declared", "", nil)); !strings.HasSuffix(got, " warning info debug") {
			t.Errorf("the server was told: %s", got)
		}
	})
}

// TestLogsNeverCross has users whose calls log at the same time: on a stream of
// its own each hears itself, on a shared channel nobody hears another user.
func TestLogsNeverCross(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(mcpserver.Options) *mcpserver.Adapter, shared bool) {
		a := start(quickly())
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				var p told
				who := fmt.Sprintf("user-%d", i%2)
				say := fmt.Sprintf("%s call-%d ", who, i)
				mustText(t, a, logged(who, "debug", say+strings.Repeat("info debug ", 5), &p))
				p.mu.Lock()
				defer p.mu.Unlock()
				mine := say
				switch {
				case strings.HasSuffix(t.Name(), "get"):
					return // this server's answers may overtake its messages
				case shared:
					mine = who
				case len(p.msgs) != 10:
					t.Errorf("call %d heard %d messages", i, len(p.msgs))
				}
				for _, msg := range p.msgs {
					if !strings.Contains(msg, `"of":"`+mine) {
						t.Errorf("call %d heard %s", i, msg)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestSharedLogIsNotAnothers(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(mcpserver.Options) *mcpserver.Adapter, shared bool) {
		a := start(quickly())
		held := asked("other", "s", "hold", "", nil)
		running := make(chan struct{})
		held.Back.Progress = func(json.RawMessage) { close(running) }
		var wg sync.WaitGroup
		wg.Go(func() { mustText(t, a, held) })
		<-running
		var p told
		mustText(t, a, logged("u", "debug", "info", &p))
		if got := p.levels(); shared != (got == "") {
			t.Errorf("heard %q beside a call of another user", got)
		}
		mustText(t, a, asked("u", "s", "release", "", nil))
		wg.Wait()
	})
}

// modernTalker is a modern server over HTTP that says what it was told, and
// answers with the result that the call's text is, if it is one.
func modernTalker(w http.ResponseWriter, r *http.Request) {
	var m fakeMsg
	_ = json.NewDecoder(r.Body).Decode(&m)
	text := m.Params.Arguments.Text
	switch {
	case m.Method == "server/discover":
		answerJSON(w, m.ID, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"logging":{}},"ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"caps `+
			strings.ReplaceAll(string(m.Params.Meta.Capabilities), `"`, "'")+`","version":"1"}}}`)
	case m.Method != "tools/call":
		w.WriteHeader(http.StatusNotFound)
	case strings.HasPrefix(text, "{"):
		answerJSON(w, m.ID, text)
	default:
		sse(w)
		for level := range strings.FieldsSeq(allLevels) {
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":%q,\"data\":1}}\n\n", level)
		}
		fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n\n", m.ID, textResult(string(m.Params.Meta.Capabilities)+m.Params.Meta.Level))
	}
}

func TestModernCallCarriesItsClient(t *testing.T) {
	for name, c := range map[string]struct {
		deny              bool
		caps, level, want string
		heard             string
	}{
		"everything": {false, canAll, "error", canAll + "error", "emergency alert critical error"},
		"nothing":    {false, "", "", "{}", ""},
		"no object":  {false, "7", "odd", "{}", ""},
		"denied":     {true, `{"roots":{},"extensions":{"x":{}},"sampling":{},"elicitation":{}}`, "alert", `{"extensions":{"x":{}}}alert`, "emergency alert"},
	} {
		t.Run(name, func(t *testing.T) {
			o := quickly()
			o.DenyAsk = c.deny
			a := talking(t, newHTTP(t, serve(t, http.HandlerFunc(modernTalker)).URL, o))
			var p told
			call := logged("u", c.level, "", &p)
			call.Back.Capabilities, call.Back.Ask = json.RawMessage(c.caps), says("me")
			if got := mustText(t, a, call); got != c.want {
				t.Errorf("the server was told %s, want %s", got, c.want)
			}
			if got := p.levels(); got != c.heard {
				t.Errorf("the call heard %q, want %q", got, c.heard)
			}
			if got := a.Health().Server; got != "caps {} 1" {
				t.Errorf("the handshake declares: %s", got)
			}
		})
	}
}

func TestModernResultsAreOfAType(t *testing.T) {
	run := func(t *testing.T, deny bool, result string) (*upstream.Result, error) {
		o := quickly()
		o.DenyAsk = deny
		a := talking(t, newHTTP(t, serve(t, http.HandlerFunc(modernTalker)).URL, o))
		return a.Call(t.Context(), asked("u", "s", "x", result, nil))
	}
	for result, want := range map[string]upstream.ResultType{
		`{"content":[]}`:                                                      upstream.Final,
		`{"content":[],"resultType":"complete"}`:                              upstream.Final,
		`{"resultType":"input_required", "requestState":"s","x":1e400}`:       upstream.InputRequired,
		`{"taskId":"7", "resultType":"task","ttlMs":null,"status":"working"}`: upstream.TaskCreated,
	} {
		r, err := run(t, false, result)
		if err != nil || r.Type != want || string(r.Raw) != result {
			t.Errorf("%s became %v, %v; want type %d", result, r, err, want)
		}
	}
	_, err := run(t, false, `{"resultType":"other"}`)
	wantKind(t, err, upstream.UpstreamError, true)
	_, err = run(t, true, `{"resultType":"input_required"}`)
	if e := wantKind(t, err, upstream.UpstreamError, true); e.Public != `it asks for input, which the configuration denies (ask = "deny")` {
		t.Errorf("the model reads %s", e.Public)
	}
	if r, err := run(t, true, `{"resultType":"task"}`); err != nil || r.Type != upstream.TaskCreated {
		t.Errorf("a task where asking is denied: %v, %v", r, err)
	}
}

func TestURLElicitationErrorIsKept(t *testing.T) {
	a := startHTTP(t, &legacy{onCall: func(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32042,"message":"go there","data":{"elicitations":[{"mode":"url", "n":1e400}]}}}`, m.ID)
		return true
	}})
	_, err := a.Call(t.Context(), asked("u", "s", "x", "", nil))
	e := wantKind(t, err, upstream.UpstreamError, true)
	if e.RPC == nil || e.RPC.Code != -32042 || string(e.RPC.Data) != `{"elicitations":[{"mode":"url", "n":1e400}]}` {
		t.Errorf("the error object is %+v", e.RPC)
	}
}
