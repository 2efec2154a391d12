package gate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// BreakerOptions say when a breaker opens and for how long.
type BreakerOptions struct {
	// Failures in a row open it.
	Failures int
	// CoolDown is how long it stays open the first time; each time it opens
	// again without having closed, twice as long, up to five minutes, less up to
	// a tenth at random.
	CoolDown time.Duration
	// Whole is for a breaker of all tools together, before [Breakers]: calls of
	// one tool that were sent and failed one after another count once, because
	// they may say no more than that the tool is broken.
	Whole bool
	// sent counts only failures of calls that were sent: where the upstream
	// cannot even be reached, no tool is to blame.
	sent bool
}

// A breaker also opens when half of at least breakerCalls within breakerWindow
// have failed.
const (
	breakerCalls   = 10
	breakerWindow  = 30 * time.Second
	breakerMaxOpen = 5 * time.Minute
	together       = 200 * time.Millisecond // within which lost connections are one failure
)

// Breaker keeps calls away from what is failing: closed it lets them through,
// open it refuses them at once, half-open it lets a single one try. What was let
// through before the last change of state says nothing about the new one.
type Breaker struct {
	opt BreakerOptions

	mu         sync.Mutex
	state      BreakerState
	generation uint64
	since      time.Time
	until      time.Time // open: when a probe may go
	opened     int       // times in a row
	row        int       // failures in a row
	window     window
	why        string    // the failure that opened it
	probing    bool      // half-open: the probe is under way
	suspect    string    // the tool whose failure was counted last, if Whole
	lossAt     time.Time // when a lost or refused connection was counted last
}

// BreakerState is one of the three states of a circuit breaker (Nygard, Release
// It!).
type BreakerState string

// The states.
const (
	Closed   BreakerState = "closed"
	Open     BreakerState = "open"
	HalfOpen BreakerState = "half-open"
)

// NewBreaker returns a closed breaker; one that no number of failures opens if
// that is 0.
func NewBreaker(o BreakerOptions) *Breaker {
	return &Breaker{opt: o, state: Closed, since: time.Now()}
}

// Layer is the middleware.
func (b *Breaker) Layer(next upstream.Handler) upstream.Handler {
	if b.opt.Failures <= 0 {
		return next
	}
	return func(ctx context.Context, c *upstream.Call) (res *upstream.Result, err error) {
		generation, err := b.admit(c)
		if err != nil {
			return nil, err
		}
		judged := verdictNone
		defer func() { b.done(c, generation, judged, err) }() // a panic counts for nothing, but ends the probe
		res, err = next(ctx, c)
		judged = b.judge(ctx, c, err)
		return res, err
	}
}

// verdict is what one outcome says about an upstream's health.
type verdict int

const (
	verdictNone verdict = iota // nothing: the caller gave up, or it was never sent
	verdictGood
	verdictBad
)

// judge says what an outcome counts for this breaker.
func (b *Breaker) judge(ctx context.Context, c *upstream.Call, err error) verdict {
	v := judge(err)
	if v != verdictBad {
		return v
	}
	e := upstream.AsError(c.Upstream, c.Name, err)
	if b.opt.sent && !e.Sent || e.Kind == upstream.Timeout && ctx.Err() != nil && c.Timing.Queued > c.Timing.Upstream {
		return verdictNone // it was not sent, or has waited for its turn until it was too late
	}
	return v
}

// judge says what counts: an upstream that cannot be reached, does not answer in
// time or answers garbage is bad. One that answers, be it with an error of its
// own, a refusal or a 429, is well: limits and sign-ins have layers of their own.
// The adapter knows best which errors are the upstream's own answers, and which
// calls ask for so much that their time says nothing ([upstream.ErrNoOutage]).
func judge(err error) verdict {
	if err == nil {
		return verdictGood
	}
	e, ok := errors.AsType[*upstream.Error](err)
	var noToken interface {
		SignIn() (person, operator bool, retry time.Duration)
	}
	if !ok || errors.Is(err, errHere) || errors.As(err, &noToken) {
		return verdictNone // the last says something of an authorization server, perhaps about one user
	}
	if errors.Is(err, upstream.ErrNoOutage) {
		if e.Kind == upstream.Timeout || e.Kind == upstream.Cancelled {
			return verdictNone
		}
		return verdictGood
	}
	switch e.Kind {
	case upstream.Unavailable, upstream.Timeout, upstream.WriteOutcomeUnknown:
		return verdictBad
	case upstream.UpstreamError:
		if e.RPC == nil {
			return verdictBad
		}
		return verdictGood
	case upstream.InvalidArguments, upstream.NotFound, upstream.Denied, upstream.RateLimited, upstream.NeedsLogin:
		return verdictGood
	}
	return verdictNone
}

// admit lets a call through or says why not.
func (b *Breaker) admit(c *upstream.Call) (generation uint64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Closed {
		return b.generation, nil
	}
	if c.Spare() { // the probe is the first attempt, or none
		return 0, noneSpare(c)
	}
	now := time.Now()
	switch b.state {
	case Open:
		if wait := b.until.Sub(now); wait > 0 {
			return 0, refused(c, upstream.Unavailable, fmt.Sprintf("its circuit is open after failures (the last: %s)", b.why), wait)
		}
		b.turn(HalfOpen, now)
		fallthrough
	case HalfOpen:
		if b.probing {
			return 0, refused(c, upstream.Unavailable, "its circuit is open after failures; one call is just trying whether it is back", time.Second)
		}
		b.probing = true
	}
	return b.generation, nil
}

// done takes the outcome of a call that was let through.
func (b *Breaker) done(c *upstream.Call, generation uint64, v verdict, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if generation != b.generation {
		return
	}
	now := time.Now()
	if b.state == HalfOpen {
		b.probing = false
		switch v {
		case verdictGood:
			b.opened, b.row, b.window = 0, 0, window{}
			b.turn(Closed, now)
		case verdictBad:
			b.trip(now, err)
		}
		return
	}
	switch v {
	case verdictGood:
		b.row, b.suspect = 0, ""
		b.window.add(now, false)
	case verdictBad:
		if b.lost(now, err) || b.counted(c, err) {
			return
		}
		b.row++
		b.window.add(now, true)
		if calls, failed := b.window.sum(now); b.row >= b.opt.Failures || calls >= breakerCalls && 2*failed >= calls {
			b.trip(now, err)
		}
	}
}

// lost reports whether a call failed like another one just before: a lost
// connection takes along all that use it, and those that try again at once. It
// is one failure, or every restart would look like an outage. b.mu is held.
func (b *Breaker) lost(now time.Time, err error) bool {
	if upstream.AsError("", "", err).Kind != upstream.Unavailable {
		return false
	}
	if now.Sub(b.lossAt) < together {
		return true
	}
	b.lossAt = now
	return false
}

// counted reports whether the failure of a tool says nothing new. b.mu is held.
func (b *Breaker) counted(c *upstream.Call, err error) bool {
	if !b.opt.Whole || c.Op != upstream.CallTool || !upstream.AsError(c.Upstream, c.Name, err).Sent {
		return false
	}
	again := c.Name == b.suspect
	b.suspect = c.Name
	return again
}

// trip opens it.
func (b *Breaker) trip(now time.Time, err error) {
	d := b.opt.CoolDown
	for i := 0; i < b.opened && d < breakerMaxOpen; i++ {
		d *= 2
	}
	d = min(d, breakerMaxOpen)
	b.opened++
	b.why = upstream.AsError("", "", err).Kind.Code()
	b.turn(Open, now)
	b.until = now.Add(d - rand.N(d/10+1))
	b.row, b.window = 0, window{}
}

func (b *Breaker) turn(s BreakerState, now time.Time) {
	b.state, b.since, b.probing, b.suspect = s, now, false, ""
	b.generation++
}

// Reset closes the breaker: the upstream has been seen to be back.
func (b *Breaker) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != Closed {
		b.opened, b.row, b.window = 0, 0, window{}
		b.turn(Closed, time.Now())
	}
}

// BreakerStatus is the condition of a breaker at one moment.
type BreakerStatus struct {
	State   BreakerState
	Since   time.Time
	RetryIn time.Duration // open: until a probe may go
	Failure string        // open or half-open: the code of the failure that opened it
}

// Status returns the condition it is in now.
func (b *Breaker) Status() BreakerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BreakerStatus{State: b.state, Since: b.since}
	if b.state != Closed {
		s.Failure = b.why
	}
	if b.state == Open {
		s.RetryIn = max(time.Until(b.until), 0)
	}
	return s
}

// window counts outcomes in slots of a sliding window.
type window struct {
	slots [windowSlots]struct {
		at            int64 // number of the slot's time since the epoch
		calls, failed int
	}
}

const windowSlots = 10

func (w *window) slot(now time.Time) int64 {
	return now.UnixNano() / int64(breakerWindow/windowSlots)
}

func (w *window) add(now time.Time, failed bool) {
	n := w.slot(now)
	s := &w.slots[n%windowSlots]
	if s.at != n {
		s.at, s.calls, s.failed = n, 0, 0
	}
	s.calls++
	if failed {
		s.failed++
	}
}

func (w *window) sum(now time.Time) (calls, failed int) {
	n := w.slot(now)
	for _, s := range w.slots {
		if n-s.at < windowSlots {
			calls += s.calls
			failed += s.failed
		}
	}
	return calls, failed
}
