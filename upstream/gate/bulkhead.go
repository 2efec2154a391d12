package gate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Bulkhead lets no more than so many calls into one upstream at once. Who has
// to wait does so in a bounded queue that takes turns between sessions; the
// wait is bounded and is not counted as execution. The number is halved when
// the upstream says that it is too much, and grows back one by one.
type Bulkhead struct {
	most  int // calls at once, as configured
	queue int // waiters
	wait  time.Duration

	mu      sync.Mutex
	limit   float64 // calls at once now; from 1 to most
	running int
	waiting fair[chan struct{}]
	cutAt   time.Time // when the limit was halved last
}

// cutGap is how long after one halving the next may come: answers to calls that
// were under way already say nothing new.
const cutGap = time.Second

// NewBulkhead returns a bulkhead for concurrency calls at once, 0 for any number
// of them. Of those beyond, queue may wait, each at most wait; 0 for no limit but
// the call's own deadline.
func NewBulkhead(concurrency, queue int, wait time.Duration) *Bulkhead {
	return &Bulkhead{most: concurrency, queue: queue, wait: wait, limit: float64(concurrency)}
}

// Layer is the middleware.
func (b *Bulkhead) Layer(next upstream.Handler) upstream.Handler {
	if b.most <= 0 {
		return next
	}
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		if err := b.enter(ctx, c); err != nil {
			return nil, err
		}
		defer b.leave()
		res, err := next(ctx, c)
		b.learn(err)
		return res, err
	}
}

// enter waits for a place.
func (b *Bulkhead) enter(ctx context.Context, c *upstream.Call) error {
	b.mu.Lock()
	if b.running < int(b.limit) && b.waiting.size == 0 {
		b.running++
		b.mu.Unlock()
		return nil
	}
	if c.Spare() {
		b.mu.Unlock()
		return noneSpare(c)
	}
	if b.waiting.size >= b.queue {
		running, queued := b.running, b.waiting.size
		b.mu.Unlock()
		return refused(c, upstream.Overloaded, fmt.Sprintf("%d calls are under way and %d are waiting, which is the limit", running, queued), 0)
	}
	t := b.waiting.push(flowOf(c), make(chan struct{}), 1)
	b.mu.Unlock()
	began := time.Now()
	defer func() { c.Timing.Queued += time.Since(began) }()
	return b.await(ctx, c, t)
}

func (b *Bulkhead) await(ctx context.Context, c *upstream.Call, t *ticket[chan struct{}]) error {
	var late <-chan time.Time
	if b.wait > 0 {
		timer := time.NewTimer(b.wait)
		defer timer.Stop()
		late = timer.C
	}
	var err error
	select {
	case <-t.value:
		return nil
	case <-late:
		err = refused(c, upstream.Overloaded, fmt.Sprintf("no place became free within %s", b.wait), 0)
	case <-ctx.Done():
		err = unsent(ctx, c)
	}
	b.mu.Lock()
	left := b.waiting.remove(t)
	b.mu.Unlock()
	if !left { // the place was granted at the same moment: it goes to the next
		b.leave()
	}
	return err
}

// leave gives a place back, and to the next who waits.
func (b *Bulkhead) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
	b.admit()
}

// admit lets in whoever may. b.mu is held.
func (b *Bulkhead) admit() {
	for b.running < int(b.limit) {
		t := b.waiting.next()
		if t == nil {
			return
		}
		b.waiting.take(t)
		b.running++
		close(t.value)
	}
}

// learn adapts the limit: additive increase, multiplicative decrease (RFC 5681
// has it for TCP).
func (b *Bulkhead) learn(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case throttled(err):
		if now := time.Now(); now.Sub(b.cutAt) >= cutGap {
			b.cutAt = now
			b.limit = max(b.limit/2, 1)
		}
	case err == nil && b.limit < float64(b.most):
		b.limit = min(b.limit+1/b.limit, float64(b.most))
		b.admit()
	}
}

// BulkheadState is what a bulkhead holds at one moment.
type BulkheadState struct {
	Running, Waiting int
	Limit, Most      int // calls at once: now, and as configured
	Queue            int // how many may wait
}

// State returns what the bulkhead holds now.
func (b *Bulkhead) State() BulkheadState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return BulkheadState{Running: b.running, Waiting: b.waiting.size, Limit: int(b.limit), Most: b.most, Queue: b.queue}
}
