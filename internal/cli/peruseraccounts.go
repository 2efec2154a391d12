package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/connect"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	userSources    = 10_000    // users whose tokens for one upstream are in memory
	userSourceIdle = time.Hour // longer than anybody takes to sign in
	lookForSignIn  = 5 * time.Second
)

// accounts are the sign-ins of the users of one upstream: what is in memory of
// them, and how they come and go. The operator's, which serves the local
// principal, is one of them.
type accounts struct {
	w     *wiring
	u     config.Upstream
	store credentials.Store
	sign  signer
	held  *credentials.Holder[*signIn]
	links userLinks
	// visits are users who may be the first to be connected.
	visits chan upstream.Principal

	mu   sync.Mutex
	news chan struct{} // closed when somebody has signed in
}

// userLinks are what calls of users go over, each user's own.
type userLinks interface {
	Retire(ctx context.Context, subject string) // is closed when it is not in use any more
	Drop(ctx context.Context, subject string)   // is closed at once
	Sweep(ctx context.Context)                  // closes what is idle
	Close(ctx context.Context)
}

var (
	_ aggregate.Users = (*accounts)(nil)
	_ connect.Source  = (*accounts)(nil)
)

func newAccounts(ctx context.Context, w *wiring, u config.Upstream, links userLinks) (*accounts, error) {
	store, err := w.shelf.get(ctx)
	if err != nil {
		return nil, err
	}
	sign, err := newSigner(ctx, u, store)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	a := &accounts{w: w, u: u, store: store, sign: sign, news: make(chan struct{}), visits: make(chan upstream.Principal, 16),
		held: credentials.NewHolder[*signIn](userSources, userSourceIdle), links: links}
	w.users.add(u.Name, a)
	return a, nil
}

// sweep closes what has not been in use for a while.
func (a *accounts) sweep(ctx context.Context) {
	a.links.Sweep(ctx)
	a.held.Sweep(ctx)
}

// end lets go of everything.
func (a *accounts) end(ctx context.Context) {
	a.w.users.remove(a.u.Name, a)
	a.links.Close(ctx)
	a.held.Close(ctx)
}

func (a *accounts) id() upstream.ID { return upstream.ID(a.u.Name) }

// subjectOf is how a principal's tokens are told from others: by all that it is,
// or "", which is the operator's.
func subjectOf(who upstream.Principal) string {
	if who == upstream.Local() {
		return ""
	}
	return who.Key()
}

// use returns the sign-in of a user, until release is called.
func (a *accounts) use(ctx context.Context, who upstream.Principal) (*signIn, func(), error) {
	subject := subjectOf(who)
	return a.held.Use(ctx, subject, func() (*signIn, error) {
		return a.sign(ctx, subject, func(err error) {
			if e, ok := errors.AsType[*credentials.TokenError](err); ok && e.Trouble == credentials.NeedsLogin {
				return // which that user is told
			}
			a.w.log.Warn("sign-in", "upstream", a.u.Name, "principal", who.String(), "problem", err)
		})
	})
}

// ready returns why the user of a call cannot make it: there is no token for it,
// or for making a connection.
func (a *accounts) ready(ctx context.Context, c *upstream.Call) error {
	if !c.Principal.Valid() {
		return &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: upstream.Internal, Err: errNobodyCalls}
	}
	s, release, err := a.use(ctx, c.Principal)
	if err != nil {
		return a.unready(c, err)
	}
	defer release()
	need := setOf(a.u, c)
	for _, set := range s.sets {
		if set.name != readSet && set.name != need {
			continue
		}
		if _, err := set.tokens.Token(ctx); err != nil {
			return a.unready(c, err)
		}
	}
	return nil
}

var errNobodyCalls = errors.New("the call has no principal")

// unlinked is the failure of a call for which no connection can be had.
func (a *accounts) unlinked(c *upstream.Call, err error) error {
	e := &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Op: "connect", Kind: upstream.Unavailable, Err: err}
	if errors.Is(err, credentials.ErrFull) {
		e.Kind, e.Public, e.RetryAfter = upstream.Overloaded, "too many users are using it at the moment", 10*time.Second
	}
	return e
}

// unready is the failure of a call for which there is no token.
func (a *accounts) unready(c *upstream.Call, err error) error {
	e := *upstream.AsError(c.Upstream, c.Name, err)
	e.Op, e.Sent = "sign-in", false
	failed, ok := errors.AsType[*credentials.TokenError](err)
	switch {
	case errors.Is(err, credentials.ErrFull):
		e.Kind, e.Public, e.RetryAfter = upstream.Overloaded, "too many users are using it at the moment", 10*time.Second
	case !ok:
	case failed.Trouble == credentials.NeedsLogin:
		e.Kind, e.Public = upstream.NeedsLogin, "this user has not connected an account of their own there, or not for this"
	case failed.Trouble == credentials.Misconfigured:
		e.Kind, e.Public = upstream.NeedsLogin, "its sign-in is refused; the operator has to see to the configuration"
	case e.Kind == upstream.Internal: // else the call has ended
		e.Kind, e.Public, e.RetryAfter = upstream.Unavailable, "its authorization server gives no token at the moment", failed.RetryAfter
	}
	return &e
}

// SignIn implements aggregate.Users. Nobody is the operator.
func (a *accounts) SignIn(who upstream.Principal) *aggregate.SignInStatus {
	operator := !who.Valid() || who == upstream.Local()
	if !who.Valid() {
		who = upstream.Local()
	}
	st := &aggregate.SignInStatus{State: aggregate.SignInUnused}
	if s, ok := a.held.Peek(subjectOf(who)); ok {
		st = s.status(time.Now())
	}
	st.Command = ""
	if operator {
		st.Command = loginCommand(a.u)
		return st
	}
	if st.State == aggregate.SignInRequired || st.State == aggregate.SignInUnused || len(st.Missing) > 0 {
		st.Page = a.Page(who)
	}
	return st
}

// Page implements aggregate.Users.
func (a *accounts) Page(who upstream.Principal) string {
	if !who.Valid() || who == upstream.Local() {
		return ""
	}
	return a.w.users.page(who, a.u.Name)
}

// Visit implements aggregate.Users.
func (a *accounts) Visit(who upstream.Principal) {
	select {
	case a.visits <- who:
	default: // there are enough already
	}
}

// Await implements aggregate.Users. What another process stores is seen within
// seconds.
func (a *accounts) Await(ctx context.Context, who upstream.Principal) error {
	tick := time.NewTicker(lookForSignIn)
	defer tick.Stop()
	for {
		a.mu.Lock()
		news := a.news
		a.mu.Unlock()
		if next, err := a.next(ctx, who); err == nil && next == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-news:
		case <-tick.C:
		}
	}
}

// next returns the first set of scopes for which a user has to sign in; nil if
// there is none.
func (a *accounts) next(ctx context.Context, who upstream.Principal) (*scopeSet, error) {
	s, release, err := a.use(ctx, who)
	if err != nil {
		return nil, err
	}
	defer release()
	for _, set := range s.sets {
		if set.ways.missing != nil && len(set.ways.missing()) > 0 {
			return set, nil
		}
		_, err := set.tokens.Token(ctx)
		if e, ok := errors.AsType[*credentials.TokenError](err); ok && e.Trouble == credentials.NeedsLogin {
			return set, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, nil
}

// Connected implements connect.Source.
func (a *accounts) Connected(ctx context.Context, who upstream.Principal) (connect.Connection, error) {
	var have connect.Connection
	if at, err := url.Parse(a.u.Auth.AuthorizationURL); err == nil {
		have.Where = at.Host
	}
	next, err := a.next(ctx, who)
	if err != nil {
		return have, err
	}
	s, release, err := a.use(ctx, who)
	if err != nil {
		return have, err
	}
	defer release()
	for _, set := range s.sets {
		if _, err := a.store.Load(ctx, set.tokens.ID()); err == nil {
			have.Some = true
		}
	}
	if have.Done = next == nil; have.Done {
		a.Visit(who)
	}
	if next != nil && have.Some {
		have.Next = allows(next.name)
	}
	return have, nil
}

// Begin implements connect.Source.
func (a *accounts) Begin(ctx context.Context, who upstream.Principal, redirect string) (connect.Pending, error) {
	set, err := a.next(ctx, who)
	if err != nil {
		return connect.Pending{}, err
	}
	if set == nil { // all is there: the first once more
		s, release, err := a.use(ctx, who)
		if err != nil {
			return connect.Pending{}, err
		}
		set = s.sets[0]
		release()
	}
	p, err := set.ways.page(ctx, redirect)
	if err != nil {
		return p, err
	}
	finish := p.Finish
	p.Finish = func(ctx context.Context, query url.Values) error {
		if err := finish(ctx, query); err != nil {
			return err
		}
		a.links.Retire(ctx, subjectOf(who)) // it may be another account than before
		a.turned(who)
		a.Visit(who)
		return nil
	}
	return p, nil
}

// turned has a user's calls wait for nothing, and get no earlier answer.
func (a *accounts) turned(who upstream.Principal) {
	a.w.users.forget(a.id(), who)
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.news)
	a.news = make(chan struct{})
}

// Disconnect implements connect.Source.
func (a *accounts) Disconnect(ctx context.Context, who upstream.Principal) (left bool, err error) {
	s, release, err := a.use(ctx, who)
	if err != nil {
		return false, err
	}
	defer release()
	a.links.Drop(ctx, subjectOf(who)) // no call goes out any more with what is given back
	left, err = s.giveBack(ctx, a.store)
	a.links.Drop(ctx, subjectOf(who)) // of a call that came in between
	a.turned(who)
	return left, err
}

// giveBack gives back the tokens of all sets and deletes them. What cannot be read
// is left as it is. left says that a token may be good until it ends.
func (s *signIn) giveBack(ctx context.Context, store credentials.Store) (left bool, err error) {
	held := make(map[*scopeSet]credentials.Token)
	for _, set := range s.sets {
		t, err := store.Load(ctx, set.tokens.ID())
		if err != nil && !errors.Is(err, credentials.ErrNoToken) {
			return true, err
		}
		if err == nil {
			held[set] = t
		}
	}
	for _, set := range s.sets {
		if t, there := held[set]; there {
			revoking, cancel := context.WithTimeout(ctx, revokeLimit)
			left = set.ways.revoke == nil || set.ways.revoke(revoking, t) != nil || left
			cancel()
		}
		err = errors.Join(err, set.ways.forget(ctx))
	}
	return left, err
}
