// Package mcpserver reaches another MCP server, either as a child process over
// stdio or by HTTP, and relays what it says byte for byte.
//
// Job: find out which protocol era the server speaks, keep a connection to it
// (restart, re-initialise, back off), list what it offers, run calls on it, tell
// its changes, and turn everything that can go wrong on the way into an
// *[upstream.Error].
//
// It owns the transports (stdio, Streamable HTTP and the older HTTP+SSE), the
// era handshake and the child processes. It must not know configuration,
// credentials, other upstreams, or what becomes of its tools and results;
// whoever builds an [Adapter] hands in a launcher or an HTTP client that already
// carries the environment and the login.
//
// How it fits together: an [Adapter] holds one immutable [status]; its
// supervisor (Watch) replaces it. A [conn] is one handshake on one [link]; a
// link is a child process, an HTTP endpoint or the stream of an HTTP+SSE server.
// What a server asks or logs in the middle of a call finds that call at the
// [desk] of its link.
// Requests of an old conn can never be answered through a new one, because ids
// and pending tables belong to the link that sent them. What is subscribed
// belongs to the adapter, and each conn is told it anew.
package mcpserver

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Era says which generation of the protocol to speak (MCP 2026-07-28,
// versioning, §Terminology): modern has no handshake and carries its metadata
// in every request, legacy is 2025-11-25 and earlier.
type Era string

// The eras. Auto probes, remembers, and probes again on a contradiction.
const (
	Auto   Era = "auto"
	Legacy Era = "legacy"
	Modern Era = "modern"
)

// Launcher builds the command of a child. Its environment is the launcher's
// business; this package sets only the pipes and the process group.
type Launcher func(ctx context.Context, name string, arg ...string) *exec.Cmd

// Keeper kills the process groups it tracks when this process dies, however it
// dies.
type Keeper interface {
	Track(pgid int)
	Untrack(pgid int)
}

// Options configures an [Adapter]. Only ID is required.
type Options struct {
	ID  upstream.ID
	Era Era // "" means Auto
	// Remembered is the era of the last run, "legacy" or "modern"; "" if unknown.
	Remembered string
	// Remember is told each newly found era, from the supervisor's goroutine. May be nil.
	Remember       func(era string)
	ProbeTimeout   time.Duration // silence after which a stdio probe moves on; default 2 s
	ConnectTimeout time.Duration // start, probe and handshake together; default 30 s
	MaxMessage     int64         // bytes of one message, either transport; default 64 MiB
	Log            *slog.Logger  // nil discards
	Keeper         Keeper        // may be nil
	Version        string        // ours, for clientInfo; "" means "dev"
	// DenyAsk: the server may ask clients nothing, neither their users
	// (elicitation) nor their models (sampling) nor for roots, and is told so.
	DenyAsk bool
	// ClientFor returns the client for the request of a call, where it needs
	// another credential than the others; nil is the one that the adapter was made
	// with. Over HTTP only. May be nil.
	ClientFor func(*upstream.Call) *http.Client

	stall time.Duration // a child that reads nothing for so long is dead; tests shorten it
}

// The defaults of [Options].
const (
	DefaultProbeTimeout   = 2 * time.Second
	DefaultConnectTimeout = 30 * time.Second
	DefaultMaxMessage     = 64 << 20

	defaultStall = 30 * time.Second
)

// Adapter is one MCP server. It implements [upstream.Adapter] and everything
// that an adapter may offer beside it.
type Adapter struct {
	opt  Options
	dial func(context.Context) (link, error)
	// other is the transport to fall back to; nil if there is none. Only the
	// supervisor looks at these two.
	other func(context.Context) (link, error)
	// doubted is the era that the last connection seemed to contradict; "" for
	// none. Only the supervisor looks at it.
	doubted Era
	board   *board
	greet   *greeter
	post    errands
	shelf   shelf
	// extensions are those of the last connection; nil before the first.
	extensions atomic.Pointer[map[string]json.RawMessage]
	// progress is the same for all connections, so no token is used twice.
	progress progress
	// mirror: annotated arguments travel in headers too, if the era is modern.
	mirror bool
	news   *news
	subs   *subscriptions

	mu       sync.Mutex // guards what follows
	era      Era        // found or remembered; "" if unknown
	closed   bool
	cancel   context.CancelFunc // of the running Watch; nil if none
	watching sync.WaitGroup
	calls    sync.WaitGroup
}

var (
	_ upstream.Adapter    = (*Adapter)(nil)
	_ upstream.Watcher    = (*Adapter)(nil)
	_ upstream.Reporter   = (*Adapter)(nil)
	_ upstream.Holder     = (*Adapter)(nil)
	_ upstream.Lister     = (*Adapter)(nil)
	_ upstream.Subscriber = (*Adapter)(nil)
	_ upstream.Extender   = (*Adapter)(nil)
)

// NewStdio returns an adapter for a server that runs as a child process. It
// starts nothing; Watch does.
func NewStdio(o Options, launch Launcher, name string, arg ...string) *Adapter {
	a := newAdapter(o)
	a.dial = func(ctx context.Context) (link, error) {
		return startChild(ctx, &a.opt, a.notified, launch, name, arg)
	}
	return a
}

// NewHTTP returns an adapter for a server at a Streamable HTTP endpoint, or, if
// that does not take what is posted there and the era is not Modern, at an
// endpoint of the older transport, see [NewSSE]; what was found is tried first
// for as long as the adapter lives.
//
// hc carries the login, the origin check and the dial guard. Unless hc has a
// policy of its own, no redirect is followed: it would carry the login along.
// Its Timeout is ignored, because it would cut streams; contexts bound
// everything here.
func NewHTTP(o Options, endpoint string, hc *http.Client) *Adapter {
	a := newAdapter(o)
	a.board.eager, a.mirror = true, true
	client := httpClient(hc)
	a.dial = func(ctx context.Context) (link, error) {
		return &httpLink{a: a, endpoint: endpoint, hc: client, life: ctx, doubt: make(chan struct{}, 1), calls: newDesk(ctx, &a.opt)}, nil
	}
	if a.opt.Era != Modern {
		a.other = dialSSE(a, endpoint, client)
	}
	return a
}

// NewSSE returns an adapter for a server of the older HTTP+SSE transport (MCP
// 2024-11-05), whose stream is at endpoint. It speaks the legacy era. Messages
// go to the address that the stream names, which must have the same origin. hc
// is as for [NewHTTP].
func NewSSE(o Options, endpoint string, hc *http.Client) *Adapter {
	o.Era = Legacy
	a := newAdapter(o)
	a.board.eager = true
	a.dial = dialSSE(a, endpoint, httpClient(hc))
	return a
}

func dialSSE(a *Adapter, endpoint string, hc *http.Client) func(context.Context) (link, error) {
	return func(ctx context.Context) (link, error) { return openSSE(ctx, a, endpoint, hc), nil }
}

func newAdapter(o Options) *Adapter {
	if o.Era == "" {
		o.Era = Auto
	}
	if o.ProbeTimeout <= 0 {
		o.ProbeTimeout = DefaultProbeTimeout
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.stall <= 0 {
		o.stall = defaultStall
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	a := &Adapter{
		opt:   o,
		board: newBoard(),
		post:  make(errands, errandQueue),
	}
	a.news = newNews(&a.opt)
	a.subs = newSubscriptions(&a.opt, a.news)
	a.greet = &greeter{opt: &a.opt, info: clientInfo(o.Version)}
	switch e := Era(o.Remembered); {
	case o.Era != Auto:
		a.era = o.Era
	case e == Legacy || e == Modern:
		a.era = e
	}
	return a
}
