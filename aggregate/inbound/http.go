package inbound

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

const (
	headerWait  = 10 * time.Second // for the headers of a request
	bodyWait    = 30 * time.Second // for its body
	writeWait   = 5 * time.Minute  // for the client to take an answer, from when it is there
	idleWait    = 2 * time.Minute  // between requests of a connection
	headerBytes = 64 << 10
)

// httpEdge serves both eras over Streamable HTTP, and HTTP+SSE.
type httpEdge struct {
	lookup   Lookup
	rpc      *dispatcher
	guard    guard
	sessions *sessionTable
	conns    *eventConns
	crowds   *crowds
	auth     *Auth
	name     string       // of this server
	pages    http.Handler // nil if there are none
	maxBody  int64
	drain    time.Duration
	ending   func() // see [Options]
	log      *slog.Logger
}

func newHTTPEdge(lookup Lookup, rpc *dispatcher, s seal, o Options) *httpEdge {
	return &httpEdge{
		lookup:   lookup,
		rpc:      rpc,
		guard:    guard{hosts: o.Hosts, origins: o.Origins},
		sessions: newSessionTable(s, o.MaxInFlight),
		conns:    newEventConns(),
		crowds:   newCrowds(o.MaxInFlight),
		auth:     o.Auth,
		name:     cmp.Or(o.Title, o.Name),
		pages:    o.Pages,
		maxBody:  o.MaxBody,
		drain:    o.Drain,
		ending:   o.Ending,
		log:      o.Log,
	}
}

func (e *httpEdge) handler() http.Handler {
	mux := http.NewServeMux()
	for _, at := range []string{"", "/u/{name}"} {
		mux.HandleFunc(at+"/mcp", e.route)
		mux.HandleFunc(at+"/sse", e.events)
		mux.HandleFunc(at+"/messages", e.messages)
		if len(e.auth.Servers) > 0 {
			mux.HandleFunc(metadataPath+at+"/mcp", e.describe)
			mux.HandleFunc(metadataPath+at+"/sse", e.describe)
		}
	}
	if len(e.auth.Servers) > 0 {
		mux.HandleFunc(metadataPath, e.describe)
	}
	if e.pages == nil {
		return e.guard.before(mux)
	}
	outer := http.NewServeMux()
	outer.Handle("/connect/", e.guard.hosted(e.pages))
	outer.Handle("/", e.guard.before(mux))
	return outer
}

// exchange returns what a request is about. If it is about nothing it is
// refused and nil is returned.
func (e *httpEdge) exchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{w: w, r: r, name: r.PathValue("name")}
	if !e.authenticate(r.Context(), x) {
		return nil
	}
	var ok bool
	if x.svc, ok = e.lookup(x.name); !ok {
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no upstream %.60q", x.name))
		return nil
	}
	return x
}

func (e *httpEdge) route(w http.ResponseWriter, r *http.Request) {
	x := e.exchange(w, r)
	if x == nil {
		return
	}
	// Modern clients have neither streams by GET nor sessions to DELETE.
	modern := mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion))
	switch {
	case r.Method == http.MethodPost:
		e.post(r.Context(), x)
	case r.Method == http.MethodGet && !modern:
		e.get(r.Context(), x)
	case r.Method == http.MethodDelete && !modern:
		e.delete(x)
	default:
		x.disallow(map[bool]string{true: "POST", false: corsMethods}[modern])
	}
}

// serve is [Server.Serve].
func (e *httpEdge) serve(ctx context.Context, ln net.Listener) error {
	base, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	lives := &lives{work: base}
	var endStreams func()
	lives.streams, endStreams = context.WithCancel(base)
	defer endStreams()
	stop := func() {
		endStreams()
		e.sessions.stopAsking()
	}
	var work group
	handler := e.handler()
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !work.enter() {
				refuse(w, http.StatusServiceUnavailable, "the server is stopping")
				return
			}
			defer work.leave()
			handler.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return context.WithValue(base, baseKey{}, lives) },
		ReadHeaderTimeout: headerWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		stop()
		kill(nil)
		_ = srv.Close()
		within(work.close(), killGrace)
		return fmt.Errorf("inbound: serving HTTP: %w", err)
	case <-ctx.Done():
	}
	e.ending()
	stop()
	drain, cancel := context.WithTimeout(base, e.drain)
	defer cancel()
	if srv.Shutdown(drain) != nil {
		e.log.Warn("requests did not finish in time and are cancelled", "drain", e.drain)
		kill(errStopped)
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
