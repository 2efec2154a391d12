package gate

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Order runs calls of the same key one after another, in the order in which they
// came. Calls without a key run beside them. No more than a bounded number waits;
// of a plan, whose calls are one caller, only the first counts, and one of them at a
// time stands in a line (see crews), so that calls of others come in between.
type Order struct {
	key   func(*upstream.Call) (string, bool)
	queue int

	mu      sync.Mutex
	lines   map[string]*line // none where nobody runs
	waiting int
	counted int   // of these, towards queue
	plans   tally // calls of each that wait or run
}

// line is who waits behind the one that runs.
type line struct {
	calls list.List // of *standing
	crews crews[standing]
}

// standing is who waits for a line.
type standing struct {
	key     string // of the line
	plan    *upstream.Plan
	turn    chan struct{}
	counted bool
	place   *list.Element // in the line; nil behind another of its plan
}

// NewOrder returns a layer in whose lines queue calls may wait, any number if that
// is negative.
// key says which line a call stands in, if any.
func NewOrder(queue int, key func(*upstream.Call) (string, bool)) *Order {
	return &Order{key: key, queue: queue, lines: map[string]*line{}, plans: tally{}}
}

// Layer is the middleware.
func (o *Order) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		key, ordered := o.key(c)
		if !ordered {
			return next(ctx, c)
		}
		s, err := o.line(c, key)
		if err != nil {
			return nil, err
		}
		if s != nil {
			if err := o.wait(ctx, c, s); err != nil {
				return nil, err
			}
		}
		defer o.done(key, c.Plan)
		return next(ctx, c)
	}
}

// line puts a call at the end of its line and returns what it waits with; nil if
// nobody is before it.
func (o *Order) line(c *upstream.Call, key string) (*standing, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l, others := o.lines[key], o.plans[c.Plan]
	if l == nil {
		o.lines[key] = &line{crews: crews[standing]{}}
		o.plans.add(c.Plan, 1)
		return nil, nil
	}
	if o.queue >= 0 && o.counted >= o.queue && others == 0 {
		return nil, refused(c, upstream.Overloaded, fmt.Sprintf("%d calls that run one after another are waiting, which is the limit", o.counted), 0)
	}
	s := &standing{key: key, plan: c.Plan, turn: make(chan struct{}), counted: others == 0}
	if l.crews.join(c.Plan, s) {
		s.place = l.calls.PushBack(s)
	}
	o.waits(s, 1)
	o.plans.add(c.Plan, 1)
	return s, nil
}

// leave takes out who waits; if it stands in the line, the next of its plan does
// from now on. o.mu is held.
func (o *Order) leave(s *standing) {
	l := o.lines[s.key]
	if s.place != nil {
		l.calls.Remove(s.place)
	}
	if next := l.crews.leave(s.plan, s); next != nil {
		next.place = l.calls.PushBack(next)
	}
	o.waits(s, -1)
}

// waits notes that so many more wait. o.mu is held.
func (o *Order) waits(s *standing, more int) {
	if o.waiting += more; s.counted {
		o.counted += more
	}
}

// wait waits for the turn of who waits, which leaves if ctx ends.
func (o *Order) wait(ctx context.Context, c *upstream.Call, s *standing) error {
	began := time.Now()
	defer func() { c.Timing.Queued += time.Since(began) }()
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.plans.add(c.Plan, -1)
	select {
	case <-s.turn: // it came at the same moment, and is the next one's
		o.pass(s.key)
	default:
		o.leave(s)
	}
	return unsent(ctx, c)
}

func (o *Order) done(key string, p *upstream.Plan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.plans.add(p, -1)
	o.pass(key)
}

// pass has the next one of a line run. o.mu is held.
func (o *Order) pass(key string) {
	first := o.lines[key].calls.Front()
	if first == nil {
		delete(o.lines, key)
		return
	}
	s := first.Value.(*standing)
	o.leave(s)
	close(s.turn)
}

// Waiting returns how many calls wait for their turn.
func (o *Order) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting
}
