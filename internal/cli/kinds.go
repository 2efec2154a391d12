package cli

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// kinds builds what speaks to an upstream that is no MCP server, by its kind.
var kinds = map[string]func(context.Context, *wiring, config.Upstream, *atomic.Pointer[signIn]) (upstream.Adapter, error){
	"graphql": newGraphQL,
	"openapi": newOpenAPI,
	"rest":    newREST,
	"sql":     newSQL,
}

// checks finds what is wrong with such an upstream apart from its credential.
var checks = map[string]func(config.Upstream) error{
	"graphql": checkGraphQL,
	"sql":     checkSQL,
}

// reader reads configurations with all that is known here.
func reader() config.Reader {
	return config.Reader{Presets: presets, CheckJQ: shaping.CheckJQ, Check: func(u config.Upstream) config.Faults {
		check := checks[u.Kind]
		if check == nil {
			return nil
		}
		if err := check(u); err != nil {
			return buildFaults(u.Name, err)
		}
		return nil
	}}
}

// presets returns what stands under an upstream's own table.
func presets(base string, u map[string]any) (map[string]any, config.Faults) {
	kind, ok := u["kind"].(string)
	if _, named := u["connector"]; kind == "rest" || named && !ok {
		return restPresets(base, u)
	}
	if !ok || kind == "mcp" {
		return nil, nil
	}
	return sourcePresets(), nil
}

// sourcePresets returns what stands under the table of every upstream that is no
// MCP server. What writes is not even listed until the operator says that it may be
// called. The descriptions that say what reads are the operator's or ours. An
// answer is decoded and written anew, which takes a few times its size in memory.
func sourcePresets() map[string]any {
	return map[string]any{"writes": "deny", "trust_annotations": true, "max_message": "16MiB"}
}

// httpSide is how an upstream is asked over HTTP.
type httpSide struct {
	client *http.Client
	// clientFor returns the client for a call whose token has other scopes; nil if
	// there are none such.
	clientFor func(*upstream.Call) *http.Client
	// value returns a member of the answer that the token in use came with.
	value   func(ctx context.Context, c *upstream.Call, member string) (string, error)
	users   *userSides // nil if all calls are made with one sign-in
	release func()     // lets go of connections and of the sign-in
}

// of returns the client for a call.
func (h *httpSide) of(c *upstream.Call) *http.Client {
	if h.clientFor != nil {
		if own := h.clientFor(c); own != nil {
			return own
		}
	}
	return h.client
}

// around returns an adapter that is asked this way as it is handed on.
func (h *httpSide) around(a plain) upstream.Adapter {
	closing := closingPlain{a, h.release}
	if h.users != nil {
		return &forUsers{closing, h.users}
	}
	return &closing
}

// http builds how an upstream with a url is asked, with the credential that its
// auth describes and at the url's origin only.
func (w *wiring) http(ctx context.Context, u config.Upstream, signedIn *atomic.Pointer[signIn]) (*httpSide, error) {
	if u.Auth.PerUser() {
		return eachUser(ctx, w, u)
	}
	if !signsIn(u) {
		g, err := grant(ctx, u, nil)
		if err != nil {
			return nil, err
		}
		base := transport(u)
		return &httpSide{client: g.Client(base), value: (*signIn)(nil).value, release: base.CloseIdleConnections}, nil
	}
	s, err := w.signIn(ctx, u)
	if err != nil {
		return nil, err
	}
	signedIn.Store(s)
	return signedHTTP(ctx, u, s, transport(u), s.closing(ctx))
}

// transport is the bottom of all requests to an upstream, of one alone.
func transport(u config.Upstream) *egress.Transport {
	return egress.New(max(idleConns, u.Limit.Concurrency))
}

// signIn builds what gets the tokens of an upstream.
func (w *wiring) signIn(ctx context.Context, u config.Upstream) (*signIn, error) {
	var store credentials.Store
	if u.Auth.Interactive() {
		var err error
		if store, err = w.shelf.get(ctx); err != nil {
			return nil, err
		}
	}
	s, err := newSignIn(ctx, u, store, w.complain(u.Name))
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return s, nil
}

// signedHTTP is how an upstream is asked over base with the tokens of s. Its release
// lets go of base's connections, and then of s by signedOff.
func signedHTTP(ctx context.Context, u config.Upstream, s *signIn, base *egress.Transport, signedOff func()) (*httpSide, error) {
	g, err := grant(ctx, u, s)
	if err != nil {
		return nil, err
	}
	clients := s.clients(g, base)
	h := &httpSide{client: clients[readSet], value: s.value, release: func() {
		base.CloseIdleConnections()
		signedOff()
	}}
	if len(clients) > 1 {
		h.clientFor = func(c *upstream.Call) *http.Client { return clients[setOf(u, c)] }
	}
	return h, nil
}

// plain is an adapter of a kind that keeps no connection of its own.
type plain interface {
	upstream.Adapter
	upstream.Reporter
	upstream.Drifter
	upstream.Hider
}

// closingPlain lets go of what its adapter was built on when it is closed.
type closingPlain struct {
	plain
	release func()
}

// Close implements upstream.Adapter.
func (c *closingPlain) Close() error {
	err := c.plain.Close()
	c.release()
	return err
}
