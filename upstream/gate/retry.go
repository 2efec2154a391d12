package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Retry makes further attempts at calls that failed for a moment, within a
// budget for the whole upstream, so that retries cannot multiply the load on
// one that is failing.
type Retry struct {
	attempts int // in all
	again    func(*upstream.Call) bool
	budget   budget
}

// schedule is the pauses of one kind of failure, and what a retry takes from the
// budget. If the upstream asks for a pause longer than most, there is no retry.
type schedule struct {
	base, most time.Duration
	cost       float64
}

// Transient faults are tried again soon and dearly, throttled ones later and
// cheaply: the upstream itself says that it is well (AWS SDK retry behaviour,
// 2026).
var (
	transient = schedule{base: 50 * time.Millisecond, most: 5 * time.Second, cost: 14}
	throttles = schedule{base: time.Second, most: 20 * time.Second, cost: 5}
)

// The budget is full with budgetSize; a call that succeeds at once gives back a
// token.
const budgetSize = 500

// NewRetry returns a layer that makes at most so many attempts. again says of a
// call that was sent whether it may be sent once more.
func NewRetry(attempts int, again func(*upstream.Call) bool) *Retry {
	return &Retry{attempts: attempts, again: again, budget: budget{left: budgetSize}}
}

// Layer is the middleware.
func (r *Retry) Layer(next upstream.Handler) upstream.Handler {
	if r.attempts <= 1 {
		return next
	}
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		sent := false // in any attempt
		for attempt := 1; ; attempt++ {
			res, err := next(ctx, c)
			if err == nil {
				if attempt == 1 {
					r.budget.give(1)
				}
				return res, nil
			}
			err, sent = remember(err, sent)
			if attempt == r.attempts || ctx.Err() != nil {
				return nil, err
			}
			wait, ok := r.pause(ctx, c, err, attempt)
			if !ok || !sleep(ctx, wait, c) {
				return nil, err
			}
		}
	}
}

// remember makes a failure say that the call was sent if an earlier attempt was.
func remember(err error, sent bool) (error, bool) {
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok {
		return err, sent
	}
	if e.Kind == upstream.RateLimited && !e.Sent { // which says that it was not executed
		return err, sent
	}
	if !sent || e.Sent {
		return err, e.Sent
	}
	known := *e
	known.Sent = true
	return &known, true
}

// pause returns how long to wait before the next attempt, and whether there is
// one.
func (r *Retry) pause(ctx context.Context, c *upstream.Call, err error, attempt int) (time.Duration, bool) {
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok || errors.Is(err, errHere) || errors.Is(err, upstream.ErrFinal) {
		return 0, false
	}
	var s schedule
	switch e.Kind {
	case upstream.RateLimited:
		if e.Sent && !r.again(c) { // refused, but perhaps halfway
			return 0, false
		}
		s = throttles
	case upstream.Unavailable, upstream.Timeout:
		if e.Sent && !r.again(c) {
			return 0, false
		}
		s = transient
	default:
		return 0, false
	}
	ceiling := min(s.base<<(attempt-1), s.most)
	wait := rand.N(ceiling) + 1 // full jitter
	if e.RetryAfter > s.most {
		return 0, false // the caller has better things to do meanwhile
	}
	if e.RetryAfter > 0 {
		wait = e.RetryAfter + rand.N(s.base)
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return 0, false
	}
	return wait, r.budget.take(s.cost)
}

func sleep(ctx context.Context, d time.Duration, c *upstream.Call) bool {
	began := time.Now()
	defer func() { c.Timing.Queued += time.Since(began) }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// budget is what retries may cost.
type budget struct {
	mu   sync.Mutex
	left float64
}

func (b *budget) take(cost float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < cost {
		return false
	}
	b.left -= cost
	return true
}

func (b *budget) give(tokens float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.left+tokens, budgetSize)
}

// Budget returns the share of the budget that is left, from 0 to 1.
func (r *Retry) Budget() float64 {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	return r.budget.left / budgetSize
}
