package gate

import (
	"context"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Order runs calls of the same key one after another, in the order in which they
// came. Calls without a key run beside them.
type Order struct {
	key func(*upstream.Call) (string, bool)

	mu   sync.Mutex
	last map[string]*turn // the latest of each key
}

// turn is one call's place in the line of its key.
type turn struct {
	over chan struct{} // closed when the call, and all before it, are over
}

// NewOrder returns a layer; key says which line a call stands in, if any.
func NewOrder(key func(*upstream.Call) (string, bool)) *Order {
	return &Order{key: key, last: map[string]*turn{}}
}

// Layer is the middleware.
func (o *Order) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		key, ordered := o.key(c)
		if !ordered {
			return next(ctx, c)
		}
		mine := &turn{over: make(chan struct{})}
		o.mu.Lock()
		before := o.last[key]
		o.last[key] = mine
		o.mu.Unlock()
		if before != nil {
			if err := wait(ctx, c, before); err != nil {
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

func wait(ctx context.Context, c *upstream.Call, before *turn) error {
	began := time.Now()
	defer func() { c.Timing.Queued += time.Since(began) }()
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
