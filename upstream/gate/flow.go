package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// flowOf returns whose turn a call takes: its principal's, who gets no more turns
// by opening more sessions. Processes on this machine are one principal, so there
// it is the session's, if there is one.
func flowOf(c *upstream.Call) string {
	if c.Session != "" && c.Principal == upstream.Local() {
		return "s" + c.Session
	}
	return "p" + c.Principal.Key()
}

// errHere marks what a layer of this package has refused, as opposed to the
// upstream.
var errHere = errors.New("not sent")

// refused is the failure of a call that a layer has not let through.
func refused(c *upstream.Call, k upstream.Kind, public string, after time.Duration) *upstream.Error {
	return &upstream.Error{
		Upstream: c.Upstream, Tool: c.Name, Kind: k, Public: public, RetryAfter: after,
		Err: fmt.Errorf("%w: %s", errHere, public),
	}
}

// noneSpare is the failure of a second attempt that would have to wait.
func noneSpare(c *upstream.Call) *upstream.Error {
	return refused(c, upstream.Overloaded, "nothing is free for a second attempt", 0)
}

// unsent is the failure of a call whose context ended while it waited here: that
// says nothing about the upstream.
func unsent(ctx context.Context, c *upstream.Call) *upstream.Error {
	e := *upstream.AsError(c.Upstream, c.Name, context.Cause(ctx))
	e.Sent, e.Err = false, fmt.Errorf("%w: %w", errHere, context.Cause(ctx))
	return &e
}

// throttled reports whether the upstream itself says that it is asked too much.
func throttled(err error) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	return ok && e.Kind == upstream.RateLimited && !errors.Is(err, errHere)
}
