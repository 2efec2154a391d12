package mcpserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

func TestFallBackIsRemembered(t *testing.T) {
	o := &older{}
	a := newHTTP(t, serve(t, o).URL+"/sse", quickly())
	watch(t, a)
	wantText(t, a, "hi", "hi")
	posts := o.posts.Load()
	if posts != 2 {
		t.Errorf("%d posts to the address of the stream, want one of each era", posts)
	}
	o.mu.Lock()
	for _, s := range o.streams {
		s.end()
	}
	o.mu.Unlock()
	eventually(t, "a second handshake", func() bool { return o.inits.Load() == 2 })
	wantText(t, a, "hi", "hi")
	if n := o.posts.Load(); n != posts {
		t.Errorf("%d more posts after the fall back", n-posts)
	}
}

func TestServerThatMovesOn(t *testing.T) {
	o, l := &older{}, &legacy{}
	var moved atomic.Bool
	a := newHTTP(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if moved.Load() {
			l.ServeHTTP(w, r)
			return
		}
		o.ServeHTTP(w, r)
	})).URL, quickly())
	watch(t, a)
	wantText(t, a, "hi", "hi")
	moved.Store(true)
	o.mu.Lock()
	for _, s := range o.streams {
		s.end()
	}
	o.mu.Unlock()
	eventually(t, "the new transport", func() bool { return l.inits.Load() > 0 })
	wantText(t, a, "hi", "hi")
}

func TestNoFallBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		era  mcpserver.Era
		kind upstream.Kind
		gets bool
	}{
		"nothing there": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "", upstream.UpstreamError, true},
		"endless stream": {func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				w.WriteHeader(404)
				return
			}
			sse(w)
			<-r.Context().Done()
		}, "", upstream.UpstreamError, true},
		"modern only":    {(&older{}).ServeHTTP, mcpserver.Modern, upstream.UpstreamError, false},
		"needs a login":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "", upstream.NeedsLogin, false},
		"is overwhelmed": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "", upstream.Unavailable, false},
		"speaks": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			fmt.Fprint(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"no"}}`)
		}, "", upstream.UpstreamError, false},
	} {
		t.Run(name, func(t *testing.T) {
			var gets atomic.Int64
			o := quickly()
			o.Era, o.ConnectTimeout = c.era, time.Second
			a := newHTTP(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					gets.Add(1)
				}
				c.h(w, r)
			})).URL, o)
			watch(t, a)
			_, err := call(t.Context(), a, "echo", `{}`)
			e, ok := errors.AsType[*upstream.Error](err)
			if !ok || e.Kind != c.kind {
				t.Errorf("the error is %v, want %v", err, c.kind)
			}
			if h := a.Health(); h.State != upstream.Down || h.Why != c.kind {
				t.Errorf("%s for %s", h.State, h.Why.Code())
			}
			if (gets.Load() > 0) != c.gets {
				t.Errorf("%d GET requests", gets.Load())
			}
		})
	}
}
