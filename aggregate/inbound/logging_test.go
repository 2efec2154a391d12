package inbound_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func logged(params string) string {
	return `{"jsonrpc":"2.0","method":"notifications/message","params":` + params + `}`
}

func setLevel(id, level string) string {
	return request(id, "logging/setLevel", `{"level":"`+level+`"}`)
}

// chatter logs at every level and some that are none, between steps of progress
// if the client wants to hear of them.
func chatter(_ context.Context, r *aggregate.Request) {
	n := 0
	for _, level := range []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency", "", "ERROR", "fatal"} {
		if r.Back.Log != nil {
			r.Back.Log(json.RawMessage(fmt.Sprintf("{\"level\":%q,\n\"data\":{\"n\":1e400}}", level)))
		}
		if n++; r.Back.Progress != nil && n <= 8 {
			r.Back.Progress(json.RawMessage(fmt.Sprintf(`{"progress":%d}`, n)))
		}
	}
	if r.Back.Log != nil {
		r.Back.Log(json.RawMessage(`{}`))
		r.Back.Log(json.RawMessage(`[]`))
		r.Back.Log(nil)
	}
}

// A legacy client sets the level for its session; it holds from the next
// request on.
func TestLoggingOfLegacyClients(t *testing.T) {
	f := newFake()
	f.custom = chatter
	for name, p := range peers(t, newServer(t, f, inbound.Options{}), "{}") {
		t.Run(name, func(t *testing.T) {
			p.send(call("1", "custom", "{}"))
			if got := p.recv(); got != `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}` || f.request().Back.Log != nil {
				t.Fatal(got)
			}
			for _, params := range []string{`{}`, `{"level":"ERROR"}`, `{"level":1}`, `{"level":""}`} {
				p.send(request("2", "logging/setLevel", params))
				if got := p.recv(); !strings.Contains(got, `"code":-32602,"message":"params.level must be one of debug, `) {
					t.Fatal(got)
				}
			}
			for level, told := range map[string]int{"debug": 8, "critical": 3, "emergency": 1} {
				p.send(setLevel("3", level))
				if got := p.recv(); got != pong("3") {
					t.Fatal(got)
				}
				p.send(call("4", "custom", "{}"))
				for i := range told {
					want := logged(`{"level":"` + []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}[8-told+i] + `","data":{"n":1e400}}`)
					if got := p.recv(); got != want {
						t.Fatal(got)
					}
				}
				if got := p.recv(); !strings.Contains(got, `"id":4,"result"`) || f.request().Back.LogLevel != level {
					t.Fatal(got)
				}
			}
			// Together with progress, in the order in which it happened.
			p.send(setLevel("3", "alert"), withToken("5", "custom", `"t"`, "{}", false))
			for _, want := range []string{pong("3"), "1", "2", "3", "4", "5", "6", "alert", "7", "emergency", "8", `"id":5`} {
				if got := p.recv(); !strings.Contains(got, want) {
					t.Fatalf("%s instead of %s", got, want)
				}
			}
		})
	}
}

// A modern client says with each request what it wants.
func TestLoggingOfModernClients(t *testing.T) {
	f := newFake()
	f.custom = chatter
	s := newServer(t, f, inbound.Options{})
	w, pipe := serve(t, s), dial(t, s)
	pipe.send(setLevel("0", "debug")) // of the legacy session on the same pipe
	pipe.recv()
	message := func(level string) string {
		return strings.Replace(modernCall("1", "custom", "{}"), modernMeta, strings.TrimSuffix(modernMeta, "}")+`,"io.modelcontextprotocol/logLevel":`+level+`}`, 1)
	}
	answered := `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
	alerts := []string{logged(`{"level":"alert","data":{"n":1e400}}`), logged(`{"level":"emergency","data":{"n":1e400}}`), answered}
	headers := modern("tools/call", "custom")
	next, _ := w.events("POST", "/mcp", message(`"alert"`), headers...)
	pipe.send(message(`"alert"`))
	for _, want := range alerts {
		if got, _ := next(); got != want {
			t.Fatal(got)
		}
		pipe.want(want)
	}
	pipe.send(modernCall("1", "custom", "{}"))
	pipe.want(answered)
	for _, level := range []string{`"ALERT"`, `""`, `1`, `null`} {
		w.want(w.post(message(level), headers...), 400, `"code":-32602`, "logLevel")
	}
	// Who takes no stream is told nothing.
	a := w.post(message(`"debug"`), append(headers, "Accept: application/json")...)
	if a.body != answered || f.request().Back.Log != nil {
		t.Fatal(a.body)
	}
	pipe.end()
}

// A client that does not read misses the oldest messages, but no progress for
// them.
func TestLogsAreBounded(t *testing.T) {
	f := newFake()
	returned := make(chan struct{})
	f.custom = func(_ context.Context, r *aggregate.Request) {
		r.Back.Progress(json.RawMessage(`{"progress":1}`))
		r.Back.Progress(json.RawMessage(`{"progress":2}`))
		for i := range 1000 {
			r.Back.Log(json.RawMessage(fmt.Sprintf(`{"level":"error","data":[%d,"%s"]}`, i, strings.Repeat("x", 10_000))))
		}
		r.Back.Log(json.RawMessage(fmt.Sprintf(`{"level":"error","data":"%s"}`, strings.Repeat("x", 300_000)))) // beyond what may wait
		r.Back.Progress(json.RawMessage(`{"progress":3}`))
		close(returned)
	}
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(setLevel("1", "debug"))
	w.recv()
	w.send(withToken("2", "custom", "1", "{}", false))
	<-returned
	last, logs, steps := -1, 0, 0
	for {
		got := w.recv()
		if strings.Contains(got, `"id":2,"result"`) {
			break
		}
		if data, ok := rawjson.Get(params(got), "data"); ok {
			var n int
			if _, err := fmt.Sscanf(string(data), "[%d,", &n); err != nil || n <= last {
				t.Fatalf("%.30s after %d", data, last)
			}
			last, logs = n, logs+1
			continue
		}
		steps++
	}
	if last != 999 || logs < 20 || logs > 200 || steps != 3 {
		t.Errorf("%d messages up to %d, %d steps", logs, last, steps)
	}
	w.end()
}

// Log messages alone make a stream of the answer to a legacy POST, and only if
// there are any.
func TestLogsUpgradeLegacyPosts(t *testing.T) {
	f := newFake()
	f.custom = chatter
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := w.join("2025-11-25")
	w.want(w.post(setLevel("1", "emergency"), session), 200)
	both := "Accept: application/json, text/event-stream"
	a := w.post(call("1", "custom", "{}"), session, both)
	if lines := bufio.NewScanner(strings.NewReader(a.body)); !lines.Scan() || a.header.Get("Content-Type") != "text/event-stream" || strings.Count(a.body, "data: ") != 2 {
		t.Fatal(a.body)
	}
	if a := w.post(call("1", "echo", "{}"), session, both); a.header.Get("Content-Type") != "application/json" {
		t.Fatal(a.body)
	}
	// It is that session's only.
	if a := w.post(call("1", "custom", "{}"), w.join("2025-11-25"), both); a.header.Get("Content-Type") != "application/json" {
		t.Fatal(a.body)
	}
}

// A log message that belongs to no request reaches the sessions that have set a
// level, where it is severe enough.
func TestLogsOfNoRequest(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.handshake("2025-06-18")
	eventually(t, "it follows the lists", func() bool { return f.subscribers() == 1 })
	notice := func(key string) string { return `{"level":"notice","logger":"bulkhead","data":"` + key + `"}` }
	tell := func(key string) {
		f.tell(aggregate.Notice{Method: "notifications/message", Key: key, Params: json.RawMessage(notice(key))},
			func(s aggregate.Subscription) bool { return s.Session != "" })
	}
	tell("no level is set")
	for _, level := range []string{"info", "warning", "notice"} {
		w.send(setLevel("1", level))
		w.want(pong("1"))
		tell("at " + level)
		if level != "warning" {
			w.want(logged(notice("at " + level)))
		}
	}
	w.end()
}
