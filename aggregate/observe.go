package aggregate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// recovered turns a panic further in into an internal error. The value of the
// panic may hold anything, so only its type is logged.
func recovered(log *slog.Logger) upstream.Middleware {
	return func(next upstream.Handler) upstream.Handler {
		return func(ctx context.Context, c *upstream.Call) (res *upstream.Result, err error) {
			defer func() {
				if v := recover(); v != nil {
					res, err = nil, panicked(log, c, v)
				}
			}()
			return next(ctx, c)
		}
	}
}

// panicked logs that a call has panicked and returns what it failed with. What the
// panic says may be anything, a secret too.
func panicked(log *slog.Logger, c *upstream.Call, v any) *upstream.Error {
	log.Error("panic in a call", "call", c.ID, "tool", c.Exposed, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
	return &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: upstream.Internal, Sent: true, Err: errors.New("panic")}
}

// How a call ends that does not fail; the other codes are those of [upstream.Kind].
const (
	codeOK        = "ok"
	codeToolError = "tool_error"
)

// observed writes one log line for each call, with where its time went, tells the
// observer of it, and remembers the source's last failure. m is nil for a tool of
// our own.
func observed(a *Aggregate, m *member) upstream.Middleware {
	return func(next upstream.Handler) upstream.Handler {
		return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			start := time.Now()
			if m != nil {
				m.active.Add(1)
				defer m.active.Add(-1)
			}
			res, err := next(ctx, c)
			took := time.Since(start)
			outcome, size := codeOK, 0
			line := slog.NewRecord(start.Add(took), slog.LevelInfo, "call", 0) // without where in the code, which nobody prints
			switch {
			case err != nil:
				e := upstream.AsError(c.Upstream, c.Name, err)
				line.Level, outcome = slog.LevelWarn, e.Kind.Code()
				line.AddAttrs(slog.String("error", e.Error()))
				if m != nil && e.Kind != upstream.Cancelled && e.Kind != upstream.InvalidArguments && (e.Kind != upstream.NeedsLogin || m.Users == nil) {
					m.failed.Store(&failure{time.Now(), unquoted(e), reads(c)})
				}
			case res.IsError:
				outcome, size = codeToolError, len(res.Raw)
			default:
				size = len(res.Raw)
			}
			a.opt.Observer.Called(c, Outcome{outcome, took, res})
			if !a.log.Enabled(ctx, line.Level) {
				return res, err
			}
			what := slog.String("tool", c.Name)
			if c.Op != upstream.CallTool {
				what = slog.String(string(c.Op), c.Name)
			}
			line.AddAttrs(
				slog.String("call", c.ID), slog.String("upstream", string(c.Upstream)),
				what, slog.String("client", c.Client),
				slog.String("session", c.Session), slog.String("principal", c.Principal.String()),
				slog.String("outcome", outcome), slog.Int("bytes", size),
				ms("total_ms", took), ms("queued_ms", c.Timing.Queued), ms("upstream_ms", c.Timing.Upstream),
				ms("own_ms", took-c.Timing.Queued-c.Timing.Upstream),
				slog.Int("attempts", c.Timing.Attempts))
			if c.Timing.Hedged {
				line.AddAttrs(slog.Bool("hedged", true))
			}
			if c.Timing.Memory != "" {
				line.AddAttrs(slog.String("memory", c.Timing.Memory))
			}
			_ = a.log.Handler().Handle(ctx, line) // as log would
			return res, err
		}
	}
}

// unquoted returns e without the upstream's own words: they answered one
// caller, while a source's last failure is told to every caller.
func unquoted(e *upstream.Error) *upstream.Error {
	if e.RPC == nil {
		return e
	}
	u := *e
	u.RPC, u.Public, u.Err = nil, "", nil
	return &u
}

func ms(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}

// timed stands next to the adapter, measures what the upstream took, and notes
// when it has answered.
func (s *presence) timed(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		start := time.Now()
		res, err := next(ctx, c)
		took := time.Since(start)
		c.Timing.Upstream += took
		c.Timing.Attempts++
		if err == nil || answers(err) {
			s.answered.Store(start.Add(took).UnixNano())
		}
		return res, err
	}
}

// answers reports whether a failure is an answer of the upstream that is well.
func answers(err error) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	if ok && errors.Is(err, upstream.ErrNoOutage) {
		return e.Kind != upstream.Timeout && e.Kind != upstream.Cancelled
	}
	return ok && e.RPC != nil && (e.Kind == upstream.UpstreamError || e.Kind == upstream.InvalidArguments || e.Kind == upstream.NotFound)
}
