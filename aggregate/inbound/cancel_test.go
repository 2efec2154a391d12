package inbound_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

func TestCancellation(t *testing.T) {
	f := newFake()
	s := newServer(t, f, inbound.Options{})
	a, b := dial(t, s), dial(t, s)
	a.send(cancelled("1")) // of nothing
	a.send(call("1", "block", "{}"), call(`"1"`, "block", "{}"))
	b.send(call("1", "block", "{}"))
	f.awaitEntered(t, 3)
	a.send(cancelled("2"), cancelled(`1.0`), `{"jsonrpc":"2.0","method":"notifications/cancelled"}`, ping("3"))
	a.want(pong("3"))
	if n := f.running(); n != 3 {
		t.Fatalf("%d calls are left of 3", n)
	}
	a.send(cancelled("1"))
	f.awaitCancelled(t)
	eventually(t, "one call ends", func() bool { return f.running() == 2 })
	close(f.release)
	a.want(`{"jsonrpc":"2.0","id":"1","result":{"content":[]}}`)
	b.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	a.send(cancelled(`"1"`)) // of what is answered
	a.send(call("1", "echo", "1"))
	if got := a.recv(); !strings.Contains(got, `"id":1,"result"`) {
		t.Fatal(got)
	}
	a.end()
	b.end()
}

func TestIDInUseIsRefused(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(call("5", "block", "{}"))
	f.awaitEntered(t, 1)
	for _, line := range []string{call("5", "echo", "{}"), ping("5"), request("5", "tools/list", "{}")} {
		w.send(line)
		w.want(`{"jsonrpc":"2.0","id":5,"error":{"code":-32600,"message":"a request with the id 5 is still under way"}}`)
	}
	close(f.release)
	w.want(`{"jsonrpc":"2.0","id":5,"result":{"content":[]}}`)
	w.end()
}

// A client that cancelled a request may use its id at once, however long the
// work takes to notice; the late end of the old request is not the new one's.
func TestIDIsFreeOnceCancelled(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(call("1", "stubborn", "{}"))
	f.awaitEntered(t, 1)
	w.send(cancelled("1"), call("1", "block", "{}"))
	f.awaitEntered(t, 1)
	w.send(cancelled("1"))
	f.awaitCancelled(t)
	w.send(call("1", "block", "{}"))
	f.awaitEntered(t, 1)
	close(f.release)
	w.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	w.end()
}

// Subscriptions that stay open are not calls under way.
func TestOpenSubscriptionsDoNotCrowdOutCalls(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{MaxInFlight: 1}))
	listen := request("1", "subscriptions/listen", `{"notifications":{"toolsListChanged":true},"_meta":`+modernMeta+`}`)
	next, _ := w.events("POST", "/mcp", listen, modern("subscriptions/listen", "")...)
	next()
	a := w.post(modernCall("1", "echo", "{}"), modern("tools/call", "echo")...)
	w.want(a, 200, `"structuredContent"`)
	a = w.post(listen, append(modern("subscriptions/listen", ""), "Accept: text/event-stream")...)
	w.want(a, 200, "overloaded: ")
}

// When nobody can be answered any more there is nothing to drain for, whether
// the input ended before or not.
func TestBrokenOutputDoesNotDrain(t *testing.T) {
	for _, tool := range []string{"block", "stubborn"} {
		for _, eof := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				s := newServer(t, f, inbound.Options{Drain: time.Hour})
				r, w := io.Pipe()
				out, outEnd := io.Pipe()
				done := make(chan error, 1)
				start := time.Now()
				go func() { done <- s.ServeStdio(context.Background(), r, outEnd) }()
				_, _ = io.WriteString(w, call("1", tool, "{}")+"\n"+ping("2")+"\n")
				f.awaitEntered(t, 1)
				if eof {
					w.Close()
				}
				synctest.Wait()
				out.Close() // the pong is being written
				if err := <-done; err == nil || time.Since(start) > 10*time.Second {
					t.Errorf("%s, end of input %v: after %v: %v", tool, eof, time.Since(start), err)
				}
				close(f.release)
				w.Close()
			})
		}
	}
}
