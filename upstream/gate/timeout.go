// Package gate holds what stands in front of each upstream, a file for a
// layer. Each layer is an [upstream.Middleware]; the order they are put in is
// decided in aggregate and nowhere else.
//
// It owns what a layer has to remember about one upstream. It must not know
// the catalog, the client's side, credentials or any protocol.
package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Timeout ends one attempt after limit (the attempt timeout); 0 sets none. Time
// in which the client is asked something does not count. The deadline of the
// whole call is another layer's.
func Timeout(limit time.Duration) upstream.Middleware {
	if limit <= 0 {
		return func(next upstream.Handler) upstream.Handler { return next }
	}
	return func(next upstream.Handler) upstream.Handler {
		return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			attempt, c, cancel := limited(ctx, c, limit)
			defer cancel()
			res, err := next(attempt, c)
			if err != nil && ctx.Err() == nil && errors.Is(context.Cause(attempt), context.DeadlineExceeded) {
				e := *upstream.AsError(c.Upstream, c.Name, err)
				if e.Kind == upstream.Timeout || e.Kind == upstream.Cancelled {
					e.Kind = upstream.Timeout
					e.Public = fmt.Sprintf("no answer within %s", limit)
					return nil, &e
				}
			}
			return res, err
		}
	}
}

// limited returns the context and the call of one attempt. A context's own
// deadline cannot stand still, so a call that may ask gets a timer instead.
func limited(ctx context.Context, c *upstream.Call, limit time.Duration) (context.Context, *upstream.Call, context.CancelFunc) {
	if c.Back.Ask == nil {
		attempt, cancel := context.WithTimeout(ctx, limit)
		return attempt, c, cancel
	}
	attempt, end := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { end(context.DeadlineExceeded) })
	asking := *c
	asking.Back.Ask = NewClock(timer, limit).Asking(c.Back.Ask)
	return attempt, &asking, func() {
		timer.Stop()
		end(nil)
	}
}
