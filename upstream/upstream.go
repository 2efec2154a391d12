// Package upstream is the vocabulary that the rest of Bulkhead speaks: what a
// source offers ([Tool], [Item]), what is asked of it ([Call]), what it asks and
// tells meanwhile ([Back], [Question], [Topic]), what it answers ([Result]), how
// it fails ([Error]), and how a call is handled ([Handler], [Middleware]).
//
// It owns no behaviour beyond building these values. It must not know any
// protocol, transport, credential or configuration, and imports no package of
// ours but the raw JSON text functions beneath it.
package upstream

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// ID names an upstream: its key in the configuration, e.g. "crm".
type ID string

// Handler answers one call. It returns either a result or an error, never
// both; the error is an *[Error] wherever it crosses a package.
type Handler func(context.Context, *Call) (*Result, error)

// Middleware wraps a handler with one layer of behaviour.
type Middleware func(Handler) Handler

// Chain composes middleware; the first is outermost.
func Chain(layers ...Middleware) Middleware {
	return func(h Handler) Handler {
		for _, layer := range slices.Backward(layers) {
			h = layer(h)
		}
		return h
	}
}

// Adapter speaks to one upstream of one kind. Methods may be called from many
// goroutines at once. Constructors start nothing; an adapter that needs a
// goroutine of its own implements [Watcher].
type Adapter interface {
	// Tools returns every tool the upstream offers, in the upstream's order,
	// drained through all pages. It waits for a connection until ctx ends.
	Tools(context.Context) ([]Tool, error)
	// Call carries out one call; every adapter knows [CallTool], and refuses an
	// operation it does not know as NotFound. It returns when ctx ends, whatever
	// the upstream does.
	Call(context.Context, *Call) (*Result, error)
	// Close releases everything, also the idle connections of a client that the
	// adapter was handed, and waits until it is released.
	Close() error
}

// Watcher is an adapter that keeps a connection. Watch blocks until ctx ends,
// keeps the upstream connected, and tells what the upstream says of its own
// accord.
type Watcher interface {
	Watch(ctx context.Context, tell Events) error
}

// Events is how a watched upstream is heard. The functions return at once; a
// nil one means that nobody listens.
type Events struct {
	// Changed is called whenever a list may differ from the last one that was
	// read: for every list, with "", after each connect; for one when the
	// upstream says so.
	Changed func(List)
	// Note takes the params of every other notification that belongs to no
	// call, by its method: see [Topic] and the Note constants.
	Note func(method string, params json.RawMessage)
}

// Change calls e.Changed if there is one.
func (e Events) Change(l List) {
	if e.Changed != nil {
		e.Changed(l)
	}
}

// Reporter is an adapter that can tell how its connection is.
type Reporter interface {
	Health() Health
}

// Held is a tool that an adapter keeps back because its definition would make
// common hosts drop the whole list, or because it cannot be called as its source
// describes it.
type Held struct {
	Tool   string // its name, or its position where it has none
	Reason string
}

// Holder is an adapter that can hold tools back.
type Holder interface {
	// Held returns the tools held back from the last list.
	Held() []Held
}

// Hider is an adapter that offers what changes something only where its options
// say so.
type Hider interface {
	// Hidden returns how many tools are not offered for that reason.
	Hidden() int
}

// State is the condition of a connection.
type State string

// The states a connection can be in.
const (
	Connecting State = "connecting" // first attempt under way
	Up         State = "up"         // answering
	Down       State = "down"       // lost or never reached; being retried
)

// Health is a snapshot of a connection, for people and for bulkhead_sources.
type Health struct {
	State    State
	Since    time.Time // when State was entered
	Why      Kind      // why it is down; means nothing while it is not
	Err      string    // the same as the model may read it; "" while up
	Detail   string    // the same for the operator: may name paths and addresses
	Server   string    // the peer's own name and version, for display only
	Protocol string    // negotiated protocol revision; "" where there is none
	Restarts int       // connections after the first
	// RetryIn is how long until the next attempt; 0 if none is scheduled.
	RetryIn time.Duration
}

// Principal is who is calling, after authentication. The zero value is nobody:
// it authorises nothing and is refused by the pipeline.
type Principal struct {
	issuer, subject string
}

// NewPrincipal returns the principal that issuer vouches for under subject.
func NewPrincipal(issuer, subject string) Principal {
	return Principal{issuer: issuer, subject: subject}
}

// Local is the principal of a process on this machine that talks to us over
// stdio or an unauthenticated loopback connection.
func Local() Principal { return Principal{issuer: "local", subject: "local"} }

// Valid reports whether p is somebody.
func (p Principal) Valid() bool { return p.issuer != "" && p.subject != "" }

// Parts returns who vouches for p, and under which name; to seal it, say.
func (p Principal) Parts() (issuer, subject string) { return p.issuer, p.subject }

// Key returns a string that no other principal has, to compare or to seal.
func (p Principal) Key() string { return strconv.Itoa(len(p.issuer)) + ":" + p.issuer + p.subject }

// String returns the issuer and subject, for logs. Two principals may look the
// same; see [Principal.Key].
func (p Principal) String() string {
	if !p.Valid() {
		return "nobody"
	}
	if p.issuer == p.subject {
		return p.issuer
	}
	return p.issuer + "/" + p.subject
}
