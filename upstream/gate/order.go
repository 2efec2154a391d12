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
// came. Calls without a key run beside them. No more than a bounded number waits.
type Order struct {
	key   func(*upstream.Call) (string, bool)
	queue int

	mu      sync.Mutex
	lines   map[string]*list.List // of chan struct{}: who waits behind the one that runs; none where nobody runs
	waiting int
}

// NewOrder returns a layer in whose lines queue calls may wait, any number if that
// is negative.
// key says which line a call stands in, if any.
func NewOrder(queue int, key func(*upstream.Call) (string, bool)) *Order {
	return &Order{key: key, queue: queue, lines: map[string]*list.List{}}
}

// Layer is the middleware.
func (o *Order) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		key, ordered := o.key(c)
		if !ordered {
			return next(ctx, c)
		}
		place, err := o.line(c, key)
		if err != nil {
			return nil, err
		}
		if place != nil {
			if err := o.wait(ctx, c, key, place); err != nil {
				return nil, err
			}
		}
		defer o.done(key)
		return next(ctx, c)
	}
}

// line puts a call at the end of its line and returns its place; nil if nobody is
// before it.
func (o *Order) line(c *upstream.Call, key string) (*list.Element, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lines[key]
	if l == nil {
		o.lines[key] = list.New()
		return nil, nil
	}
	if o.queue >= 0 && o.waiting >= o.queue {
		return nil, refused(c, upstream.Overloaded, fmt.Sprintf("%d calls that run one after another are waiting, which is the limit", o.waiting), 0)
	}
	o.waiting++
	return l.PushBack(make(chan struct{})), nil
}

// wait waits for the turn of who has a place, which leaves it if ctx ends.
func (o *Order) wait(ctx context.Context, c *upstream.Call, key string, place *list.Element) error {
	began := time.Now()
	defer func() { c.Timing.Queued += time.Since(began) }()
	turn := place.Value.(chan struct{})
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-turn: // it came at the same moment, and is the next one's
		o.pass(key)
	default:
		o.lines[key].Remove(place)
		o.waiting--
	}
	return unsent(ctx, c)
}

func (o *Order) done(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pass(key)
}

// pass has the next one of a line run. o.mu is held.
func (o *Order) pass(key string) {
	l := o.lines[key]
	first := l.Front()
	if first == nil {
		delete(o.lines, key)
		return
	}
	o.waiting--
	close(l.Remove(first).(chan struct{}))
}

// Waiting returns how many calls wait for their turn.
func (o *Order) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting
}
