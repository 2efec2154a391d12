package inbound

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	headerWait  = 10 * time.Second // for the headers of a request
	bodyWait    = 30 * time.Second // for its body
	writeWait   = 5 * time.Minute  // for the client to take an answer, from when it is there
	idleWait    = 2 * time.Minute  // between requests of a connection
	headerBytes = 64 << 10
)

// Handler serves /mcp and /u/{name}/mcp. Streams end only with their requests;
// [Server.Serve] ends them when it stops.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", s.route)
	mux.HandleFunc("/u/{name}/mcp", s.route)
	return s.guard(mux)
}

// exchange is one HTTP request and what it is about.
type exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	name string // of the upstream whose endpoint it is; "" is everything
	svc  Service
	by   upstream.Principal
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, r: r, name: r.PathValue("name"), by: principal(r)}
	var ok bool
	if x.svc, ok = s.lookup(x.name); !ok {
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no upstream %.60q", x.name))
		return
	}
	// Modern clients have neither streams by GET nor sessions to DELETE.
	modern := mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion))
	switch {
	case r.Method == http.MethodPost:
		s.post(x)
	case r.Method == http.MethodGet && !modern:
		s.get(x)
	case r.Method == http.MethodDelete && !modern:
		s.delete(x)
	default:
		w.Header().Set("Allow", map[bool]string{true: "POST", false: corsMethods}[modern])
		refuse(w, http.StatusMethodNotAllowed, r.Method+" is not possible here")
	}
}

// delete ends a legacy session.
func (s *Server) delete(x *exchange) {
	if s.legacySession(x, nil) == nil {
		return
	}
	s.sessions.end(x.r.Header.Get(mcp.HeaderSessionID))
	x.w.WriteHeader(http.StatusNoContent)
}

// legacySession finds the session that a legacy request belongs to. If there is
// none it answers, and returns nil. Nothing sent with the id is an absent id:
// MCP leaves it to the server to demand one (transports, §Session Management).
func (s *Server) legacySession(x *exchange, m *message) *httpSession {
	var rid []byte
	if m != nil {
		rid = m.id
	}
	version := x.r.Header.Get(mcp.HeaderProtocolVersion)
	if version != "" && !mcp.IsValidProtocolVersion(version) {
		x.fail(http.StatusBadRequest, &reply{id: rid, err: unsupportedVersion(version)})
		return nil
	}
	id := x.r.Header.Get(mcp.HeaderSessionID)
	if id == "" {
		x.fail(http.StatusBadRequest, &reply{id: rid, err: invalid(
			"the Mcp-Session-Id header is missing: send initialize and repeat the id of its answer")})
		return nil
	}
	h, ok := s.resume(id, x.name, x.svc, x.by)
	if !ok {
		x.fail(http.StatusNotFound, &reply{id: rid, err: invalid("there is no such session: send initialize again")})
		return nil
	}
	return h
}

// refuse answers a request that did not get as far as JSON-RPC.
func refuse(w http.ResponseWriter, status int, why string) {
	(&exchange{w: w}).fail(status, &reply{err: invalid("%s", why)})
}

// fail writes an answer with a status.
func (x *exchange) fail(status int, r *reply) { x.write(status, r.bytes()) }

// write writes JSON text, in pieces, as the body.
func (x *exchange) write(status int, pieces ...[]byte) {
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(n))
	h.Set("X-Content-Type-Options", "nosniff")
	// Errors below mean that the client is gone: nobody is left to be told.
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(writeWait))
	x.w.WriteHeader(status)
	for _, p := range pieces {
		if _, err := x.w.Write(p); err != nil {
			return
		}
	}
}

type baseKey struct{}

// detached returns the context of work that does not end when the client
// leaves: a legacy client cancels by a notification only (MCP 2025-11-25,
// transports, §Sending Messages). It ends when the server does.
func detached(r *http.Request) context.Context {
	if base, ok := r.Context().Value(baseKey{}).(context.Context); ok {
		return base
	}
	return context.WithoutCancel(r.Context())
}

// Serve serves HTTP on ln until ctx ends. Then it accepts no more, ends the
// notification streams, lets requests in flight finish for the drain time,
// cancels what is left, and returns: nil, or why it could not go on. It closes
// ln. A Server serves HTTP once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	var work group
	handler := s.Handler()
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !work.enter() {
				refuse(w, http.StatusServiceUnavailable, "the server is stopping")
				return
			}
			defer work.leave()
			handler.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return context.WithValue(base, baseKey{}, base) },
		ReadHeaderTimeout: headerWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		s.stop.Do(func() { close(s.closing) })
		kill()
		_ = srv.Close()
		within(work.close(), killGrace)
		return fmt.Errorf("inbound: serving HTTP: %w", err)
	case <-ctx.Done():
	}
	s.stop.Do(func() { close(s.closing) })
	drain, cancel := context.WithTimeout(base, s.opt.Drain)
	defer cancel()
	if srv.Shutdown(drain) != nil {
		s.log.Warn("requests did not finish in time and are cancelled", "drain", s.opt.Drain)
		kill()
		idle := work.close()
		within(idle, killGrace) // so that they can still say so
		_ = srv.Close()
		within(idle, killGrace)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("inbound: serving HTTP: %w", err)
	}
	return nil
}
