package rest

import (
	"context"
	"sync"
)

// crew is the calls that are under way. The zero value is open.
type crew struct {
	mu      sync.Mutex
	closed  bool
	next    uint64
	ends    map[uint64]context.CancelCauseFunc
	running sync.WaitGroup
}

// enter counts a call in, and returns a context that ends with the call's own and
// at close; leave counts it out. It reports false after close.
func (c *crew) enter(ctx context.Context) (_ context.Context, leave func(), ok bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		cancel(errClosed)
		return ctx, nil, false
	}
	if c.ends == nil {
		c.ends = make(map[uint64]context.CancelCauseFunc)
	}
	c.next++
	id := c.next
	c.ends[id] = cancel
	c.running.Add(1)
	return ctx, func() {
		c.mu.Lock()
		delete(c.ends, id)
		c.mu.Unlock()
		cancel(nil)
		c.running.Done()
	}, true
}

// close ends all calls and waits for them.
func (c *crew) close() {
	c.mu.Lock()
	c.closed = true
	for _, cancel := range c.ends {
		cancel(errClosed)
	}
	c.mu.Unlock()
	c.running.Wait()
}

func (c *crew) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}
