// Package web serves a sample source over HTTP, behind a sign-in, as a real
// service is.
//
// Job: join what is served with the authorization server whose tokens open it,
// and find out of each request which scope it needs. It owns the HTTP server and
// the reading of requests that far. It must not know which tools there are, how
// requests are answered, or who signs in.
package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/authserver"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// ClientID is who may sign in.
const ClientID = "bulkhead"

// The limits of one request, the same as at the edge behind.
const (
	maxBody    = 4 << 20
	bodyWait   = 30 * time.Second
	headerWait = 10 * time.Second
	idleWait   = 2 * time.Minute
	stopWait   = time.Second // for answers under way when it stops
)

// Options describe a server.
type Options struct {
	Origin   string        // where it is reached: http://host:port
	Secret   string        // of the client [ClientID]
	Lifetime time.Duration // of tokens; 0 is [authserver.DefaultLifetime]
	Path     string        // of what is guarded, and of what is below it; tokens are for it
	Handler  http.Handler  // what is guarded
	// Writes reports whether a request may change something; it leaves its body as
	// it was.
	Writes func(*http.Request) bool
	// Read and Write are the scopes of everything and of what writes.
	Read, Write string
}

// Server is a sample source as a web service: beside what is guarded it is the
// authorization server's.
type Server struct {
	opt  Options
	auth *authserver.Server
	mux  *http.ServeMux
}

// MCPPath is where an MCP endpoint is served.
const MCPPath = "/mcp"

// New returns a server that has started nothing.
func New(opt Options) *Server {
	s := &Server{opt: opt, mux: http.NewServeMux()}
	s.auth = authserver.New(authserver.Options{
		Issuer: opt.Origin, Resource: opt.Origin + opt.Path, Scopes: []string{opt.Read, opt.Write}, Lifetime: opt.Lifetime,
		Clients: map[string]authserver.Client{ClientID: {Secret: opt.Secret, Name: "Bulkhead"}},
	})
	s.mux.Handle("/", s.auth)
	s.mux.HandleFunc(opt.Path, s.guarded)
	s.mux.HandleFunc(opt.Path+"/", s.guarded)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Issued returns how many access tokens have been given out.
func (s *Server) Issued() int { return s.auth.Issued() }

// Serve serves ln until ctx ends, and closes it. Requests end with ctx, streams
// among them. The error is why it could not go on.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler: s, BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: headerWait, IdleTimeout: idleWait, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		_ = srv.Close() // connections that it has taken
		return err
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if srv.Shutdown(wait) != nil {
		_ = srv.Close() // nobody waits for what is left
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) guarded(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyWait)) // not supported by test recorders only
	scope := s.opt.Read
	if s.opt.Writes(r) {
		scope = s.opt.Write
	}
	_ = control.SetReadDeadline(time.Time{})
	s.auth.Guard(s.opt.Handler, func(*http.Request) string { return scope }).ServeHTTP(w, r)
}

// CallsThatWrite reports of the requests of MCP whether they call a tool that
// writes. What cannot be understood might be a write to whoever reads it next.
func CallsThatWrite(tool func(name string) bool) func(*http.Request) bool {
	return func(r *http.Request) bool {
		if r.Method != http.MethodPost || r.Body == nil { // streams, and the end of a session
			return false
		}
		body := r.Body
		head, err := io.ReadAll(io.LimitReader(body, maxBody+1))
		rest := io.Reader(body)
		if err != nil {
			rest = broken{err}
		}
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), rest), body}
		return err != nil || len(head) > maxBody || rawjson.Check(head, rawjson.Limits{}) != nil || writes(head, tool)
	}
}

// writes reports whether a message, or one of a batch, calls a tool that writes.
func writes(msg []byte, tool func(string) bool) bool {
	if rawjson.Kind(msg) == '[' {
		for m := range rawjson.Elements(msg) {
			if rawjson.Kind(m) == '{' && writes(m, tool) {
				return true
			}
		}
		return false
	}
	if method, _ := rawjson.GetString(msg, "method"); method != "tools/call" {
		return false
	}
	params, _ := rawjson.Get(msg, "params")
	name, _ := rawjson.GetString(params, "name")
	return tool(name)
}

// broken is the end of a body that could not be read.
type broken struct{ err error }

// Read implements io.Reader.
func (b broken) Read([]byte) (int, error) { return 0, b.err }
