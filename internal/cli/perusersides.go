package cli

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// userSides is how a source over HTTP is asked that keeps no session, with each
// user's own sign-in. What it offers is the same for all of them; the tokens, the
// client and its connections are each user's.
type userSides struct {
	*accounts
	sides *credentials.Holder[*userSide]
	calls sync.Map        // *upstream.Call -> *userSide: all requests of a call go out with the account that it began with
	base  context.Context // what sides live in; it does not end
}

// userSide is how the source is asked for one user.
type userSide struct {
	*httpSide
	gone atomic.Bool // the user has left
}

// Busy implements credentials.Held.
func (*userSide) Busy() bool { return false }

// End implements credentials.Ender.
func (s *userSide) End() { s.gone.Store(true) }

// Close implements credentials.Held.
func (s *userSide) Close(context.Context) { s.release() }

// eachUser builds how a source is asked with each user's own sign-in.
func eachUser(ctx context.Context, w *wiring, u config.Upstream) (*httpSide, error) {
	sides := credentials.NewHolder[*userSide](maxUserLinks, userLinkIdle)
	own, err := newAccounts(ctx, w, u, sides)
	if err != nil {
		return nil, err
	}
	p := &userSides{accounts: own, sides: sides, base: context.WithoutCancel(ctx)}
	return &httpSide{client: nobodysClient, clientFor: p.clientFor, value: p.value, users: p, release: func() { p.end(p.base) }}, nil
}

// enter makes sure that there is a side for the user of a call until leave is
// called. Without a token there is none.
func (p *userSides) enter(ctx context.Context, c *upstream.Call) (leave func(), err error) {
	if err := p.ready(ctx, c); err != nil {
		return nil, err
	}
	s, done, err := p.use(ctx, c.Principal)
	if err != nil {
		return nil, p.unlinked(c, err)
	}
	side, left, err := p.sides.Use(ctx, subjectOf(c.Principal), func() (*userSide, error) { //nolint:contextcheck // it outlives the call that makes it
		h, err := signedHTTP(p.base, p.u, s, transport(p.u), done)
		if err != nil {
			return nil, err
		}
		done = nil // the sign-in is the side's now
		return &userSide{httpSide: h}, nil
	})
	if done != nil {
		done()
	}
	if err != nil {
		return nil, p.unlinked(c, err)
	}
	p.calls.Store(c, side)
	return func() {
		p.calls.Delete(c)
		left()
	}, nil
}

// of returns the side that a call began with, unless its user has left.
func (p *userSides) of(c *upstream.Call) (*userSide, bool) {
	v, _ := p.calls.Load(c)
	s, ok := v.(*userSide)
	return s, ok && !s.gone.Load()
}

// clientFor returns the client of the user of a call.
func (p *userSides) clientFor(c *upstream.Call) *http.Client {
	if s, ok := p.of(c); ok {
		return s.of(c)
	}
	return nobodysClient
}

// value returns a member of the answer that the token of a call's user came with.
func (p *userSides) value(ctx context.Context, c *upstream.Call, member string) (string, error) {
	if s, ok := p.of(c); ok {
		return s.value(ctx, c, member)
	}
	return "", errSignedOut
}

var errSignedOut = errors.New("the user is not signed in any more")

// nobodysClient sends nothing.
var nobodysClient = &http.Client{Transport: nobody{}}

type nobody struct{}

// RoundTrip implements http.RoundTripper.
func (nobody) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was read
	}
	return nil, &upstream.Error{Op: "sign-in", Kind: upstream.NeedsLogin, Public: "this user has not connected an account of their own there", Err: errSignedOut}
}

// forUsers is an adapter that is asked with each user's own sign-in.
type forUsers struct {
	closingPlain
	users *userSides
}

// Call implements upstream.Adapter.
func (f *forUsers) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	leave, err := f.users.enter(ctx, c)
	if err != nil {
		return nil, err
	}
	defer leave()
	return f.closingPlain.Call(ctx, c)
}

// Watch implements upstream.Watcher: what users do not need any more is let go.
func (f *forUsers) Watch(ctx context.Context, tell upstream.Events) error {
	tell.Change("")
	tick := time.NewTicker(userLinkIdle / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.users.visits: // what there is, is known to everybody
		case <-tick.C:
			f.users.sweep(ctx)
		}
	}
}
