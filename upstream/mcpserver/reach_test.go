package mcpserver_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// TestBlackHoleBehindAStream: the stream that is still open does not make a
// server count as up that takes no message any more.
func TestBlackHoleBehindAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hole atomic.Bool
		o := &older{}
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			if hole.Load() {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			if r.Method != http.MethodGet {
				w := httptest.NewRecorder()
				o.ServeHTTP(w, r)
				return w.Result(), nil
			}
			body, w := io.Pipe()
			go func() {
				<-r.Context().Done()
				_ = body.Close()
			}()
			go o.ServeHTTP(pipeWriter{w}, r)
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: body, Request: r}, nil
		})
		a := mcpserver.NewSSE(mcpserver.Options{ID: "fake"}, "http://crm.invalid/sse", &http.Client{Transport: rt})
		go func() { _ = a.Watch(t.Context(), upstream.Events{}) }()
		wantText(t, a, "hi", "hi")

		hole.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := call(ctx, a, "echo", `{}`)
		wantKind(t, err, upstream.Timeout, false)
		time.Sleep(11 * time.Second)
		if h := a.Health(); h.State != upstream.Down || !strings.Contains(h.Err, "cannot be reached") {
			t.Errorf("health is %+v", h)
		}
		hole.Store(false)
		time.Sleep(2 * time.Minute)
		wantText(t, a, "hi", "hi")
		_ = a.Close()
	})
}

// pipeWriter is a response that is read while it is written.
type pipeWriter struct{ *io.PipeWriter }

func (pipeWriter) Header() http.Header { return http.Header{} }
func (pipeWriter) WriteHeader(int)     {}
func (pipeWriter) Flush()              {}

// TestBlackHole: an address that swallows everything after it has worked is
// down within a bounded time, though no caller waits long enough to see a
// failure of the transport.
func TestBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hole atomic.Bool
		l := &legacy{}
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			if hole.Load() {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			w := httptest.NewRecorder()
			l.ServeHTTP(w, r)
			return w.Result(), nil
		})
		a := mcpserver.NewHTTP(mcpserver.Options{ID: "fake"}, "http://crm.invalid/", &http.Client{Transport: rt})
		go func() { _ = a.Watch(t.Context(), upstream.Events{}) }()
		wantText(t, a, "hi", "hi")

		hole.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := call(ctx, a, "echo", `{}`)
		wantKind(t, err, upstream.Timeout, false)
		if h := a.Health(); h.State != upstream.Up {
			t.Errorf("one call that ended early took the server down: %+v", h)
		}
		time.Sleep(11 * time.Second)
		if h := a.Health(); h.State != upstream.Down || !strings.Contains(h.Err, "cannot be reached") {
			t.Errorf("health is %+v", h)
		}
		began := time.Now()
		_, err = call(t.Context(), a, "echo", `{}`)
		wantKind(t, err, upstream.Unavailable, false)
		if took := time.Since(began); took > time.Second {
			t.Errorf("a call while it is down took %v", took)
		}

		hole.Store(false)
		time.Sleep(2 * time.Minute)
		wantText(t, a, "hi", "hi")
		_ = a.Close()
	})
}

// TestSlowIsNotAway: a server that is connected but takes its time stays up.
func TestSlowIsNotAway(t *testing.T) {
	l := &legacy{onCall: func(_ http.ResponseWriter, r *http.Request, m *fakeMsg) bool {
		if m.Params.Name == "sleep" {
			<-r.Context().Done()
		}
		return m.Params.Name == "sleep"
	}}
	a := startHTTP(t, l)
	wantText(t, a, "hi", "hi")
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := call(ctx, a, "sleep", `{}`)
		cancel()
		if err == nil {
			t.Fatal("the call was answered")
		}
	}
	wantText(t, a, "hi", "hi")
	if h := a.Health(); h.State != upstream.Up || h.Restarts != 0 {
		t.Errorf("health is %+v", h)
	}
}

// TestStreamThatHangsUp: a server that ends the connection where it should
// refuse the stream of notifications is fit for calls.
func TestStreamThatHangsUp(t *testing.T) {
	l := &legacy{onGet: func(w http.ResponseWriter, _ *http.Request) {
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = c.Close()
		}
	}}
	a := startHTTP(t, l)
	for limit := time.Now().Add(hanging); l.gets.Load() < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the stream was not asked for again")
		}
	}
	wantText(t, a, "hi", "hi")
	if h := a.Health(); h.State != upstream.Up || h.Restarts != 0 || l.inits.Load() != 1 {
		t.Errorf("health is %+v after %d handshakes", h, l.inits.Load())
	}
}

// TestGoneInTheMiddle: a server that goes away while it is at a request is down
// although nobody calls it again.
func TestGoneInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		var asked atomic.Int64
		l := &legacy{}
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			if gone.Load() {
				if asked.Add(1) == 1 { // it was written to a connection that broke
					httptrace.ContextClientTrace(r.Context()).WroteHeaders()
					return nil, io.ErrUnexpectedEOF
				}
				return nil, syscall.ECONNREFUSED
			}
			w := httptest.NewRecorder()
			l.ServeHTTP(w, r)
			return w.Result(), nil
		})
		a := mcpserver.NewHTTP(mcpserver.Options{ID: "fake"}, "http://crm.invalid/mcp", &http.Client{Transport: rt})
		go func() { _ = a.Watch(t.Context(), upstream.Events{}) }()
		wantText(t, a, "hi", "hi")
		gone.Store(true)
		_, err := call(t.Context(), a, "echo", `{}`)
		wantKind(t, err, upstream.Unavailable, true)
		time.Sleep(time.Second)
		if h := a.Health(); h.State != upstream.Down {
			t.Errorf("health is %+v", h)
		}
		if n := asked.Load(); n > 10 {
			t.Errorf("it was asked %d times in a second", n)
		}
		_ = a.Close()
	})
}

// TestCancelledByAnother: a request that fails because another one was cancelled
// on the same connection is sent again, and nobody takes the server for lost.
func TestCancelledByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cut atomic.Int64
		l := &legacy{}
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			if cut.Add(-1) >= 0 {
				return nil, context.Canceled
			}
			w := httptest.NewRecorder()
			l.ServeHTTP(w, r)
			return w.Result(), nil
		})
		a := mcpserver.NewHTTP(mcpserver.Options{ID: "fake"}, "http://crm.invalid/mcp", &http.Client{Transport: rt})
		go func() { _ = a.Watch(t.Context(), upstream.Events{}) }()
		wantText(t, a, "hi", "hi")
		cut.Store(2)
		wantText(t, a, "hi", "hi")
		cut.Store(10)
		_, err := call(t.Context(), a, "echo", `{}`)
		wantKind(t, err, upstream.Unavailable, false)
		if h := a.Health(); h.State != upstream.Up || h.Restarts != 0 {
			t.Errorf("health is %+v", h)
		}
		cut.Store(0)
		wantText(t, a, "hi", "hi")
		_ = a.Close()
	})
}
