// Package inbound is the client's side of Bulkhead: it speaks MCP over stdio,
// Streamable HTTP and the older HTTP+SSE, to clients of the modern era
// (2026-07-28 and later) and of the legacy era (2024-11-05 to 2025-11-25) on the
// same endpoint.
//
// Job: frame messages, refuse malformed ones at the door, tell the eras apart,
// run each request beside the others, carry cancellations, write answers, and
// bring to a client what it is to be told or asked meanwhile.
// It owns connections, legacy sessions with their subscriptions, log levels and
// open questions, request ids and everything of HTTP.
// It must not know upstreams, tools, catalogs or the pipeline: what is asked
// goes to a [Service] as an [aggregate.Request], and its answer is relayed as
// the bytes it came as.
//
// mcp-go's MCPServer answers the handshake (initialize, server/discover) and
// everything this package does not know; its transports are not used.
package inbound

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Service is what an edge serves. Its methods may be called from many
// goroutines at once.
type Service interface {
	// Handle answers a request: the whole result object in the client's era. The
	// error is an *upstream.RPCError, with CodeMethodNotFound for a method that
	// the service does not know; failures of upstreams in a tool call are
	// results with isError. It returns soon after ctx ends.
	Handle(ctx context.Context, r *aggregate.Request) (json.RawMessage, error)
	// Instructions is the text for the model, under 2 KB. It returns at once
	// and may change over time.
	Instructions() string
	// Extensions returns the settings of each extension of the protocol that is
	// offered, by its identifier. It returns at once.
	Extensions() map[string]json.RawMessage
	// Subscribe has changes told until cancel is called, and returns what is
	// granted, see [aggregate.Subscription].
	Subscribe(ctx context.Context, s aggregate.Subscription) (granted aggregate.Subscription, cancel func())
}

// Lookup finds what is served for an upstream: "" is everything, a name is that
// upstream alone.
type Lookup func(upstream string) (Service, bool)

// Options configure a [Server]. The zero value is usable.
type Options struct {
	Name, Title, Version string // of this server, as clients show it
	Log                  *slog.Logger
	MaxBody              int64         // bytes of one message; default 4 MiB
	MaxDepth             int           // nesting of one message; default rawjson.DefaultDepth
	Drain                time.Duration // for calls in flight at the end; default 10 s
	// Ending is told once that nothing new is taken and the drain time has
	// begun; it returns at once. Default: nobody.
	Ending func()
	// MaxInFlight bounds the requests under way in one stdio or HTTP+SSE
	// connection, in one legacy HTTP session, and over modern HTTP, which has no
	// sessions, of one principal; there, subscriptions are counted apart from
	// calls. Default 1024.
	MaxInFlight int
	// Hosts are accepted in the Host header beside loopback names and
	// addresses, as "name" (any port) or "name:port". Origins are accepted in
	// the Origin header beside loopback origins, exactly as written.
	Hosts, Origins []string
	// Auth says who clients over HTTP are. nil takes every process on this
	// machine for the local principal, and serves nobody else.
	Auth *Auth
	// Pages serves browsers under /connect/; nil if there is nothing for them. It
	// finds out itself who somebody is, and who may send it forms.
	Pages http.Handler
	// SessionKey seals the ids of legacy HTTP sessions. With the same key they
	// outlive a restart. At least 16 bytes; random if nil.
	SessionKey []byte
}

// withDefaults returns o with every default set, or what is wrong with it.
func (o Options) withDefaults() (Options, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Name == "" {
		o.Name = "bulkhead"
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 4 << 20
	}
	if o.MaxDepth <= 0 {
		o.MaxDepth = rawjson.DefaultDepth
	}
	if o.Drain <= 0 {
		o.Drain = 10 * time.Second
	}
	if o.Ending == nil {
		o.Ending = func() {}
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 1024
	}
	for _, origin := range o.Origins {
		if origin == "*" || !strings.Contains(origin, "://") || strings.HasSuffix(origin, "/") {
			return o, errors.New("inbound: origin " + origin + " is not of the form scheme://host[:port]")
		}
	}
	if o.Auth == nil {
		o.Auth = &Auth{Authenticate: onlyLocal}
	}
	return o, o.Auth.check()
}

// Server serves clients. Make one with [New]; it starts nothing until
// [Server.ServeStdio] or [Server.Serve] is called.
type Server struct {
	lookup Lookup
	opt    Options
	rpc    *dispatcher
	http   *httpEdge
}

// New returns a server of what lookup finds.
func New(lookup Lookup, o Options) (*Server, error) {
	if lookup == nil {
		return nil, errors.New("inbound: no lookup given")
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	seal, err := newSeal(o.SessionKey)
	if err != nil {
		return nil, err
	}
	rpc := &dispatcher{core: newHandshake(o), log: o.Log, limits: rawjson.Limits{Depth: o.MaxDepth}}
	return &Server{lookup: lookup, opt: o, rpc: rpc, http: newHTTPEdge(lookup, rpc, seal, o)}, nil
}

// ServeStdio serves one client over in and out until in ends or ctx does. Then
// it reads no more, lets calls in flight finish for the drain time, and returns
// when their answers are written: nil, or why in could not be read or out not
// be written. If ctx ends and in is an io.Closer it is closed; so is out if the
// client has stopped reading.
func (s *Server) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	svc, ok := s.lookup("")
	if !ok {
		return errors.New("inbound: there is nothing to serve")
	}
	return serveStdio(ctx, s.rpc, svc, s.opt, in, out)
}

// Handler serves /mcp (Streamable HTTP), /sse with /messages (HTTP+SSE), and the
// same under /u/{name} for one upstream; and where clients have to sign in, what
// they need to know for that (RFC 9728). Streams end only with their requests;
// [Server.Serve] ends them when it stops.
func (s *Server) Handler() http.Handler { return s.http.handler() }

// Serve serves HTTP on ln until ctx ends. Then it accepts no more, ends the
// notification streams, lets requests in flight finish for the drain time,
// cancels what is left, and returns: nil, or why it could not go on. It closes
// ln. A Server serves HTTP once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error { return s.http.serve(ctx, ln) }
