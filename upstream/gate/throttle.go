package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Throttle keeps calls within the quotas of one upstream. Each quota has a key,
// which says what the vendor counts, and a bucket. Calls wait for their tokens
// in turns between sessions; one that could not be served before its deadline
// is refused at once.
type Throttle struct {
	key  func(*upstream.Call) string
	cost func(*upstream.Call) float64
	make func(key string) Bucket

	mu     sync.Mutex
	quotas map[string]*quota
}

// quota is one key's bucket and who waits for its tokens.
type quota struct {
	bucket Bucket

	mu      sync.Mutex
	waiting fair[chan error]
	timer   *time.Timer // looks again; nil if nobody waits
}

// Quotas bound what is remembered: keys of users come and go.
const maxQuotas = 10_000

// MaxFreeze is how long an upstream may keep one of its quotas frozen, whatever
// it says.
const MaxFreeze = 15 * time.Minute

// defaultFreeze is for an upstream that says that it is too much, but not for
// how long.
const defaultFreeze = time.Second

// NewThrottle returns a throttle with a bucket from make for each key. cost is
// counted in tokens and must not exceed what a full bucket holds.
func NewThrottle(key func(*upstream.Call) string, cost func(*upstream.Call) float64, make func(key string) Bucket) *Throttle {
	return &Throttle{key: key, cost: cost, make: make, quotas: map[string]*quota{}}
}

// Layer is the middleware.
func (t *Throttle) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		q := t.quota(t.key(c))
		if err := q.wait(ctx, c, t.cost(c)); err != nil {
			return nil, err
		}
		res, err := next(ctx, c)
		if throttled(err) {
			wait := freezeFor(err)
			q.bucket.Freeze(time.Now().Add(wait))
			e := *upstream.AsError(c.Upstream, c.Name, err)
			e.RetryAfter = wait // what holds here, whatever it said
			return nil, &e
		}
		return res, err
	}
}

// freezeFor returns for how long a quota is to be left alone.
func freezeFor(err error) time.Duration {
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter > 0 {
		return min(e.RetryAfter, MaxFreeze)
	}
	return defaultFreeze
}

func (t *Throttle) quota(key string) *quota {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.quotas[key]
	if q == nil {
		if len(t.quotas) >= maxQuotas {
			t.forget()
		}
		q = &quota{bucket: t.make(key)}
		t.quotas[key] = q
	}
	return q
}

// forget drops a quota that is full: it says no more than a new one. If none is,
// it drops none. t.mu is held.
func (t *Throttle) forget() {
	for key, q := range t.quotas {
		q.mu.Lock()
		idle := q.waiting.size == 0
		q.mu.Unlock()
		if s := q.bucket.State(); idle && s.Frozen.IsZero() && s.Tokens >= s.Burst {
			delete(t.quotas, key)
			return
		}
	}
}

// State returns what is left of each quota, by its key.
func (t *Throttle) State() map[string]BucketState {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]BucketState, len(t.quotas))
	for key, q := range t.quotas {
		out[key] = q.bucket.State()
	}
	return out
}

// wait waits for tokens.
func (q *quota) wait(ctx context.Context, c *upstream.Call, cost float64) error {
	q.mu.Lock()
	var least time.Duration // until the call could be served
	if q.waiting.size == 0 {
		var err error
		if least, err = q.bucket.Take(ctx, cost); err != nil || least == 0 {
			q.mu.Unlock()
			return stateless(c, err)
		}
	}
	t := q.waiting.push(flowOf(c), make(chan error, 1), cost)
	if s := q.bucket.State(); least == 0 || q.waiting.size > 1 {
		least = time.Duration((q.waiting.ahead(t) + cost - s.Tokens) / s.Rate * float64(time.Second))
		if frozen := time.Until(s.Frozen); frozen > 0 {
			least += frozen
		}
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < least {
		q.waiting.remove(t)
		q.mu.Unlock()
		return refused(c, upstream.RateLimited, fmt.Sprintf("its quota allows the call in %s, which is later than the call's deadline", least.Round(time.Millisecond)), least)
	}
	q.serve(ctx)
	q.mu.Unlock()

	began := time.Now()
	defer func() { c.Timing.Queued += time.Since(began) }()
	select {
	case err := <-t.value:
		return stateless(c, err)
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.waiting.remove(t) && len(t.value) > 0 {
		// Its tokens were taken at the same moment and are lost: giving them
		// back could let more through than a window allows.
		return unsent(ctx, c)
	}
	q.serve(ctx)
	return unsent(ctx, c)
}

// serve hands tokens to those whose turn it is, and sees to it that it happens
// again when there are more. q.mu is held.
func (q *quota) serve(ctx context.Context) {
	for {
		t := q.waiting.next()
		if t == nil {
			if q.timer != nil {
				q.timer.Stop()
				q.timer = nil
			}
			return
		}
		again, err := q.bucket.Take(ctx, t.cost)
		if again > 0 && err == nil {
			q.later(context.WithoutCancel(ctx), again)
			return
		}
		q.waiting.take(t)
		t.value <- err
	}
}

func (q *quota) later(ctx context.Context, d time.Duration) {
	if q.timer != nil {
		q.timer.Stop()
	}
	q.timer = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.serve(ctx)
	})
}

// stateless is the failure of a call whose quota cannot be looked up; nil if
// err is.
func stateless(c *upstream.Call, err error) error {
	if err == nil {
		return nil
	}
	e := refused(c, upstream.Unavailable, "the state of its quota cannot be read", 0)
	e.Err = fmt.Errorf("%w: %w", errHere, err)
	return e
}
