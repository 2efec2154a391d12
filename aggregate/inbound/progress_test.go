package inbound_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// withToken returns the call of a tool with a progress token.
func withToken(id, tool, token, args string, isModern bool) string {
	meta := "{"
	if isModern {
		meta = strings.TrimSuffix(modernMeta, "}") + ","
	}
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + args +
		`,"_meta":` + meta + `"progressToken":` + token + `}}}`
}

func told(params string) string {
	return `{"jsonrpc":"2.0","method":"notifications/progress","params":` + params + `}`
}

// counting reports progress from 1 to the argument n, with the argument who as
// its message.
func counting(_ context.Context, r *aggregate.Request) {
	args, _ := rawjson.Get(r.Params, "arguments")
	var a struct {
		N   int
		Who string
	}
	_ = json.Unmarshal(args, &a)
	for i := range a.N {
		r.Back.Progress(json.RawMessage(fmt.Sprintf(`{"progressToken":"ours","progress":%d,"message":%q}`, i+1, a.Who)))
	}
}

func TestProgressPassesUnchangedButForItsToken(t *testing.T) {
	f := newFake()
	f.custom = func(_ context.Context, r *aggregate.Request) {
		for _, params := range []string{
			`{"progressToken":"u-1","progress":0,"total":1e400}`,
			"{ \"progress\" : 1.50,\n\"progressToken\":7,\"x\":{\"big\":9007199254740993},\"message\":\"<&>\\u0061\"}",
			`{"progressToken":"u-1","progress":1.5}`, // does not increase
			`{"progressToken":"u-1","progress":1}`,
			`{"progressToken":"u-1","progress":"2"}`,
			`{"progressToken":"u-1"}`,
			`[]`,
			``,
			`{"progressToken":"u-1","progress":2}`,
			`{"progress":1e400}`,
			`{"progressToken":"u-1","progress":1e500}`,
		} {
			r.Back.Progress(json.RawMessage(params))
		}
	}
	w := dial(t, newServer(t, f, inbound.Options{}))
	for _, token := range []string{`9007199254740993`, `"9007199254740993"`, `1.0`, `"\u0061<"`, `""`} {
		w.send(withToken("1", "custom", token, "{}", false))
		w.want(told(`{"progressToken":` + token + `,"progress":0,"total":1e400}`))
		w.want(told(`{ "progress" : 1.50,"progressToken":` + token + `,"x":{"big":9007199254740993},"message":"<&>\u0061"}`))
		w.want(told(`{"progressToken":` + token + `,"progress":2}`))
		if got := w.recv(); !strings.Contains(got, `"progress":1e400`) || !strings.Contains(got, `"progressToken":`+token) {
			t.Fatal(got)
		}
		w.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	}
	for _, token := range []string{"null", "{}", "[1]", "true"} {
		w.send(withToken("1", "echo", token, "{}", false))
		w.recv()
		if f.request().Back.Progress != nil {
			t.Errorf("progress for the token %s", token)
		}
	}
	w.end()
}

// An upstream that goes on after its result, or after the client cancelled, is
// not heard.
func TestNoProgressAfterTheEnd(t *testing.T) {
	f := newFake()
	late := make(chan func(json.RawMessage), 1)
	f.custom = func(ctx context.Context, r *aggregate.Request) {
		late <- r.Back.Progress
		if _, wait := rawjson.Get(r.Params, "wait"); wait {
			<-ctx.Done()
			r.Back.Progress(json.RawMessage(`{"progress":1}`))
			f.ended <- ctx.Err()
		}
	}
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(withToken("1", "custom", "1", "{}", false))
	w.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	(<-late)(json.RawMessage(`{"progress":1}`))
	w.send(strings.Replace(withToken("2", "custom", "1", "{}", false), `"arguments"`, `"wait":1,"arguments"`, 1))
	<-late
	w.send(cancelled("2"))
	f.awaitCancelled(t)
	w.send(ping("3"))
	w.want(pong("3"))
	w.end()
}

// Two clients use the same tokens, and some that only look the same, in many
// calls at once. Each gets its own progress, in order and before the result.
func TestProgressOfManyCallsIsNotMixedUp(t *testing.T) {
	const calls, steps = 128, 20
	token := func(i int) string {
		if i%2 == 0 {
			return fmt.Sprint(i / 2)
		}
		return fmt.Sprintf("%q", fmt.Sprint(i/2))
	}
	args := func(who string, i int) string { return fmt.Sprintf(`{"n":%d,"who":"%s-%d"}`, steps, who, i) }
	line := func(who string, i, n int) string {
		return told(fmt.Sprintf(`{"progressToken":%s,"progress":%d,"message":"%s-%d"}`, token(i), n, who, i))
	}
	f := newFake()
	f.custom = counting
	s := newServer(t, f, inbound.Options{})

	t.Run("stdio", func(t *testing.T) {
		for who, w := range map[string]*wire{"a": dial(t, s), "b": dial(t, s)} {
			t.Run(who, func(t *testing.T) {
				t.Parallel()
				go func() {
					for i := range calls {
						_, _ = io.WriteString(w.in, withToken(fmt.Sprint(i), "custom", token(i), args(who, i), false)+"\n")
					}
				}()
				next := map[string]int{}
				for range calls * (steps + 1) {
					got := w.recv()
					if message, ok := rawjson.GetString(params(got), "message"); ok {
						var i int
						_, _ = fmt.Sscanf(message, who+"-%d", &i)
						id := fmt.Sprint(i)
						if next[id]++; got != line(who, i, next[id]) {
							t.Fatalf("step %d of %d is %s", next[id], i, got)
						}
						continue
					}
					if id, _ := rawjson.Get([]byte(got), "id"); next[string(id)] != steps {
						t.Fatalf("after %d steps: %s", next[string(id)], got)
					}
				}
				w.end()
			})
		}
	})
	for _, era := range []string{"legacy", "modern"} {
		t.Run("http "+era, func(t *testing.T) {
			w := serve(t, s)
			bodies := make(chan [2]string, 2*calls)
			for _, who := range []string{"a", "b"} {
				headers := modern("tools/call", "custom")
				if era == "legacy" {
					headers = []string{w.join("2025-11-25")}
				}
				headers = append(headers, "Accept: application/json, text/event-stream")
				for i := range calls {
					want := ""
					for n := range steps {
						want += event(line(who, i, n+1))
					}
					want += event(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}`, i))
					go func() {
						a, err := w.do(context.Background(), "POST", "/mcp", withToken(fmt.Sprint(i), "custom", token(i), args(who, i), era == "modern"), headers...)
						bodies <- [2]string{fmt.Sprint(a.body, err), want + "<nil>"}
					}()
				}
			}
			for range 2 * calls {
				if b := <-bodies; b[0] != b[1] {
					t.Fatalf("got\n%s\nwant\n%s", b[0], b[1])
				}
			}
			w.client.CloseIdleConnections() // one that was never used would delay the end
		})
	}
}

func params(message string) []byte {
	p, _ := rawjson.Get([]byte(message), "params")
	return p
}

func event(data string) string { return "event: message\ndata: " + data + "\n\n" }

// Whoever does not read is told less, but the newest and the result; nobody else
// waits, not even the upstream.
func TestSlowReaderOfProgress(t *testing.T) {
	f := newFake()
	returned := make(chan struct{}, 2)
	long := strings.Repeat("m", 20_000)
	f.custom = func(_ context.Context, r *aggregate.Request) {
		for i := range 1000 {
			r.Back.Progress(json.RawMessage(fmt.Sprintf(`{"progress":%d,"message":"%s"}`, i+1, long)))
		}
		r.Back.Progress(json.RawMessage(fmt.Sprintf(`{"progress":2000,"message":%q}`, strings.Repeat("m", 70_000)))) // beyond what may wait
		returned <- struct{}{}
	}
	s := newServer(t, f, inbound.Options{})
	slow, other := dial(t, s), dial(t, s)
	slow.send(withToken("1", "custom", `"t"`, "{}", false))
	<-returned
	other.send(ping("1"))
	other.want(pong("1"))
	other.end()
	checkSlow(t, slow.recv)
	slow.end()

	for _, era := range []string{"legacy", "modern"} {
		w := serve(t, s)
		headers := modern("tools/call", "custom")
		if era == "legacy" {
			headers = []string{w.join("2025-11-25")}
		}
		headers = append(headers, "Accept: application/json, text/event-stream")
		conn := w.raw(withToken("1", "custom", `"t"`, "{}", era == "modern"), headers...)
		<-returned
		lines := bufio.NewReader(conn)
		checkSlow(t, func() string {
			for {
				text, err := lines.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if data, ok := strings.CutPrefix(text, "data: "); ok {
					return data
				}
			}
		})
		conn.Close()
		w.stop()
	}
}

// raw sends a POST on a connection of its own and reads nothing.
func (w *web) raw(body string, headers ...string) net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	text := "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
	for _, h := range headers {
		text += h + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", text, len(body), body); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func checkSlow(t *testing.T, next func() string) {
	t.Helper()
	last, n := 0, 0
	for {
		got := next()
		p, ok := rawjson.Get(params(got), "progress")
		if !ok {
			if !strings.Contains(got, `"id":1,"result"`) || last != 1000 {
				t.Fatalf("after %d: %.100s", last, got)
			}
			break
		}
		var v int
		if _, err := fmt.Sscan(string(p), &v); err != nil || v <= last {
			t.Fatalf("%s after %d", p, last)
		}
		last = v
		n++
	}
	if n < 3 || n == 1000 { // all would mean that nothing had to give way
		t.Errorf("%d of 1000 were told", n)
	}
}

// Without progress the answer is a body like any other.
func TestNoProgressNoStream(t *testing.T) {
	f := newFake()
	f.custom = counting
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := w.join("2025-11-25")
	both := "Accept: application/json, text/event-stream"
	for _, c := range []struct {
		n, headers string
		stream     bool
	}{
		{"0", both, false},
		{"1", both, true},
		{"1", "Accept: application/json, text/event-stream;q=0", false},
		{"1", "X: no Accept", false},
	} {
		for _, isModern := range []bool{false, true} {
			headers := append(modern("tools/call", "custom"), c.headers)
			if !isModern {
				headers = []string{session, c.headers}
			}
			if !c.stream && c.n == "1" {
				f.custom = func(_ context.Context, r *aggregate.Request) {
					if r.Back.Progress != nil {
						t.Error("progress that cannot be told is asked for")
					}
				}
			}
			a := w.post(withToken("1", "custom", "1", `{"n":`+c.n+`}`, isModern), headers...)
			w.want(a, 200, `"result"`)
			if stream := a.header.Get("Content-Type") == "text/event-stream"; stream != c.stream ||
				stream && (a.header.Get("X-Accel-Buffering") != "no" || a.header.Get("Content-Length") != "") {
				t.Errorf("%v, modern %v: %v", c, isModern, a.header)
			}
		}
	}
}

func TestProgressStreamShowsSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.custom = func(_ context.Context, r *aggregate.Request) {
			time.Sleep(time.Minute)
			r.Back.Progress(json.RawMessage(`{"progress":1}`))
			time.Sleep(time.Minute + time.Second)
		}
		h := newServer(t, f, inbound.Options{}).Handler()
		w := serveOnce(t.Context(), h, http.MethodPost, withToken("1", "custom", "1", "{}", true),
			append(modern("tools/call", "custom"), "Accept: application/json, text/event-stream")...)
		got := w.Body.String()
		if n := strings.Count(got, ": alive\n\n"); n != 4 || !strings.HasPrefix(got, "event: message\ndata: ") || !strings.HasSuffix(got, "}}\n\n") {
			t.Fatal(got)
		}
	})
}

// A cancelled call ends its stream without an answer; closing the stream cancels
// a modern one.
func TestCancelWithProgress(t *testing.T) {
	f := newFake()
	f.custom = func(ctx context.Context, r *aggregate.Request) {
		r.Back.Progress(json.RawMessage(`{"progress":1}`))
		<-ctx.Done()
		r.Back.Progress(json.RawMessage(`{"progress":2}`))
		f.ended <- ctx.Err()
	}
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := w.join("2025-11-25")
	next, _ := w.events("POST", "/mcp", withToken("1", "custom", "1", "{}", false), session)
	if got, _ := next(); !strings.Contains(got, `"progress":1`) {
		t.Fatal(got)
	}
	w.want(w.post(cancelled("1"), session), 202)
	f.awaitCancelled(t)
	if got, ok := next(); ok {
		t.Fatal(got)
	}
	next, end := w.events("POST", "/mcp", withToken("1", "custom", "1", "{}", true), modern("tools/call", "custom")...)
	next()
	end()
	f.awaitCancelled(t)
}

func TestProgressOfABatch(t *testing.T) {
	f := newFake()
	f.custom = counting
	s := newServer(t, f, inbound.Options{})
	text := "[" + withToken("1", "custom", `"x"`, `{"n":2}`, false) + "]"
	steps := []string{
		told(`{"progressToken":"x","progress":1,"message":""}`), told(`{"progressToken":"x","progress":2,"message":""}`),
		`[{"jsonrpc":"2.0","id":1,"result":{"content":[]}}]`,
	}
	w := dial(t, s)
	w.handshake("2025-03-26")
	w.send(text)
	for _, step := range steps {
		w.want(step)
	}
	w.end()
	web := serve(t, s)
	next, _ := web.events("POST", "/mcp", text, web.join("2025-03-26"))
	for _, step := range steps {
		if got, _ := next(); got != step {
			t.Fatal(got)
		}
	}
}
