package gate

import (
	"context"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Breakers are a breaker for each tool, so that one that fails takes nothing but
// itself away. They count calls that were sent; calls of no tool pass them by.
type Breakers struct {
	opt BreakerOptions

	mu    sync.RWMutex
	tools map[string]*toolBreaker
}

type toolBreaker struct {
	*Breaker
	through upstream.Handler
}

// maxBreakers bounds what is remembered: tools come and go.
const maxBreakers = 10_000

// NewBreakers returns breakers that are made with o, Whole apart, when a tool is
// called first.
func NewBreakers(o BreakerOptions) *Breakers {
	o.Whole, o.sent = false, true
	return &Breakers{opt: o, tools: map[string]*toolBreaker{}}
}

// Layer is the middleware, for one pipeline.
func (b *Breakers) Layer(next upstream.Handler) upstream.Handler {
	if b.opt.Failures <= 0 {
		return next
	}
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		if c.Op != upstream.CallTool {
			return next(ctx, c)
		}
		return b.of(c.Name, next).through(ctx, c)
	}
}

func (b *Breakers) of(tool string, next upstream.Handler) *toolBreaker {
	b.mu.RLock()
	t := b.tools[tool]
	b.mu.RUnlock()
	if t != nil {
		return t
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if t = b.tools[tool]; t != nil {
		return t
	}
	if len(b.tools) >= maxBreakers {
		clear(b.tools)
	}
	t = &toolBreaker{Breaker: NewBreaker(b.opt)}
	t.through = t.Layer(next)
	b.tools[tool] = t
	return t
}

// Status returns the condition of each breaker that is not closed, by its tool.
func (b *Breakers) Status() map[string]BreakerStatus {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out map[string]BreakerStatus
	for tool, t := range b.tools {
		if s := t.Status(); s.State != Closed {
			if out == nil {
				out = make(map[string]BreakerStatus)
			}
			out[tool] = s
		}
	}
	return out
}
