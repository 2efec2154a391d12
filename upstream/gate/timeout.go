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
					e.Public = Late(fmt.Sprintf("no answer within %s", limit), &e)
					return nil, &e
				}
			}
			return res, err
		}
	}
}

// Late is what is told of a call whose time is over, with what its adapter has to
// say of that.
func Late(text string, e *upstream.Error) string {
	if errors.Is(e, upstream.ErrFinal) && e.Public != "" {
		return text + "; " + e.Public
	}
	return text
}

// limited returns the context and the call of one attempt. It has a timer of its
// own: a context's deadline cannot stand still while the client is asked, and one
// that is made later than its parent's is forgotten, even if that is put off.
func limited(ctx context.Context, c *upstream.Call, limit time.Duration) (context.Context, *upstream.Call, context.CancelFunc) {
	attempt, end := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { end(context.DeadlineExceeded) })
	stop := func() {
		timer.Stop()
		end(nil)
	}
	if c.Back.Ask == nil {
		return attempt, c, stop
	}
	asking := *c
	asking.Back.Ask = NewClock(timer, limit).Asking(c.Back.Ask)
	return attempt, &asking, stop
}
