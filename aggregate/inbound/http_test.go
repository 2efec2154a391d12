package inbound_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func Test200CallsOfOneHTTPSessionRunAtOnce(t *testing.T) {
	for _, era := range []string{"legacy", "modern"} {
		t.Run(era, func(t *testing.T) {
			f := newFake()
			w := serve(t, newServer(t, f, inbound.Options{}))
			headers, text := modern("tools/call", "block"), modernCall
			if era == "legacy" {
				headers, text = []string{w.join("2025-11-25")}, call
			}
			const n = 200
			bodies := make(chan string, n)
			for i := range n {
				go func() {
					a, err := w.do(context.Background(), "POST", "/mcp", text(fmt.Sprint(i), "block", "{}"), headers...)
					bodies <- fmt.Sprint(a.body, err)
				}()
			}
			f.awaitEntered(t, n)
			if got := f.running(); got != n {
				t.Fatalf("%d calls are running", got)
			}
			if era == "legacy" {
				w.want(w.post(ping("1000"), headers...), 200, pong("1000"))
				w.want(w.post(request("1001", "tools/list", "{}"), headers...), 200, echoTool)
			} else {
				w.want(w.post(request("7", "tools/list", `{"_meta":`+modernMeta+`}`), modern("tools/list", "")...), 200, echoTool)
			}
			close(f.release)
			seen := map[string]bool{}
			for range n {
				seen[<-bodies] = true
			}
			if len(seen) != n || !seen[`{"jsonrpc":"2.0","id":199,"result":{"content":[]}}<nil>`] {
				t.Fatalf("%d different answers", len(seen))
			}
		})
	}
}

func TestLegacyCancellationOverHTTP(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	alice, bob := w.join("2025-11-25"), w.join("2025-11-25")
	got := make(chan answer, 2)
	for _, who := range []string{alice, bob} {
		go func() {
			a, err := w.do(context.Background(), "POST", "/mcp", call("1", "block", "{}"), who)
			if err != nil {
				t.Error(err)
			}
			got <- a
		}()
	}
	f.awaitEntered(t, 2)
	w.want(w.post(call("1", "echo", "{}"), bob), 400, "still under way")
	w.want(w.post(cancelled("1"), bob), 202)
	f.awaitCancelled(t)
	// Whoever cancelled expects no answer.
	if a := <-got; a.status != http.StatusAccepted || a.body != "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	// A modern client's notification reaches nobody's call.
	w.want(w.post(cancelled("1"), "Mcp-Protocol-Version: 2026-07-28"), 202)
	if n := f.running(); n != 1 {
		t.Fatalf("%d calls are left of 1", n)
	}
	close(f.release)
	w.want(<-got, 200, `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
}

func TestDisconnectCancelsModernCallsOnly(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := w.join("2025-11-25")
	leave := func(body string, headers ...string) {
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if _, err := w.do(ctx, "POST", "/mcp", body, headers...); err == nil {
				t.Error("answered")
			}
		}()
		f.awaitEntered(t, 1)
		cancel()
		<-gone
	}
	leave(call("1", "block", "{}"), session)
	leave(modernCall("1", "block", "{}"), modern("tools/call", "block")...)
	f.awaitCancelled(t)
	eventually(t, "the modern call ends", func() bool { return f.running() == 1 })
	w.want(w.post(cancelled("1"), session), 202) // it can still be cancelled
	f.awaitCancelled(t)
}

func TestModernOverHTTP(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	body := modernCall("1", "echo", "{}")
	a := w.post(body, append(modern("tools/call", "echo"), "Mcp-Session-Id: whatever")...)
	w.want(a, 200, `"modern":true`)
	if a.header.Get("Mcp-Session-Id") != "" {
		t.Fatal("a modern client was given a session")
	}
	if r := f.request(); r.Session != "" || r.Client != "m" {
		t.Fatalf("%+v", r)
	}
	w.want(w.post(body, append(modern("tools/call", "=?base64?ZWNobw==?="), "mcp-param-region: eu", "Authorization: Bearer canary")...), 200, `"modern":true`)
	if h := f.request().Header; len(h) != 1 || h.Get("Mcp-Param-Region") != "eu" {
		t.Errorf("the service sees the fields %v", h)
	}
	session := w.join("2025-11-25")
	w.want(w.post(call("1", "echo", "{}"), session, "mcp-param-region: eu"), 200, `"modern":false`)
	if h := f.request().Header; h != nil {
		t.Errorf("the service sees the fields %v of a legacy client", h)
	}

	noMeta := call("1", "echo", "{}")
	future := strings.ReplaceAll(body, "2026-07-28", "2027-01-01")
	noCaps := strings.ReplaceAll(body, `"io.modelcontextprotocol/clientCapabilities":{},`, "")
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		part       string
	}{
		{"no name", body, modern("tools/call", ""), 400, `"code":-32020`},
		{"other name", body, modern("tools/call", "other"), 400, `"code":-32020`},
		{"broken name", body, modern("tools/call", "=?base64?***?="), 400, `"code":-32020`},
		{"other method", body, modern("tools/list", "echo"), 400, `"code":-32020`},
		{"no method", body, modern("", "")[:1], 400, `"code":-32020`},
		{"no version", body, modern("tools/call", "echo")[1:], 400, `"code":-32020`},
		{"legacy version in the header", body, []string{"Mcp-Protocol-Version: 2025-11-25"}, 400, `"code":-32020`},
		{"legacy version in the body", strings.ReplaceAll(body, "2026-07-28", "2025-11-25"), modern("tools/call", "echo"), 400, `"code":-32020`},
		{"no such version in the body, another in the header", strings.ReplaceAll(body, "2026-07-28", "v999.0.0"), modern("tools/call", "echo"), 400, `"code":-32020`},
		{"no such version in the body, none in the header", strings.ReplaceAll(body, "2026-07-28", "v999.0.0"), nil, 400, `"code":-32022`},
		{"a version in the header only", noMeta, []string{"Mcp-Protocol-Version: 2027-01-01"}, 400, `"code":-32022`},
		{"no _meta", noMeta, modern("tools/call", "echo"), 400, `"code":-32602`},
		{"no capabilities", noCaps, modern("tools/call", "echo"), 400, `"code":-32602`},
		{"future version", future, []string{"Mcp-Protocol-Version: 2027-01-01", "Mcp-Method: tools/call", "Mcp-Name: echo"}, 400,
			`"code":-32022,"message":"protocol version \"2027-01-01\" is not supported","data":{"supported":["2026-07-28",`},
		{"unknown method", request("1", "no/such", `{"_meta":`+modernMeta+`}`), modern("no/such", ""), 404, `"code":-32601`},
		{"removed method", request("1", "ping", `{"_meta":`+modernMeta+`}`), modern("ping", ""), 404, `"code":-32601`},
		{"unknown tool", modernCall("1", "none", "{}"), modern("tools/call", "none"), 200, `"code":-32602`},
		{"discover", request("1", "server/discover", `{"_meta":`+modernMeta+`}`), modern("server/discover", ""), 200, `"instructions":"Use echo."`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			w.want(w.post(c.body, c.headers...), c.status, c.part, `"id":1`)
		})
	}
	w.t = t
	for _, method := range []string{"GET", "DELETE", "PUT"} {
		a, err := w.do(context.Background(), method, "/mcp", "", "Mcp-Protocol-Version: 2026-07-28")
		if err != nil || a.status != 405 || a.header.Get("Allow") != "POST" {
			t.Errorf("%s: %d %v", method, a.status, err)
		}
	}
}

func TestEndpointsOfUpstreams(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{}))
	a, err := w.do(context.Background(), "POST", "/u/crm/mcp", modernCall("1", "echo", "{}"), modern("tools/call", "echo")...)
	if err != nil || a.status != 200 {
		t.Fatal(a, err)
	}
	a, err = w.do(context.Background(), "POST", "/u/none/mcp", modernCall("1", "echo", "{}"), modern("tools/call", "echo")...)
	if err != nil || a.status != 404 || !strings.Contains(a.body, `there is no upstream`) {
		t.Fatal(a, err)
	}
}

func TestListenOverHTTP(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	listen := request("1", "subscriptions/listen", `{"notifications":{"toolsListChanged":true},"_meta":`+modernMeta+`}`)
	a, end := w.events("POST", "/mcp", listen, modern("subscriptions/listen", "")...)
	b, _ := w.events("POST", "/mcp", listen, modern("subscriptions/listen", "")...) // equal ids are fine
	for _, next := range []func() (string, bool){a, b} {
		if got, _ := next(); !strings.Contains(got, "acknowledged") {
			t.Fatal(got)
		}
	}
	f.changed()
	const note = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}`
	for _, next := range []func() (string, bool){a, b} {
		if got, _ := next(); got != note {
			t.Fatal(got)
		}
	}
	end()
	eventually(t, "closing the stream ends the subscription", func() bool { return f.subscribers() == 1 })
	w.want(w.post(listen, append(modern("subscriptions/listen", ""), "Accept: application/json")...), 406)
	w.want(w.post(strings.Replace(listen, "{\"toolsListChanged\":true}", "3", 1), append(modern("subscriptions/listen", ""), "Accept: text/event-stream")...), 200, `"code":-32602`)
	go w.stop()
	if got, _ := b(); got != `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}` {
		t.Fatal(got)
	}
	if got, ok := b(); ok {
		t.Fatal("after the end: " + got)
	}
	w.stop()
}

func TestStopDrains(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := w.join("2025-11-25")
	got := make(chan answer, 1)
	go func() {
		a, err := w.do(context.Background(), "POST", "/mcp", call("1", "block", "{}"), session)
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	f.awaitEntered(t, 1)
	next, _ := w.events("GET", "/mcp", "", session)
	stopped := make(chan struct{})
	go func() { defer close(stopped); w.stop() }()
	if got, ok := next(); ok {
		t.Fatal("instead of the end of the stream: " + got)
	}
	eventually(t, "the port is closed", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(f.release)
	w.want(<-got, 200, `"content":[]`)
	<-stopped
}

func TestStopIsBounded(t *testing.T) {
	f := newFake()
	var ending atomic.Int64
	w := serve(t, newServer(t, f, inbound.Options{Drain: 20 * time.Millisecond, Ending: func() { ending.Add(1) }}))
	session := w.join("2025-11-25")
	got := make(chan error, 1)
	go func() {
		_, err := w.do(context.Background(), "POST", "/mcp", call("1", "block", "{}"), session)
		got <- err
	}()
	f.awaitEntered(t, 1)
	w.stop()
	if why := <-f.ended; !errors.Is(why, upstream.ErrStopping) || !errors.Is(why, context.Canceled) {
		t.Errorf("the call ended because of %v", why)
	}
	if n := ending.Load(); n != 1 {
		t.Errorf("it was said to be ending %d times", n)
	}
	<-got
}

func TestPortTakenAway(t *testing.T) {
	s := newServer(t, newFake(), inbound.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.Serve(context.Background(), ln); err == nil {
		t.Fatal("no error for a listener that is closed")
	}
}
