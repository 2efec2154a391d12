package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// hostPatience is how long a call may take so that our error still reaches the
// model, instead of the host's own time-out. Most hosts give up after 60 s
// (measured: 11 of 15); these are known to wait longer. Keys are the beginning
// of clientInfo.name.
var hostPatience = []struct {
	client string
	wait   time.Duration
}{
	{"claude-code", 4 * time.Minute}, // aborts a remote call after 5 min without a word
	{"gemini-cli", 9 * time.Minute},  // 10 min by default
	{"goose", 4*time.Minute + 30*time.Second},
	{"bulkhead", 4 * time.Minute}, // our own command line
}

const unknownHostPatience = 50 * time.Second

// patience returns the deadline for calls of a host.
func patience(client string) time.Duration {
	client = strings.ToLower(client)
	for _, h := range hostPatience {
		if strings.HasPrefix(client, h.client) {
			return h.wait
		}
	}
	return unknownHostPatience
}

// longestCall is how long a call may go on at most while its progress keeps
// the host patient.
const longestCall = 30 * time.Minute

// deadline bounds the whole call: queueing, attempts and what lies between
// them. limit 0 follows the host's own patience, which begins anew with each
// progress that the host is told of. Time in which the client is asked
// something does not count. The calls of a plan have the time of the plan, which is
// bounded as a whole: they may wait for each other for most of it.
func deadline(limit time.Duration) upstream.Middleware {
	return func(next upstream.Handler) upstream.Handler {
		return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			if c.Plan != nil {
				res, err := next(ctx, c)
				if err != nil {
					e := *upstream.AsError(c.Upstream, c.Name, err)
					err = settle(&e, c.Tool)
				}
				return res, err
			}
			wait := limit
			if limit <= 0 {
				wait = patience(c.Client)
			}
			inner, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			timer := time.AfterFunc(wait, func() { cancel(context.DeadlineExceeded) })
			defer timer.Stop()
			bounded := &until{Context: inner, at: time.Now().Add(wait)}
			if c.Back.Ask != nil || limit <= 0 && c.Back.Progress != nil {
				bounded.clock = gate.NewClock(timer, wait)
				c = patient(c, bounded.clock, limit <= 0, wait)
			}
			res, err := next(bounded, c) //nolint:contextcheck // it is of ctx, with another deadline
			if err == nil {
				return res, nil
			}
			e := *upstream.AsError(c.Upstream, c.Name, err)
			late := ctx.Err() == nil && errors.Is(context.Cause(inner), context.DeadlineExceeded)
			if late && (e.Kind == upstream.Timeout || e.Kind == upstream.Cancelled) {
				e.Kind = upstream.Timeout
				switch {
				case c.Upstream == "" && e.Public != "": // our own, which knows why
				case c.Timing.Attempts == 0 && c.Timing.Queued > 0:
					e.Public = fmt.Sprintf("its turn did not come within %s, the time a call may take", wait)
				default:
					e.Public = gate.Late(fmt.Sprintf("no answer within %s, the time a call may take", wait), &e)
				}
			}
			return nil, settle(&e, c.Tool)
		}
	}
}

// until is a context whose deadline may be put off. It ends by its parent's
// cancellation, whose timer the clock moves.
type until struct {
	context.Context
	at    time.Time
	clock *gate.Clock // nil if nothing puts it off
}

// Deadline implements context.Context. While the client is asked something there
// is none.
func (u *until) Deadline() (time.Time, bool) {
	at, ok := u.at, true
	if u.clock != nil {
		at, ok = u.clock.Until()
	}
	if outer, set := u.Context.Deadline(); set && (!ok || outer.Before(at)) {
		return outer, true
	}
	return at, ok
}

// patient returns c as a call that stops the clock when it asks and, with anew,
// winds it up again with each progress.
func patient(c *upstream.Call, clock *gate.Clock, anew bool, wait time.Duration) *upstream.Call {
	extended := *c
	if ask := c.Back.Ask; ask != nil {
		extended.Back.Ask = clock.Asking(ask)
	}
	if tell := c.Back.Progress; tell != nil && anew {
		began := time.Now()
		extended.Back.Progress = func(params json.RawMessage) {
			if time.Since(began) < longestCall {
				clock.Restart(wait)
			}
			tell(params)
		}
	}
	return &extended
}

// settle names what is known of a write that was sent and of which no usable
// answer came.
func settle(e *upstream.Error, t *upstream.Tool) *upstream.Error {
	lost := e.Kind == upstream.Timeout || e.Kind == upstream.Unavailable ||
		(e.Kind == upstream.UpstreamError || e.Kind == upstream.RateLimited) && e.RPC == nil // an answer that could not be used
	if lost && e.Sent && t != nil && t.HasHints && !t.Hints.ReadOnly {
		e.Kind = upstream.WriteOutcomeUnknown
	}
	return e
}
