package aggregate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
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

// deadline bounds the whole call: queueing, attempts and what lies between
// them. limit 0 follows the host's own patience.
func deadline(limit time.Duration) upstream.Middleware {
	return func(next upstream.Handler) upstream.Handler {
		return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			limit := limit
			if limit <= 0 {
				limit = patience(c.Client)
			}
			bounded, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			res, err := next(bounded, c)
			if err == nil {
				return res, nil
			}
			e := *upstream.AsError(c.Tool.Upstream, c.Tool.Name, err)
			if e.Kind == upstream.Timeout && ctx.Err() == nil && errors.Is(bounded.Err(), context.DeadlineExceeded) {
				e.Public = fmt.Sprintf("no answer within %s, the time a call may take", limit)
			}
			return nil, settle(&e, c.Tool)
		}
	}
}

// settle names what is known of a write that was sent and of which no usable
// answer came.
func settle(e *upstream.Error, t *upstream.Tool) *upstream.Error {
	lost := e.Kind == upstream.Timeout || e.Kind == upstream.Unavailable ||
		e.Kind == upstream.UpstreamError && e.RPC == nil // an answer that could not be used
	if lost && e.Sent && t.HasHints && !t.Hints.ReadOnly {
		e.Kind = upstream.WriteOutcomeUnknown
	}
	return e
}
