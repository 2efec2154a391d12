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

// Timeout ends one attempt after limit (the attempt timeout); 0 sets none. The
// deadline of the whole call is another layer's.
func Timeout(limit time.Duration) upstream.Middleware {
	if limit <= 0 {
		return func(next upstream.Handler) upstream.Handler { return next }
	}
	return func(next upstream.Handler) upstream.Handler {
		return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			attempt, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			res, err := next(attempt, c)
			if err != nil && ctx.Err() == nil && errors.Is(attempt.Err(), context.DeadlineExceeded) {
				e := *upstream.AsError(c.Upstream, c.Name, err)
				if e.Kind == upstream.Timeout {
					e.Public = fmt.Sprintf("no answer within %s", limit)
					return nil, &e
				}
			}
			return res, err
		}
	}
}
