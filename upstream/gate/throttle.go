package gate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Throttle keeps calls within the quotas of one upstream. Each quota has a key,
// which says what the vendor counts, and a bucket. Calls wait for their tokens
// in turns between sessions; one that could not be served before its deadline
// is refused at once.
type Throttle struct {
	opt ThrottleOptions
}

// ThrottleOptions say what calls are counted in.
type ThrottleOptions struct {
	// Quotas are those of all calls. Several throttles may have the same ones.
	Quotas *Quotas
	// Key says whose quota a call is counted in.
	Key func(*upstream.Call) string
	// Cost is counted in tokens and must not exceed what a full bucket holds.
	Cost func(*upstream.Call) float64
	// Class returns the quotas that a call is counted in besides, and which alone
	// learn from its answer; nil for none. nil if there are no classes.
	Class func(*upstream.Call) *Quotas
}

// MaxFreeze is how long an upstream may keep one of its quotas frozen, whatever
// it says.
const MaxFreeze = 15 * time.Minute

// defaultFreeze is for an upstream that says that it is too much, but not for
// how long.
const defaultFreeze = time.Second

// NewThrottle returns a throttle.
func NewThrottle(o ThrottleOptions) *Throttle { return &Throttle{opt: o} }

// Layer is the middleware.
func (t *Throttle) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		key := t.opt.Key(c)
		q := t.opt.Quotas.of(key)
		var class *quota
		if t.opt.Class != nil {
			if quotas := t.opt.Class(c); quotas != nil {
				class = quotas.of(key)
			}
		}
		if err := enter(ctx, c, t.opt.Cost(c), q, class); err != nil {
			return nil, err
		}
		res, err := next(ctx, c)
		if class != nil {
			q = class
		}
		switch {
		case throttled(err):
			wait := freezeFor(err)
			q.bucket.Freeze(time.Now().Add(wait))
			e := *upstream.AsError(c.Upstream, c.Name, err)
			e.RetryAfter = wait // what holds here, whatever it said
			return nil, &e
		case err == nil && res.Quota != nil:
			lower(q.bucket, res.Quota)
		}
		return res, err
	}
}

// enter waits for the tokens of a quota and of a class, which may be nil, and
// takes them at the same moment: tokens that are taken before the call goes out
// would let a window see more than it allows.
func enter(ctx context.Context, c *upstream.Call, cost float64, q, class *quota) error {
	if class == nil {
		return q.wait(ctx, c, claim{cost: cost})
	}
	for {
		if err := class.wait(ctx, c, claim{cost: cost, pledge: true}); err != nil {
			return err
		}
		err := q.wait(ctx, c, claim{cost: cost, with: class})
		if !errors.Is(err, errAgain) {
			return err
		}
		if c.Spare() {
			return noneSpare(c)
		}
	}
}

// freezeFor returns for how long a quota is to be left alone.
func freezeFor(err error) time.Duration {
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter > 0 {
		return min(e.RetryAfter, MaxFreeze)
	}
	return defaultFreeze
}

// lower makes a bucket hold no more than the upstream says is left.
func lower(b Bucket, left *upstream.Quota) {
	reset := min(max(left.Reset, 0), MaxFreeze)
	if left.Remaining < 1 && reset == 0 {
		reset = defaultFreeze
	}
	b.Lower(max(left.Remaining, 0), time.Now().Add(reset))
}

// Quotas are the quotas of one kind, each with a bucket of its own.
type Quotas struct {
	make func() Bucket

	mu    sync.Mutex
	byKey map[string]*quota
}

// maxQuotas bounds what is remembered: keys of users come and go.
const maxQuotas = 10_000

// NewQuotas returns quotas whose buckets are made when a key is seen first.
func NewQuotas(make func() Bucket) *Quotas {
	return &Quotas{make: make, byKey: map[string]*quota{}}
}

func (s *Quotas) of(key string) *quota {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.byKey[key]
	if q == nil {
		if len(s.byKey) >= maxQuotas {
			s.forget()
		}
		q = &quota{bucket: s.make()}
		s.byKey[key] = q
	}
	return q
}

// forget drops a quota that is full: it says no more than a new one. If none is,
// it drops none. s.mu is held.
func (s *Quotas) forget() {
	for key, q := range s.byKey {
		q.mu.Lock()
		idle := q.waiting.size == 0 && q.pledged == 0
		q.mu.Unlock()
		if b := q.bucket.State(); idle && b.Frozen.IsZero() && b.Tokens >= b.Burst {
			delete(s.byKey, key)
			return
		}
	}
}

// State returns what is left of each quota, by its key.
func (s *Quotas) State() map[string]BucketState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]BucketState, len(s.byKey))
	for key, q := range s.byKey {
		out[key] = q.bucket.State()
	}
	return out
}
