package inbound

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Auth is how clients over HTTP prove who they are, and what those are told who
// have not (MCP 2026-07-28, authorization; RFC 6750; RFC 9728). Bulkhead is a
// resource server only: it issues nothing.
type Auth struct {
	// Authenticate says who sends a request. It does not read the body, and
	// returns soon after ctx ends. resources are the addresses of which the
	// credential must be for one, where it says what it is for. The error is a
	// *[Refusal]; any other one means that nobody can say just now.
	Authenticate func(ctx context.Context, r *http.Request, resources []string) (Caller, error)
	// URL is the origin at which clients reach us, scheme://host[:port].
	URL string
	// Servers are the issuers of tokens for us. If there are none, clients are
	// not told where to sign in.
	Servers []string
	// Scopes are what every token needs.
	Scopes []string
}

// Caller is who sends a request, and until when what proves it is good; the
// zero time is for ever.
type Caller struct {
	upstream.Principal
	Until time.Time
}

// Refusal is why a request is not anybody's.
type Refusal struct {
	Code string // of RFC 6750, section 3.1; "" if there is no credential
	Why  string // for the client and the log, in our own words
}

// Codes of RFC 6750, section 3.1.
const (
	InvalidRequest    = "invalid_request"
	InvalidToken      = "invalid_token"
	InsufficientScope = "insufficient_scope"
)

func (e *Refusal) Error() string { return e.Why }

// check returns what is wrong with a.
func (a *Auth) check() error {
	switch {
	case a.Authenticate == nil:
		return errors.New("inbound: authentication by nothing")
	case len(a.Servers) > 0 && a.URL == "":
		return errors.New("inbound: tokens of an authorization server are for an address, and there is none")
	}
	return nil
}

// onlyLocal takes every process on this machine for the local principal, and
// nobody else.
func onlyLocal(_ context.Context, r *http.Request, _ []string) (Caller, error) {
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && addr.Addr().Unmap().IsLoopback() {
		return Caller{Principal: upstream.Local()}, nil
	}
	return Caller{}, nil
}

// authenticate finds out who sends the request. If nobody may it is refused, and
// false returned.
func (e *httpEdge) authenticate(ctx context.Context, x *exchange) bool {
	caller, err := e.auth.Authenticate(ctx, x.r, e.auth.audience(x.name))
	if err == nil && caller.Valid() {
		x.by, x.until = caller.Principal, caller.Until
		return true
	}
	refusal, ok := errors.AsType[*Refusal](err)
	switch {
	case err == nil:
		refuse(x.w, http.StatusForbidden, "only clients on this machine are served")
	case !ok:
		e.log.Warn("a client cannot be authenticated", "error", err)
		x.w.Header().Set("Retry-After", "5")
		refuse(x.w, http.StatusServiceUnavailable, "nobody can say just now who you are: try again soon")
	default:
		e.log.Debug("a client is refused", "reason", refusal.Why)
		e.challenge(x, refusal)
	}
	return false
}

// ending is closed when a stream of x has to end: the server stops, or what
// proves who the client is ends. Until stop is called it costs a timer.
func (x *exchange) ending() (ending <-chan struct{}, stop func()) {
	ctx := streams(x.r.Context())
	if x.until.IsZero() {
		return ctx.Done(), func() {}
	}
	ctx, stop = context.WithDeadline(ctx, x.until)
	return ctx.Done(), stop
}
