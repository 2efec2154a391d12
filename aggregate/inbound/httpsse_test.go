package inbound_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

// eventClient is a raw client over HTTP+SSE.
type eventClient struct {
	*web
	next func() (string, bool)
	end  func()
	path string // to POST to
}

func (w *web) connect(path string) *eventClient {
	w.t.Helper()
	next, end := w.events("GET", path, "")
	c := &eventClient{web: w, next: next, end: end}
	c.path, _ = next()
	if want := strings.TrimSuffix(path, "sse") + "messages?session="; !strings.HasPrefix(c.path, want) || len(c.path) < len(want)+26 {
		w.t.Fatalf("the endpoint is %q", c.path)
	}
	return c
}

func (c *eventClient) tell(text string, headers ...string) answer {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := c.do(ctx, "POST", c.path, text, headers...)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// ask sends messages that are taken and returns nothing.
func (c *eventClient) ask(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if a := c.tell(text); a.status != 202 || a.body != "" {
			c.t.Fatalf("%d %s", a.status, a.body)
		}
	}
}

func (c *eventClient) hear(text string) {
	c.t.Helper()
	if got, _ := c.next(); got != text {
		c.t.Fatalf("got  %s\nwant %s", got, text)
	}
}

func (c *eventClient) handshake(version string) {
	c.t.Helper()
	c.ask(initialize(version))
	if got, _ := c.next(); !strings.Contains(got, `"protocolVersion":"`+version+`"`) {
		c.t.Fatal(got)
	}
	c.ask(initialized)
}

func TestEventStreamConversation(t *testing.T) {
	f := newFake()
	f.custom = counting
	w := serve(t, newServer(t, f, inbound.Options{}))
	c := w.connect("/sse")
	for _, version := range []string{"2025-11-25", "2024-11-05"} {
		c.handshake(version)
	}
	c.ask(call("9007199254740993", "lines", "{}"))
	c.hear(`{"jsonrpc":"2.0","id":9007199254740993,"result":{  "content": []}}`)
	if r := f.request(); r.Client != "c" || !strings.HasPrefix(r.Session, "sse-") {
		t.Fatalf("%+v", r)
	}
	eventually(t, "the client subscribes", func() bool { return f.subscribers() == 1 })
	f.changed()
	c.hear(changedNote)
	c.ask(withToken("1", "custom", `"t"`, `{"n":2}`, false))
	c.hear(told(`{"progressToken":"t","progress":1,"message":""}`))
	c.hear(told(`{"progressToken":"t","progress":2,"message":""}`))
	c.hear(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	// What is wrong with one message is told on the stream, with the text at once.
	c.ask(`{"jsonrpc":"2.0","id":2,"METHOD":"ping"}`)
	if got, _ := c.next(); !strings.Contains(got, `"id":2,"error":{"code":-32600`) {
		t.Fatal(got)
	}
	w.want(c.tell(`{"jsonrpc":`), 400, `"code":-32700`)
	w.want(c.tell("["+ping("1")+"]"), 400, "one message at a time")
	// Answers come as they are ready.
	c.ask(call("3", "block", "{}"), ping("4"))
	c.hear(pong("4"))
	c.ask(call("3", "echo", "{}"))
	if got, _ := c.next(); !strings.Contains(got, "still under way") {
		t.Fatal(got)
	}
	c.ask(cancelled("3"), ping("5"))
	f.awaitCancelled(t)
	c.hear(pong("5"))
	c.end()
	eventually(t, "the client is forgotten", func() bool { return f.subscribers() == 0 && c.tell(ping("6")).status == 404 })
}

func TestBatchesOverEventStream(t *testing.T) {
	f := newFake()
	f.custom = counting
	c := serve(t, newServer(t, f, inbound.Options{})).connect("/sse")
	c.handshake("2025-03-26")
	c.ask("[" + ping("1") + "," + withToken("2", "custom", "7", `{"n":1}`, false) + "," + cancelled("9") + "]")
	c.hear(told(`{"progressToken":7,"progress":1,"message":""}`))
	c.hear(`[` + pong("1") + `,{"jsonrpc":"2.0","id":2,"result":{"content":[]}}]`)
	c.end()
}

func Test200CallsOfOneEventStreamRunAtOnce(t *testing.T) {
	f := newFake()
	c := serve(t, newServer(t, f, inbound.Options{})).connect("/sse")
	const n = 200
	refused := make(chan string, n)
	for i := range n {
		go func() {
			a, err := c.do(context.Background(), "POST", c.path, call(fmt.Sprint(i), "block", "{}"))
			if err != nil || a.status != 202 {
				refused <- fmt.Sprint(a, err)
			}
		}()
	}
	f.awaitEntered(t, n)
	c.ask(ping(`"p"`))
	c.hear(pong(`"p"`))
	close(f.release)
	seen := map[string]bool{}
	for range n {
		got, _ := c.next()
		seen[got] = true
	}
	if len(seen) != n || len(refused) != 0 {
		t.Fatalf("%d different answers, %d refused", len(seen), len(refused))
	}
	c.client.CloseIdleConnections() // one that was never used would delay the end
}

// Nobody gets into a session without its secret, nor at another endpoint.
func TestEventStreamsAreApart(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	a, b, crm := w.connect("/sse"), w.connect("/sse"), w.connect("/u/crm/sse")
	if a.path == b.path {
		t.Fatal("two clients have one address")
	}
	a.ask(call("1", "block", "{}"))
	b.ask(call("1", "block", "{}"))
	f.awaitEntered(t, 2)
	for _, path := range []string{
		"/messages", "/messages?session=", "/messages?session=AAAAAAAAAAAAAAAAAAAAAAAAAA", a.path + "A",
		"/u/crm" + a.path, strings.TrimPrefix(crm.path, "/u/crm"), "/u/none" + a.path,
	} {
		got, err := w.do(context.Background(), "POST", path, cancelled("1"))
		if err != nil || got.status != 404 {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	b.ask(cancelled("1"))
	f.awaitCancelled(t)
	crm.ask(cancelled("1"), ping("1"))
	crm.hear(pong("1"))
	if n := f.running(); n != 1 {
		t.Fatalf("%d calls are left of 1", n)
	}
	// The end of the stream ends its calls.
	a.end()
	f.awaitCancelled(t)
}

func TestEventStreamDoors(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{MaxBody: 100}))
	c := w.connect("/sse")
	for _, d := range []struct {
		method, path, body, header string
		status                     int
	}{
		{"GET", "/sse", "", "Host: evil.example", 403},
		{"GET", "/sse", "", "Origin: https://evil.example", 403},
		{"GET", "/sse", "", "Accept: application/json", 406},
		{"POST", "/sse", initialize("2025-11-25"), "X: probe for Streamable HTTP", 405},
		{"GET", "/u/none/sse", "", "X: y", 404},
		{"GET", c.path, "", "X: y", 405},
		{"POST", c.path, ping("1"), "Host: evil.example", 403},
		{"POST", c.path, ping("1"), "Origin: https://evil.example", 403},
		{"POST", c.path, ping("1"), "Content-Type: text/plain", 415},
		{"POST", c.path, ping(strings.Repeat("1", 100)), "X: y", 413},
		{"POST", c.path, strings.Repeat("[", 90), "X: y", 400},
		{"POST", c.path, "", "X: y", 400},
		{"POST", c.path, ping("1"), "Origin: http://localhost:3000", 202},
	} {
		a, err := w.do(context.Background(), d.method, d.path, d.body, d.header)
		if err != nil || a.status != d.status {
			t.Errorf("%s %s with %s: %v, %v", d.method, d.path, d.header, a, err)
		}
	}
	c.hear(pong("1"))
}

// A client that takes no answers delays nobody, and can still cancel.
func TestSlowReaderOfEventStream(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{MaxInFlight: 50, Drain: 50 * time.Millisecond}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprint(conn, "GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	slow := &eventClient{web: w}
	for lines := bufio.NewReaderSize(conn, 16); slow.path == ""; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			slow.path = strings.TrimSpace(data)
		}
	}
	slow.ask(call(`"b"`, "block", "{}"))
	f.awaitEntered(t, 1)
	for i := range 100 {
		slow.ask(call(fmt.Sprint(i), "big", "{}")) // 1 MB each
	}
	other := w.connect("/sse")
	other.ask(ping("1"))
	other.hear(pong("1"))
	slow.ask(cancelled(`"b"`))
	f.awaitCancelled(t)
	other.end()
	conn.Close()
	eventually(t, "the client is forgotten", func() bool { return slow.tell(ping("1")).status == 404 })
}

func TestStopDrainsEventStreams(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{Drain: patience}))
	c, idle := w.connect("/sse"), w.connect("/sse")
	c.ask(call("1", "block", "{}"))
	f.awaitEntered(t, 1)
	go w.stop()
	if got, ok := idle.next(); ok {
		t.Fatal(got)
	}
	close(f.release)
	c.hear(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	if got, ok := c.next(); ok {
		t.Fatal(got)
	}
	w.stop()
}

func TestStopOfEventStreamsIsBounded(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{Drain: 50 * time.Millisecond}))
	c := w.connect("/sse")
	c.ask(call("1", "block", "{}"))
	f.awaitEntered(t, 1)
	w.stop()
	f.awaitCancelled(t)
}

func TestEventStreamShowsSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Second)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/u/crm/sse", nil)
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		newServer(t, newFake(), inbound.Options{}).Handler().ServeHTTP(w, r)
		got := w.Body.String()
		if !strings.HasPrefix(got, "event: endpoint\ndata: /u/crm/messages?session=") || strings.Count(got, ": alive\n\n") != 4 {
			t.Fatal(got)
		}
	})
}

// A client that is there but reads nothing is given up, and its calls with it.
func TestEventStreamThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFake()
		ln, done := newPipes(), make(chan error, 1)
		go func() { done <- newServer(t, f, inbound.Options{}).Serve(ctx, ln) }()
		dead := ln.dial()
		defer dead.Close()
		fmt.Fprint(dead, "GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
		path := ""
		for lines := bufio.NewReader(dead); path == ""; {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				path = strings.TrimSpace(data)
			}
		}
		ask := func(body string) string {
			c := ln.dial()
			defer c.Close()
			go fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
			answer, _ := io.ReadAll(c)
			return string(answer)
		}
		start := time.Now()
		for _, body := range []string{call("1", "block", "{}"), ping("2")} {
			if got := ask(body); !strings.HasPrefix(got, "HTTP/1.1 202") {
				t.Fatal(got)
			}
		}
		<-f.ended // the call is cancelled
		if took := time.Since(start); took < 29*time.Second || took > 31*time.Second {
			t.Errorf("given up after %v", took)
		}
		synctest.Wait()
		if got := ask(ping("3")); !strings.HasPrefix(got, "HTTP/1.1 404") {
			t.Error(got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
