package gate

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Hedge asks a second time what is not answered for long, and takes whichever
// answer comes first (Dean and Barroso, The Tail at Scale, 2013). It is for
// calls of which the operator says that they change nothing: of a write the slower
// copy could take effect after the next write. How long is counted from when the
// adapter gets the first attempt; the second one waits for nothing, see
// [upstream.Hedged].
type Hedge struct {
	may func(*upstream.Call) bool

	mu     sync.Mutex
	took   map[string]*latencies // by tool
	budget float64               // second attempts that may be made now
}

const (
	hedgeShare  = 0.05 // of all calls
	hedgeBurst  = 2    // second attempts saved up at most
	hedgedTools = 10_000
)

// NewHedge returns a layer; may says which calls it may make twice, nil is none.
func NewHedge(may func(*upstream.Call) bool) *Hedge {
	return &Hedge{may: may, took: map[string]*latencies{}}
}

// Layer is the middleware.
func (h *Hedge) Layer(next upstream.Handler) upstream.Handler {
	if h.may == nil {
		return next
	}
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		if !h.may(c) {
			return next(ctx, c)
		}
		r := race{h: h, call: c, next: next, after: h.after(c.Name)}
		return r.run(ctx)
	}
}

// Begun stands right before the adapter and says when it gets an attempt.
func (h *Hedge) Begun(next upstream.Handler) upstream.Handler {
	if h.may == nil {
		return next
	}
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		if c.Hedged != nil {
			c.Hedged.Begun()
		}
		return next(ctx, c)
	}
}

// race is one call that may be made twice.
type race struct {
	h     *Hedge
	call  *upstream.Call
	next  upstream.Handler
	after time.Duration // 0 makes no second attempt

	mu     sync.Mutex
	over   bool // the first attempt has ended, or has asked: no second one begins any more
	asked  bool // the first attempt has asked something
	timer  *time.Timer
	second *attempt // nil if there is none
	first  context.CancelFunc
}

// attempt is the second one.
type attempt struct {
	cancel context.CancelFunc
	done   chan struct{} // closed at its end; what follows is set then
	sent   bool          // the adapter got it
	res    *upstream.Result
	err    error
	panic  any
}

var errAsks = errors.New("a second attempt must not ask")

// run makes the first attempt, and the second from a timer. Both have ended when
// it returns.
func (r *race) run(whole context.Context) (*upstream.Result, error) {
	ctx, cancel := context.WithCancel(whole)
	defer cancel()
	r.first = cancel
	timing := &upstream.Timing{} // a second attempt must not write to the same
	c := *r.call
	c.Timing, c.Hedged = timing, &upstream.Hedged{Begun: func() { r.begun(whole) }}
	if ask := c.Back.Ask; ask != nil {
		c.Back.Ask = func(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
			r.callOff()
			return ask(ctx, q)
		}
	}
	defer func() { // also if it panics
		s := r.settle(true)
		own := r.call.Timing
		own.Queued += timing.Queued
		own.Upstream += timing.Upstream
		own.Attempts += timing.Attempts
		if s != nil && s.sent {
			own.Attempts++
			own.Hedged = true
		}
	}()
	res, err := r.next(ctx, &c)
	s := r.settle(err == nil)
	switch {
	case s == nil || err == nil:
		if err == nil && !r.hasAsked() {
			r.h.learn(c.Name, timing.Upstream)
		}
		return res, err
	case s.panic != nil:
		panic(s.panic) // on the goroutine of the call, whose layers expect it
	case s.err == nil:
		r.h.learn(c.Name, timing.Upstream) // which was ended: it would have taken longer
		return s.res, nil
	}
	return nil, worse(err, s.err)
}

// worse is the failure of a call whose attempts have both failed: it may have
// been carried out if one of them may have been.
func worse(first, second error) error {
	e, ok := errors.AsType[*upstream.Error](first)
	other, too := errors.AsType[*upstream.Error](second)
	if !ok || !too || e.Sent || !other.Sent {
		return first
	}
	known := *e
	known.Sent = true
	return &known
}

// begun starts the clock: the adapter has the first attempt.
func (r *race) begun(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over && r.timer == nil && r.after > 0 {
		r.timer = time.AfterFunc(r.after, func() { r.again(ctx) })
	}
}

// callOff ends the second attempt, or has none begin: the first has asked
// something, and what a person answers is answered once.
func (r *race) callOff() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over, r.asked = true, true
	if r.second != nil {
		r.second.cancel()
	}
}

func (r *race) hasAsked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// settle sees to it that no second attempt begins and returns the one that there
// is, when it has ended; nil if there is none. won cuts it off.
func (r *race) settle(won bool) *attempt {
	r.mu.Lock()
	r.over = true
	if r.timer != nil {
		r.timer.Stop()
	}
	s := r.second
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	if won {
		s.cancel()
	}
	<-s.done
	return s
}

// again makes the second attempt.
func (r *race) again(ctx context.Context) {
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return
	}
	if !r.h.spend() { // on calls that were a little late: the later this one is, the more it needs the next
		r.after *= 2
		r.timer.Reset(r.after)
		r.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &attempt{cancel: cancel, done: make(chan struct{})}
	r.second = s
	r.mu.Unlock()

	c := *r.call
	c.Timing = &upstream.Timing{}
	c.Hedged = &upstream.Hedged{Spare: true, Begun: func() { s.sent = true }}
	c.Back.Progress, c.Back.Log, c.Back.LogLevel = nil, nil, "" // which the first one tells
	if c.Back.Ask != nil {
		c.Back.Ask = func(context.Context, upstream.Question) (json.RawMessage, error) {
			cancel()
			return nil, errAsks
		}
	}
	defer close(s.done)
	defer func() {
		s.panic = recover()
		if !s.sent {
			r.h.refund()
		}
		if s.panic != nil || s.err == nil { // the answer is here
			r.first()
		}
	}()
	s.res, s.err = r.next(ctx, &c)
	if s.err == nil && (s.res.Type == upstream.InputRequired || r.hasAsked()) {
		s.res, s.err = nil, errAsks
	}
}

// after returns when a call of the tool is later than 95 of 100, 0 if that is
// not known yet. Each call that asks adds to the budget.
func (h *Hedge) after(tool string) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.budget = min(h.budget+hedgeShare, hedgeBurst)
	if l := h.took[tool]; l != nil {
		return l.p95()
	}
	return 0
}

func (h *Hedge) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.budget < 1 {
		return false
	}
	h.budget--
	return true
}

// refund gives back what was spent on an attempt that was not made.
func (h *Hedge) refund() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.budget = min(h.budget+1, hedgeBurst)
}

func (h *Hedge) learn(tool string, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.took[tool]
	if l == nil {
		if len(h.took) >= hedgedTools {
			clear(h.took)
		}
		l = &latencies{}
		h.took[tool] = l
	}
	l.add(d)
}
