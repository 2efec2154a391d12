// Package inbound is the client's side of Bulkhead: it speaks MCP over stdio
// and Streamable HTTP, to clients of the modern era (2026-07-28 and later) and
// of the legacy era (2024-11-05 to 2025-11-25) on the same endpoint.
//
// Job: frame messages, refuse malformed ones at the door, tell the eras apart,
// run each request beside the others, carry cancellations, and write answers.
// It owns connections, legacy sessions, request ids and everything of HTTP.
// It must not know upstreams, tools, catalogs or the pipeline: what is asked
// goes to a [Service] as an [aggregate.Request], and its answer is relayed as
// the bytes it came as.
//
// mcp-go's MCPServer answers the handshake (initialize, server/discover) and
// everything this package does not know; its transports are not used.
package inbound

import (
	"context"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Service is what an edge serves. Its methods may be called from many
// goroutines at once.
type Service interface {
	// ListTools and CallTool return the whole result object in the client's
	// era. The error is an *upstream.RPCError; failures of upstreams are
	// results with isError. They return soon after ctx ends.
	ListTools(ctx context.Context, r *aggregate.Request) (json.RawMessage, error)
	CallTool(ctx context.Context, r *aggregate.Request) (json.RawMessage, error)
	// Instructions is the text for the model, under 2 KB. It returns at once
	// and may change over time.
	Instructions() string
	// Subscribe has notify called whenever the list of tools changed, until
	// cancel is called. notify returns at once.
	Subscribe(notify func()) (cancel func())
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
	// MaxInFlight bounds the requests under way in one stdio connection, in
	// one legacy HTTP session, and over modern HTTP, which has no sessions,
	// in all together; default 1024.
	MaxInFlight int
	// Hosts are accepted in the Host header beside loopback names and
	// addresses, as "name" (any port) or "name:port". Origins are accepted in
	// the Origin header beside loopback origins, exactly as written.
	Hosts, Origins []string
	// SessionKey seals the ids of legacy HTTP sessions. With the same key they
	// outlive a restart. At least 16 bytes; random if nil.
	SessionKey []byte
}

// Server serves clients. Make one with [New]; it starts nothing until
// [Server.ServeStdio] or [Server.Serve] is called.
type Server struct {
	lookup   Lookup
	opt      Options
	log      *slog.Logger
	core     *mcpserver.MCPServer
	seal     cipher.AEAD
	sessions *sessions
	modern   *session // admission of modern HTTP requests
	stop     sync.Once
	closing  chan struct{} // closed when Serve begins to stop; ends streams
}

// New returns a server of what lookup finds.
func New(lookup Lookup, o Options) (*Server, error) {
	if lookup == nil {
		return nil, errors.New("inbound: no lookup given")
	}
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
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 1024
	}
	for _, origin := range o.Origins {
		if origin == "*" || !strings.Contains(origin, "://") || strings.HasSuffix(origin, "/") {
			return nil, errors.New("inbound: origin " + origin + " is not of the form scheme://host[:port]")
		}
	}
	seal, err := newSeal(o.SessionKey)
	if err != nil {
		return nil, err
	}
	return &Server{
		lookup:   lookup,
		opt:      o,
		log:      o.Log,
		core:     newCore(o),
		seal:     seal,
		sessions: newSessions(),
		modern:   &session{max: o.MaxInFlight},
		closing:  make(chan struct{}),
	}, nil
}

func (s *Server) limits() rawjson.Limits { return rawjson.Limits{Depth: s.opt.MaxDepth} }
