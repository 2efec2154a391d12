package inbound_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

func (w *web) delete(path string, headers ...string) answer {
	w.t.Helper()
	a, err := w.do(context.Background(), http.MethodDelete, path, "", headers...)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func TestSessionOutlivesARestart(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 16)
	f := newFake()
	first := serve(t, newServer(t, f, inbound.Options{SessionKey: key}))
	session := first.join("2025-03-26")
	first.stop()

	again := serve(t, newServer(t, f, inbound.Options{SessionKey: key}))
	again.want(again.post(call("1", "echo", "{}"), session), 200, `"client":"c"`)
	// What was negotiated is still known: batches are of 2025-03-26 only.
	again.want(again.post("["+ping("1")+"]", session), 200, "["+pong("1")+"]")

	other := serve(t, newServer(t, f, inbound.Options{SessionKey: bytes.Repeat([]byte("x"), 16)}))
	other.want(other.post(ping("1"), session), 404)
	random := serve(t, newServer(t, f, inbound.Options{}))
	random.want(random.post(ping("1"), session), 404)
}

func TestSessionIDs(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{}))
	session := w.join("2025-06-18")
	id := strings.TrimPrefix(session, "Mcp-Session-Id: ")
	if strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || len(id) < 22 {
		t.Fatalf("%q is no good session id", id)
	}
	if w.join("2025-06-18") == session {
		t.Fatal("two sessions have one id")
	}
	w.want(w.post(ping("1"), session), 200)
	w.want(w.post(ping("1")), 400, `"id":1`, "Mcp-Session-Id header is missing")
	w.want(w.post(initialized), 400)
	w.want(w.delete("/mcp"), 400)
	for _, forged := range []string{"x", id[:len(id)-1], id + "A", flip(id, 0), flip(id, len(id)-1), strings.Repeat("A", 100), strings.Repeat("A", 10_000)} {
		w.want(w.post(ping("1"), "Mcp-Session-Id: "+forged), 404, `"id":1`, "send initialize again")
		w.want(w.delete("/mcp", "Mcp-Session-Id: "+forged), 404)
	}
	// It belongs to its endpoint.
	a, err := w.do(context.Background(), "POST", "/u/crm/mcp", ping("1"), session)
	if err != nil || a.status != 404 {
		t.Fatal(a, err)
	}
	w.want(w.delete("/u/crm/mcp", session), 404)
	w.want(w.post(ping("1"), session, "Mcp-Protocol-Version: 2025-06-18"), 200)
	w.want(w.post(ping("1"), session, "Mcp-Protocol-Version: 1999-01-01"), 400, `"code":-32022`)

	w.want(w.delete("/mcp", session), 204)
	w.want(w.post(ping("1"), session), 404)
	w.want(w.delete("/mcp", session), 404)
}

// flip changes the lowest bit of one of the id's letters. In the last letter
// that may be another spelling of the same bytes.
func flip(id string, at int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	n := strings.IndexByte(alphabet, id[at])
	return id[:at] + string(alphabet[n^1]) + id[at+1:]
}

func TestTerminationEndsCallsAndStreams(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := w.join("2025-11-25")
	next, _ := w.events("GET", "/mcp", "", session)
	go func() { _, _ = w.do(context.Background(), "POST", "/mcp", call("1", "block", "{}"), session) }()
	f.awaitEntered(t, 1)
	w.want(w.delete("/mcp", session), 204)
	f.awaitCancelled(t)
	if got, ok := next(); ok {
		t.Fatal("instead of the end of the stream: " + got)
	}
	eventually(t, "the subscription ends", func() bool { return f.subscribers() == 0 })
}

const changedNote = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`

func TestNotificationStreams(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	session, other := w.join("2025-11-25"), w.join("2025-11-25")
	older, _ := w.events("GET", "/mcp", "", session)
	newer, endNewer := w.events("GET", "/mcp", "", session)
	theirs, _ := w.events("GET", "/mcp", "", other)
	f.changed()
	for _, next := range []func() (string, bool){newer, theirs} {
		if got, _ := next(); got != changedNote {
			t.Fatal(got)
		}
	}
	// One stream of a session gets a message; when it is gone, the other does.
	endNewer()
	told := first(older)
	eventually(t, "the older stream takes over", func() bool {
		f.changed()
		if got, _ := theirs(); got != changedNote {
			t.Fatal(got)
		}
		select {
		case <-time.After(20 * time.Millisecond):
			return false
		case got := <-told:
			return got == changedNote
		}
	})
	if n := f.subscribers(); n != 2 {
		t.Fatalf("%d subscriptions of 2 sessions", n)
	}
	a, err := w.do(context.Background(), "GET", "/mcp", "", session, "Accept: application/json")
	if err != nil || a.status != 406 {
		t.Fatal(a, err)
	}
}

// A message goes to one stream of a session, not to all.
func TestOneStreamGetsAMessage(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := w.join("2025-11-25")
	older, _ := w.events("GET", "/mcp", "", session)
	newer, _ := w.events("GET", "/mcp", "", session)
	for range 20 {
		f.changed()
		if got, _ := newer(); got != changedNote {
			t.Fatal(got)
		}
	}
	w.want(w.delete("/mcp", session), 204)
	if got, ok := older(); ok {
		t.Fatal("a second copy: " + got)
	}
}

func first(next func() (string, bool)) <-chan string {
	out := make(chan string, 1)
	go func() {
		got, _ := next()
		out <- got
	}()
	return out
}

// A change while no stream is open is told on the next one.
func TestMissedChangeIsToldLater(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := w.join("2025-11-25")
	_, end := w.events("GET", "/mcp", "", session)
	end()
	h := http.Header{}
	h.Set("Mcp-Session-Id", strings.TrimPrefix(session, "Mcp-Session-Id: "))
	eventually(t, "the change is told", func() bool {
		// The end of the first stream may not have been noticed yet.
		f.changed()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		a, _ := w.do(ctx, "GET", "/mcp", "", session, "Accept: text/event-stream")
		return strings.Contains(a.body, changedNote)
	})
}

func TestTooManyStreams(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{}))
	session := w.join("2025-11-25")
	for range 4 {
		w.events("GET", "/mcp", "", session)
	}
	a, err := w.do(context.Background(), "GET", "/mcp", "", session, "Accept: text/event-stream")
	if err != nil || a.status != 409 {
		t.Fatal(a, err)
	}
}

// serveOnce runs a request without a network, for tests about time.
func serveOnce(ctx context.Context, h http.Handler, method, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, "http://localhost/mcp", strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Content-Type", "application/json")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestStreamShowsSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newServer(t, newFake(), inbound.Options{}).Handler()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Second)
		defer cancel()
		session := "Mcp-Session-Id: " + serveOnce(ctx, h, "POST", initialize("2025-11-25")).Header().Get("Mcp-Session-Id")
		w := serveOnce(ctx, h, "GET", "", session)
		if n := strings.Count(w.Body.String(), ": alive\n\n"); n != 5 { // at once and each 15 s
			t.Fatalf("%d signs of life in a minute", n)
		}
	})
}

// What we keep of a session goes after an hour without use; its id stays good.
func TestIdleSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := newServer(t, f, inbound.Options{}).Handler()
		join := func() string {
			return "Mcp-Session-Id: " + serveOnce(t.Context(), h, "POST", initialize("2025-11-25")).Header().Get("Mcp-Session-Id")
		}
		session := join()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		serveOnce(ctx, h, "GET", "", session) // it subscribes, and stays subscribed
		time.Sleep(59 * time.Minute)
		join()
		if n := f.subscribers(); n != 1 {
			t.Fatalf("%d subscriptions after 59 minutes", n)
		}
		time.Sleep(2 * time.Minute)
		join()
		if n := f.subscribers(); n != 0 {
			t.Fatalf("%d subscriptions after 61 minutes", n)
		}
		if w := serveOnce(t.Context(), h, "POST", ping("1"), session); w.Code != 200 {
			t.Fatal(w.Code)
		}
	})
}

// A legacy call may take as long as it takes, also if the client leaves.
func TestLongCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := newServer(t, f, inbound.Options{}).Handler()
		session := "Mcp-Session-Id: " + serveOnce(t.Context(), h, "POST", initialize("2025-11-25")).Header().Get("Mcp-Session-Id")
		time.AfterFunc(2*time.Hour, func() { close(f.release) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if w := serveOnce(ctx, h, "POST", call("1", "block", "{}"), session); w.Code != 200 || !strings.Contains(w.Body.String(), `"content"`) {
			t.Fatal(w.Code, w.Body)
		}
	})
}
