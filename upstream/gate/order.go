package gate

import (
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
	last    map[string]*turn // the latest of each key
	waiting int
}

// turn is one call's place in the line of its key.
type turn struct {
	over chan struct{} // closed when the call, and all before it, are over
}

// NewOrder returns a layer in whose lines queue calls may wait, any number if that
// is negative.
// key says which line a call stands in, if any.
func NewOrder(queue int, key func(*upstream.Call) (string, bool)) *Order {
	return &Order{key: key, queue: queue, last: map[string]*turn{}}
}

// Layer is the middleware.
func (o *Order) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		key, ordered := o.key(c)
		if !ordered {
			return next(ctx, c)
		}
		mine := &turn{over: make(chan struct{})}
		before, err := o.line(c, key, mine)
		if err != nil {
			return nil, err
		}
		if before != nil {
			if err := o.wait(ctx, c, before); err != nil {
				// Who comes next still has to wait for those before.
				go func() {
					<-before.over
					o.done(key, mine)
				}()
				return nil, err
			}
		}
		defer o.done(key, mine)
		return next(ctx, c)
	}
}

// line puts a call at the end of its line and returns who stands before it.
func (o *Order) line(c *upstream.Call, key string, mine *turn) (before *turn, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before = o.last[key]
	if before != nil {
		if o.queue >= 0 && o.waiting >= o.queue {
			return nil, refused(c, upstream.Overloaded, fmt.Sprintf("%d calls that run one after another are waiting, which is the limit", o.waiting), 0)
		}
		o.waiting++
	}
	o.last[key] = mine
	return before, nil
}

func (o *Order) wait(ctx context.Context, c *upstream.Call, before *turn) error {
	began := time.Now()
	defer func() {
		c.Timing.Queued += time.Since(began)
		o.mu.Lock()
		o.waiting--
		o.mu.Unlock()
	}()
	select {
	case <-before.over:
		return nil
	case <-ctx.Done():
		return unsent(ctx, c)
	}
}

func (o *Order) done(key string, t *turn) {
	o.mu.Lock()
	if o.last[key] == t {
		delete(o.last, key)
	}
	o.mu.Unlock()
	close(t.over)
}

// Waiting returns how many calls wait for their turn.
func (o *Order) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting
}
