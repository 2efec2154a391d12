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
//
// The calls of a plan are one caller: of those that have to wait one stands in the
// queue, the others behind it (see crews), and none is refused for what its own
// plan has under way.
type Bulkhead struct {
	most  int // calls at once, as configured
	queue int // waiters
	wait  time.Duration

	mu      sync.Mutex
	limit   float64 // calls at once now; from 1 to most
	running int
	waiting fair[*waiter]
	crews   crews[waiter]
	places  tally     // that calls of each plan have
	cutAt   time.Time // when the limit was halved last
}

// cutGap is how long after one halving the next may come: answers to calls that
// were under way already say nothing new.
const cutGap = time.Second

// NewBulkhead returns a bulkhead for concurrency calls at once, 0 for any number
// of them. Of those beyond, queue may wait, each at most wait; 0 for no limit but
// the call's own deadline.
func NewBulkhead(concurrency, queue int, wait time.Duration) *Bulkhead {
	return &Bulkhead{most: concurrency, queue: queue, wait: wait, limit: float64(concurrency),
		crews: crews[waiter]{}, places: tally{}}
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
		defer b.leave(c.Plan)
		res, err := next(ctx, c)
		b.learn(err)
		return res, err
	}
}

// waiter is a call that waits for a place. Its fields are guarded by the bulkhead's
// mu, but for the channels.
type waiter struct {
	plan    *upstream.Plan
	flow    string
	granted chan struct{}    // closed when it has a place
	first   chan struct{}    // closed when it stands in the queue; nil if it did from the beginning
	ticket  *ticket[*waiter] // nil before that
	late    bool             // who stood before it has waited too long, and so has it; set before first is closed
}

// enter waits for a place.
func (b *Bulkhead) enter(ctx context.Context, c *upstream.Call) error {
	b.mu.Lock()
	if b.running < int(b.limit) && b.waiting.size == 0 {
		b.running++
		b.places.add(c.Plan, 1)
		b.mu.Unlock()
		return nil
	}
	if c.Spare() {
		b.mu.Unlock()
		return noneSpare(c)
	}
	if b.places[c.Plan] == 0 && b.crews[c.Plan] == nil && b.waiting.size >= b.queue {
		running, queued := b.running, b.waiting.size
		b.mu.Unlock()
		return refused(c, upstream.Overloaded, fmt.Sprintf("%d calls are under way and %d are waiting, which is the limit", running, queued), 0)
	}
	w := &waiter{plan: c.Plan, flow: flowOf(c), granted: make(chan struct{})}
	if b.crews.join(c.Plan, w) {
		b.stand(w)
	} else {
		w.first = make(chan struct{})
	}
	b.mu.Unlock()
	began := time.Now()
	defer func() { c.Timing.Queued += time.Since(began) }()
	return b.await(ctx, c, w)
}

func (b *Bulkhead) await(ctx context.Context, c *upstream.Call, w *waiter) error {
	first := w.first // nil for who stands in the queue
	var late <-chan time.Time
	for {
		if first == nil && late == nil && b.wait > 0 {
			timer := time.NewTimer(b.wait)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-w.granted:
			return nil
		case <-first:
			if first = nil; w.late {
				return b.tooLong(c)
			}
		case <-late:
			if late = nil; b.gone(w, true) {
				return b.tooLong(c)
			}
		case <-ctx.Done():
			b.gone(w, false)
			return unsent(ctx, c)
		}
	}
}

func (b *Bulkhead) tooLong(c *upstream.Call) error {
	return refused(c, upstream.Overloaded, fmt.Sprintf("no place became free within %s", b.wait), 0)
}

// gone takes a waiter out that has given up, and reports whether it is. If it has
// waited too long it stays for as long as its own plan is what it waits for; a
// place that was granted at that moment it takes.
func (b *Bulkhead) gone(w *waiter, late bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case w.late:
	case w.ticket == nil:
		b.crews.leave(w.plan, w)
	case late && (w.ticket.place == nil || b.places[w.plan] > 0):
		return false
	case w.ticket.place == nil: // the place was granted at the same moment: it goes to the next
		b.free(w.plan)
	default:
		if late {
			b.tooLate(w)
		}
		b.succeed(w)
		b.waiting.remove(w.ticket)
	}
	return true
}

// stand puts a waiter into the queue. b.mu is held.
func (b *Bulkhead) stand(w *waiter) { w.ticket = b.waiting.push(w.flow, w, 1) }

// succeed has the next of its plan stand in the queue behind who is about to leave
// that, so that their flow does not come anew. b.mu is held.
func (b *Bulkhead) succeed(w *waiter) {
	if next := b.crews.leave(w.plan, w); next != nil {
		b.stand(next)
		close(next.first)
	}
}

// tooLate has all leave that stand behind one that has waited too long, of a plan of
// which nothing is under way: none has waited for less. b.mu is held.
func (b *Bulkhead) tooLate(w *waiter) {
	for next := b.crews.leave(w.plan, w); next != nil; next = b.crews.leave(w.plan, next) {
		next.late = true
		close(next.first)
	}
}

// leave gives a place back, and to the next who waits.
func (b *Bulkhead) leave(p *upstream.Plan) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free(p)
}

// free is leave. b.mu is held.
func (b *Bulkhead) free(p *upstream.Plan) {
	b.running--
	b.places.add(p, -1)
	b.admit()
}

// admit lets in whoever may. b.mu is held.
func (b *Bulkhead) admit() {
	for b.running < int(b.limit) {
		t := b.waiting.next()
		if t == nil {
			return
		}
		b.places.add(t.value.plan, 1)
		b.succeed(t.value)
		b.waiting.take(t)
		b.running++
		close(t.value.granted)
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
	Queue            int // how many may wait, a plan counted as one
}

// State returns what the bulkhead holds now.
func (b *Bulkhead) State() BulkheadState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return BulkheadState{Running: b.running, Waiting: b.waiting.size + b.crews.behind(), Limit: int(b.limit), Most: b.most, Queue: b.queue}
}
