package inbound_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestIDsComeBackByteForByte(t *testing.T) {
	w := dial(t, newServer(t, newFake(), inbound.Options{}))
	for _, id := range []string{`9007199254740993`, `9`, `"9"`, `1e2`, `-0`, `1.50`, `"\u0061\/\"\\"`, `"<&>"`, `""`, `"` + strings.Repeat("i", 5000) + `"`} {
		w.send(ping(id))
		w.want(pong(id))
		w.send(call(id, "lines", "{}"))
		w.want(`{"jsonrpc":"2.0","id":` + id + `,"result":{  "content": []}}`)
		w.send(request(id, "no/such", "{}"))
		if got := w.recv(); !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":`+id+`,"error":{"code":-32601,`) {
			t.Fatal(got)
		}
	}
	w.end()
}

// What an error says beyond code and message survives too.
func TestErrorsPassUnchanged(t *testing.T) {
	w := dial(t, newServer(t, newFake(), inbound.Options{}))
	w.send(call("1", "none", "{}"))
	w.want(`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"unknown tool","data":{"n":9007199254740993}}}`)
	w.end()
}

func Test200CallsOfOneConnectionRunAtOnce(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	const n = 200
	for i := range n {
		w.send(call(fmt.Sprint(i), "block", "{}"))
	}
	f.awaitEntered(t, n)
	if got := f.running(); got != n {
		t.Fatalf("%d calls are running", got)
	}
	// With all of them waiting, everything else is answered.
	w.send(ping(`"p"`))
	w.want(pong(`"p"`))
	w.send(request(`"l"`, "tools/list", "{}"))
	w.want(`{"jsonrpc":"2.0","id":"l","result":{"tools":[` + echoTool + `]}}`)
	w.send(cancelled("7"))
	f.awaitCancelled(t)
	close(f.release)
	seen := map[string]bool{}
	for range n - 1 {
		seen[w.recv()] = true
	}
	if len(seen) != n-1 || seen[`{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`] {
		t.Fatalf("%d different answers", len(seen))
	}
	w.end()
}

func TestOverloadIsToldToTheModel(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{MaxInFlight: 2}))
	w.send(call("1", "block", "{}"), call("2", "block", "{}"))
	f.awaitEntered(t, 2)
	w.send(call("3", "echo", "{}"))
	if got := w.recv(); !strings.Contains(got, `"text":"overloaded: `) || !strings.Contains(got, `"isError":true`) || strings.Contains(got, "resultType") {
		t.Fatal(got)
	}
	w.send(modernCall("4", "echo", "{}"))
	if got := w.recv(); !strings.Contains(got, `"text":"overloaded: `) || !strings.Contains(got, `"resultType":"complete"`) {
		t.Fatal(got)
	}
	w.send(request("5", "tools/list", "{}"))
	if got := w.recv(); !strings.Contains(got, `"code":-32603,"message":"overloaded: `) {
		t.Fatal(got)
	}
	w.send(ping("6"))
	w.want(pong("6"))
	close(f.release)
	w.recv()
	w.recv()
	eventually(t, "places are free again", func() bool {
		w.send(call("7", "echo", "{}"))
		return !strings.Contains(w.recv(), "overloaded")
	})
	w.end()
}

func TestPanicIsContained(t *testing.T) {
	var log bytes.Buffer
	w := dial(t, newServer(t, newFake(), inbound.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}))
	w.send(call("1", "panic", "{}"))
	if got := w.recv(); !strings.Contains(got, `"id":1,"error":{"code":-32603,`) || strings.Contains(got, "boom") {
		t.Fatal(got)
	}
	w.send(ping("2"))
	w.want(pong("2"))
	w.end()
	if s := log.String(); !strings.Contains(s, "panic in a request") || strings.Contains(s, "boom") {
		t.Errorf("log: %s", s)
	}
}

// A client that takes no answers delays neither the reading of what it sends
// nor anybody else, and does not fill the memory.
func TestClientThatStopsReading(t *testing.T) {
	f := newFake()
	s := newServer(t, f, inbound.Options{MaxInFlight: 50, Drain: 50 * time.Millisecond})
	slow, other := dial(t, s), dial(t, s)
	slow.send(call(`"b"`, "block", "{}"))
	f.awaitEntered(t, 1)
	for i := range 1000 { // 1 MB each
		slow.send(call(fmt.Sprint(i), "big", "{}"))
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 300<<20 {
		t.Errorf("%d MB are held for a client that does not read", m.HeapAlloc>>20)
	}
	other.send(ping("1"))
	other.want(pong("1"))
	slow.send(cancelled(`"b"`))
	f.awaitCancelled(t)
	other.end()
	slow.in.Close()
	select {
	case err := <-slow.done:
		if err == nil {
			t.Error("nothing said that answers were lost")
		}
	case <-time.After(patience):
		t.Fatal("ServeStdio waits for a client that does not read")
	}
}

// One result larger than all that may wait delays nothing that is read after it.
func TestHugeResultThatNobodyReads(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{Drain: 50 * time.Millisecond}))
	w.send(call("1", "block", "{}"))
	f.awaitEntered(t, 1)
	w.send(call("2", "huge", "{}"))
	if _, err := w.out.Peek(1); err != nil { // it is being written
		t.Fatal(err)
	}
	for i := range 100 {
		w.send(ping(fmt.Sprint("1", i)))
	}
	w.send(cancelled("1"))
	f.awaitCancelled(t)
}

func TestSlowReaderGetsEverything(t *testing.T) {
	w := dial(t, newServer(t, newFake(), inbound.Options{}))
	const n = 30
	for i := range n {
		w.send(call(fmt.Sprint(i), "big", "{}"))
	}
	seen := map[string]bool{}
	for range n {
		line := w.recv()
		if len(line) < 1<<20 || !strings.HasSuffix(line, `x"}]}}`) {
			t.Fatalf("a torn line of %d bytes", len(line))
		}
		seen[line[:30]] = true
	}
	if len(seen) != n {
		t.Fatalf("%d different answers of %d", len(seen), n)
	}
	w.end()
}

func TestEndOfInputDrains(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(call("1", "block", "{}"))
	f.awaitEntered(t, 1)
	go func() {
		w.in.Close()
		time.Sleep(10 * time.Millisecond)
		close(f.release)
	}()
	w.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	w.end()
}

// A whole conversation piped in at once, as from a file, is answered.
func TestPipedConversation(t *testing.T) {
	s := newServer(t, newFake(), inbound.Options{})
	in := strings.Join([]string{initialize("2025-06-18"), initialized, "", "  \r", request("1", "tools/list", "{}"), call("2", "echo", "{}")}, "\r\n")
	var out strings.Builder // the last line has no end
	if err := s.ServeStdio(context.Background(), strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 3 || !strings.Contains(out.String(), `"client":"c"`) {
		t.Fatal(out.String())
	}
}

// A client that is slow to take its last answers gets them, within the drain
// time.
func TestDrainWaitsForASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := dial(t, newServer(t, newFake(), inbound.Options{Drain: 10 * time.Second}))
		w.send(call("1", "big", "{}"))
		w.in.Close()
		time.Sleep(8 * time.Second)
		if line := w.recv(); !strings.HasSuffix(line, `x"}]}}`) {
			t.Fatalf("a torn line of %d bytes", len(line))
		}
		w.end()
	})
}

func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var ending atomic.Int64
		w := dial(t, newServer(t, f, inbound.Options{Drain: 10 * time.Second, Ending: func() { ending.Add(1) }}))
		w.send(call("1", "block", "{}"))
		synctest.Wait()
		if ending.Load() != 0 {
			t.Error("it was said to be ending too early")
		}
		start := time.Now()
		time.AfterFunc(time.Second, func() {
			if n := ending.Load(); n != 1 {
				t.Errorf("it was said to be ending %d times", n)
			}
		})
		rest, err := w.finish()
		if err != nil || time.Since(start) < 10*time.Second || time.Since(start) > 13*time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
		if !strings.Contains(rest, `"id":1,"error":{"code":-32603`) {
			t.Fatalf("the cancelled call got %q", rest)
		}
		if why := <-f.ended; !errors.Is(why, upstream.ErrStopping) || !errors.Is(why, context.Canceled) {
			t.Errorf("the call ended because of %v", why)
		}
	})
}

func TestContextEndsTheConversation(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(call("1", "block", "{}"))
	f.awaitEntered(t, 1)
	w.cancel()
	close(f.release)
	w.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	w.end()
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// A client that cannot be answered any more is gone: its calls are cancelled.
func TestBrokenOutput(t *testing.T) {
	f := newFake()
	s := newServer(t, f, inbound.Options{Drain: time.Hour})
	r, w := io.Pipe()
	defer w.Close()
	done := make(chan error, 1)
	go func() { done <- s.ServeStdio(context.Background(), r, failingWriter{}) }()
	_, _ = io.WriteString(w, call("1", "block", "{}")+"\n")
	f.awaitEntered(t, 1)
	_, _ = io.WriteString(w, ping("2")+"\n")
	f.awaitCancelled(t)
	select {
	case err := <-done:
		if err == nil || strings.Count(err.Error(), "broken pipe") != 1 {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("ServeStdio goes on without an output")
	}
}

func TestReadErrorIsReported(t *testing.T) {
	s := newServer(t, newFake(), inbound.Options{})
	r, w := io.Pipe()
	w.CloseWithError(errors.New("bad sector"))
	if err := s.ServeStdio(context.Background(), r, io.Discard); err == nil || !strings.Contains(err.Error(), "bad sector") {
		t.Fatal(err)
	}
}

func TestListChangedOnStdio(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := dial(t, newServer(t, f, inbound.Options{}))
		w.send(initialize("2025-11-25"))
		w.recv()
		f.changed() // the client is not ready yet
		w.send(initialized, initialized)
		synctest.Wait()
		if n := f.subscribers(); n != 1 {
			t.Fatalf("%d subscriptions", n)
		}
		f.changed()
		w.want(changedNote)
		w.end()
		if n := f.subscribers(); n != 0 {
			t.Fatalf("%d subscriptions are left", n)
		}
	})
}

func TestListenOnStdio(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	listen := func(id, filter string) string {
		return request(id, "subscriptions/listen", `{"notifications":`+filter+`,"_meta":`+modernMeta+`}`)
	}
	meta := func(id string) string { return `"_meta":{"io.modelcontextprotocol/subscriptionId":` + id + `}` }
	w.send(listen(`"s"`, `{"toolsListChanged":true,"promptsListChanged":false,"other":1}`))
	w.want(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true},` + meta(`"s"`) + `}}`)
	for range 2 {
		f.changed()
		w.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{` + meta(`"s"`) + `}}`)
	}
	// Nothing granted, and yet it stays open until the client ends it.
	w.send(listen("2", `{"resourceSubscriptions":["none:x"],"taskIds":["none:y"]}`))
	w.want(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{},` + meta("2") + `}}`)
	w.send(listen("3", `[]`))
	if got := w.recv(); !strings.Contains(got, `"id":3,"error":{"code":-32602`) {
		t.Fatal(got)
	}
	f.changed()
	w.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{` + meta(`"s"`) + `}}`)
	w.send(listen("2", `{}`))
	w.want(`{"jsonrpc":"2.0","id":2,"error":{"code":-32600,"message":"a request with the id 2 is still under way"}}`)
	w.send(cancelled("2"))
	w.send(cancelled(`"s"`))
	eventually(t, "the subscription ends", func() bool { return f.subscribers() == 0 })
	// One that is open at the end is ended by a result.
	w.send(listen("4", `{"toolsListChanged":true}`))
	w.recv()
	rest, err := w.finish()
	if want := `{"jsonrpc":"2.0","id":4,"result":{"resultType":"complete",` + meta("4") + "}}\n"; rest != want || err != nil {
		t.Fatalf("%q, %v", rest, err)
	}
}

func TestRequestCarriesWhoAsks(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.handshake("2025-06-18")
	w.send(call("1", "echo", `{"big":9007199254740993}`))
	w.recv()
	r := f.request()
	if r.Principal != upstream.Local() || r.Client != "c" || r.Modern || !strings.HasPrefix(r.Session, "stdio-") ||
		string(r.Params) != `{"name":"echo","arguments":{"big":9007199254740993}}` {
		t.Fatalf("%+v", r)
	}
	w.send(modernCall("2", "echo", "{}"))
	w.recv()
	if r := f.request(); !r.Modern || r.Client != "m" {
		t.Fatalf("%+v", r)
	}
	w.end()
}
