package inbound_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

func batchOf(n int) string {
	var items []string
	for i := range n {
		items = append(items, call(fmt.Sprint(i), "block", "{}"))
	}
	return "[" + strings.Join(items, ",") + "]"
}

func TestBatchRunsAtOnceOnStdio(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.handshake("2025-03-26")
	const n = 50
	w.send(batchOf(n))
	f.awaitEntered(t, n)
	w.send(ping(`"p"`), call("3", "echo", "{}"))
	w.want(pong(`"p"`))
	if got := w.recv(); !strings.Contains(got, "still under way") {
		t.Fatal(got)
	}
	w.send(cancelled("3"))
	f.awaitCancelled(t)
	close(f.release)
	got := w.recv()
	if strings.Count(got, `"result"`) != n-1 || strings.Contains(got, `"id":3,`) || !strings.HasPrefix(got, `[{"jsonrpc":"2.0","id":0,`) {
		t.Fatal(got)
	}
	w.end()
}

func TestBatchRunsAtOnceOverHTTP(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := w.join("2025-03-26")
	got := make(chan answer, 1)
	go func() {
		a, err := w.do(context.Background(), "POST", "/mcp", batchOf(3), session)
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	f.awaitEntered(t, 3)
	w.want(w.post("["+cancelled("0")+","+cancelled("1")+"]", session), 202)
	f.awaitCancelled(t)
	f.awaitCancelled(t)
	close(f.release)
	w.want(<-got, 200, `[{"jsonrpc":"2.0","id":2,"result":{"content":[]}}]`)
}

// A batch beyond the limit is answered in part, and its places come back.
func TestBatchIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := dial(t, newServer(t, f, inbound.Options{MaxInFlight: 5}))
		w.handshake("2025-03-26")
		for range 3 {
			w.send(batchOf(8))
			f.awaitEntered(t, 5)
			for i := range 5 {
				w.send(cancelled(fmt.Sprint(i)))
				f.awaitCancelled(t)
			}
			if got := w.recv(); strings.Count(got, "overloaded: ") != 3 || strings.Count(got, `"id"`) != 3 {
				t.Fatal(got)
			}
			synctest.Wait() // the places come back just after the answer
		}
		w.end()
	})
}

// A text of a few megabytes must not become hundreds of megabytes of answers.
func TestBatchHasALimit(t *testing.T) {
	w := dial(t, newServer(t, newFake(), inbound.Options{}))
	w.handshake("2025-03-26")
	w.send("[" + strings.Repeat("0,", 1000) + "0]")
	w.want(`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the batch has more than 1000 messages"}}`)
	w.send("[" + strings.Repeat("0,", 999) + "0]")
	if got := w.recv(); strings.Count(got, "-32600") != 1000 {
		t.Fatal(got)
	}
	w.end()
}

func TestInitializedInABatch(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(initialize("2025-03-26"))
	w.recv()
	w.send("[" + initialized + "," + ping("1") + "]")
	w.want("[" + pong("1") + "]")
	eventually(t, "the client is subscribed", func() bool { return f.subscribers() == 1 })
	f.changed()
	w.want(changedNote)
	w.end()
}

func TestModernClientsHaveNoBatches(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{}))
	w.want(w.post("["+modernCall("1", "echo", "{}")+"]", modern("tools/call", "echo")...), 400, "batches exist in protocol version 2025-03-26 only")
}
