package credentials

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	refreshLimit = 30 * time.Second // one refresh, whoever waits for it
	saveLimit    = 5 * time.Second
	earliest     = 5 * time.Minute  // before the end a refresh begins beside the calls
	latest       = 30 * time.Second // before the end calls wait for it
	defaultTTL   = time.Hour
	maxForced    = 3 // refreshes a minute because a server refused the token
	lookAgain    = 5 * time.Second
)

var errClosed = errors.New("the source is closed")

// Fetch gets a token from where this kind of credential has it. last is the
// newest token known, zero if there is none: what needs a refresh token takes
// it from there. The error is a *[TokenError]; any other is taken for transient
// trouble. It returns when ctx ends.
type Fetch func(ctx context.Context, last Token) (Token, error)

// SourceSpec is what a [Refresher] is made of.
type SourceSpec struct {
	Name  string // of the upstream, for errors
	ID    string // of the credential; see [Identity]
	Fetch Fetch
	Store Store         // nil if the token need not outlive the process
	TTL   time.Duration // of a token whose server does not say; 0 is an hour
	// Report is told of what nobody may be waiting for: a refresh that failed,
	// a token that could not be saved. It must neither call the source nor wait. May be
	// nil.
	Report func(error)
}

// Refresher is the [Source] of every kind of token that ends. However many ask,
// one refresh is under way at a time; it goes on when they give up. It begins
// early, beside the calls, and only close to the end do these wait. With a store
// it takes over what another process has refreshed, and saves a token before
// anybody has it.
type Refresher struct {
	spec SourceSpec
	held atomic.Pointer[held] // what is given out; nil if nothing is

	mu      sync.Mutex
	last    Token       // the newest that is known, given out or not
	flight  *flight     // what is under way
	failure *TokenError // of the last refresh; nil if it went well
	again   time.Time   // when to look again after failure
	times   int         // transient failures in a row
	forced  [maxForced]time.Time
	unsaved error // why the store does not have last
	closed  bool

	// Only the flight has these.
	stored Token       // what the store had when we last looked
	tried  Token       // what the last fetch came from
	stuck  *TokenError // why that is of no use to try again
}

// held is a token with the times at which something is to be done about it.
type held struct {
	Token
	early, late time.Time
}

// flight is a change of the token: a refresh, a login, a logout. There is one
// at a time, so that none overwrites what a later one brought.
type flight struct {
	done   chan struct{}
	cancel context.CancelFunc
	token  Token // after done
	err    *TokenError
}

// NewRefresher returns a source that has done nothing yet.
func NewRefresher(spec SourceSpec) *Refresher {
	if spec.TTL <= 0 {
		spec.TTL = defaultTTL
	}
	return &Refresher{spec: spec}
}

// ID returns the credential's.
func (r *Refresher) ID() string { return r.spec.ID }

// Token implements [Source].
func (r *Refresher) Token(ctx context.Context) (Token, error) {
	for {
		if h := r.held.Load(); h != nil && time.Now().Before(h.early) {
			return h.Token, nil
		}
		f, t, err := r.join(ctx)
		if f == nil {
			return t, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return Token{}, &TokenError{Name: r.spec.Name, Err: context.Cause(ctx)}
		}
		if f.err == nil && !f.token.Access.IsZero() {
			return f.token, nil
		}
		if h := r.held.Load(); h != nil && time.Now().Before(h.Expiry) {
			return h.Token, nil
		}
		if f.err != nil {
			return Token{}, f.err
		} // else it was a logout: ask anew
	}
}

// join returns what to wait for, or else the answer.
func (r *Refresher) join(ctx context.Context) (*flight, Token, error) {
	if ctx.Err() != nil {
		return nil, Token{}, &TokenError{Name: r.spec.Name, Err: context.Cause(ctx)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	h, now := r.held.Load(), time.Now()
	if h != nil && now.Before(h.early) {
		return nil, h.Token, nil
	}
	failure := r.failing(now)
	if r.flight == nil && failure == nil {
		r.begin(ctx, r.refresh)
	}
	switch {
	case h != nil && now.Before(h.late), h != nil && r.flight == nil && now.Before(h.Expiry):
		return nil, h.Token, nil
	case r.flight == nil:
		return nil, Token{}, failure
	}
	return r.flight, Token{}, nil
}

// failing returns the error that stands for a refresh that would come too soon.
func (r *Refresher) failing(now time.Time) *TokenError {
	switch {
	case r.closed:
		return &TokenError{Name: r.spec.Name, Err: errClosed}
	case r.failure == nil, !now.Before(r.again):
		return nil
	}
	e := *r.failure
	if e.Trouble == Transient {
		e.RetryAfter = r.again.Sub(now)
	}
	return &e
}

// begin starts work as the one flight. It is for all who wait, so it does not
// end with the one whose call began it.
func (r *Refresher) begin(ctx context.Context, work func(context.Context) (Token, *TokenError)) *flight {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshLimit)
	f := &flight{done: make(chan struct{}), cancel: cancel}
	r.flight = f
	go func() {
		defer cancel()
		defer close(f.done)
		defer func() {
			if v := recover(); v != nil { // its value may hold a secret
				f.token, f.err = Token{}, &TokenError{Name: r.spec.Name, Err: fmt.Errorf("panic: %T", v)}
			}
			r.end(f)
		}()
		f.token, f.err = work(ctx)
	}()
	return f
}

// end publishes what f has brought.
func (r *Refresher) end(f *flight) {
	r.mu.Lock()
	r.flight = nil
	now := time.Now()
	known := f.err != nil && f.err == r.failure
	switch {
	case f.err != nil:
		r.fail(f.err, now)
	case f.token.Access.IsZero():
		r.last, r.failure, r.times, r.unsaved = Token{}, nil, 0, nil
		r.held.Store(nil)
	default:
		r.last, r.failure, r.times = f.token, nil, 0
		r.held.Store(hold(f.token, now))
	}
	r.mu.Unlock()
	if f.err != nil && !known {
		r.report(f.err)
	}
}

func hold(t Token, now time.Time) *held {
	early := min(t.Expiry.Sub(now)/5, earliest)
	late := min(early/2, latest)
	if early > 0 { // not all at once, where many tokens are of one age
		early -= rand.N(early/4 + 1)
	}
	return &held{Token: t, early: t.Expiry.Add(-early), late: t.Expiry.Add(-late)}
}

// fail keeps err as the answer until it may be worth another try: after 1 s,
// doubled up to 60 s, or as the server asks, but 15 min at most. What a person
// has to see to is not tried again; but what they did may be in the store.
func (r *Refresher) fail(err *TokenError, now time.Time) {
	r.failure, r.again = err, now.Add(lookAgain)
	if err.Trouble != Transient {
		return
	}
	pause := min(time.Second<<min(r.times, 6), time.Minute)
	pause -= rand.N(pause / 4)
	r.times++
	r.again = now.Add(max(pause, min(err.RetryAfter, 15*time.Minute)))
}

func (r *Refresher) report(err error) {
	if r.spec.Report != nil {
		r.spec.Report(err)
	}
}

// Invalidate implements [Source]. Some servers refuse good tokens, so it has an
// effect three times a minute at most.
func (r *Refresher) Invalidate(used Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, now := r.held.Load(), time.Now()
	oldest := &r.forced[0]
	for i := range r.forced {
		if r.forced[i].Before(*oldest) {
			oldest = &r.forced[i]
		}
	}
	if h == nil || !h.Same(used) || now.Sub(*oldest) < time.Minute {
		return
	}
	*oldest = now
	r.held.Store(nil)
}

// State is what there is to show about a source.
type State struct {
	Expiry  time.Time // zero if there is no token
	Scopes  []string
	Failure *TokenError // of the last refresh; nil if it went well
	Unsaved error       // why the token will not outlive the process; nil if it will or need not
	// Busy says that the token is being changed: closing the source now could lose
	// one.
	Busy bool
}

// State tells what is known without asking anybody.
func (r *Refresher) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := State{Failure: r.failure, Unsaved: r.unsaved, Busy: r.flight != nil}
	if h := r.held.Load(); h != nil {
		s.Expiry, s.Scopes = h.Expiry, h.Scopes
	}
	return s
}

// Close ends the source: it begins nothing any more. It waits for what is under
// way, because a rotated refresh token that nobody hears of is lost; it breaks
// it off when ctx ends.
func (r *Refresher) Close(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	f := r.flight
	r.mu.Unlock()
	if f == nil {
		return
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		f.cancel()
		<-f.done
	}
}
