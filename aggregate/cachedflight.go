package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/cache"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// flightKey is what reads have in common that are carried out once. What one
// client wants to hear meanwhile the upstream is told in the request, so those
// that want the same fly together.
type flightKey struct {
	cache.Key
	epoch    cache.Epoch // a read that comes after a write has ended joins none of before
	progress bool
	level    string // of log messages
	// session is set where log messages are wanted: a legacy server may send them
	// on a channel where nothing says which call they belong to.
	session string
	// plan is that of a call which shares no answer with those that began before.
	plan *upstream.Plan
}

func (k *memory) flightKey(c *upstream.Call, q question) flightKey {
	f := flightKey{Key: q.own, epoch: k.shelf.Epoch(), progress: c.Back.Progress != nil, level: c.Back.LogLevel}
	if c.Back.Log != nil {
		f.session = c.Session
	}
	if fresh(c) {
		f.plan = c.Plan
	}
	return f
}

// outcome is what a flight has led to.
type outcome struct {
	res    *upstream.Result
	err    error
	found  *cache.Found[*memo] // it was kept just before; nil if not
	timing upstream.Timing
}

// personal reports whether an outcome is for the one alone whose call it was:
// questions, or the handle of work that goes on.
func (o *outcome) personal() bool {
	if o.res != nil {
		return o.res.Type != upstream.Final
	}
	e, ok := errors.AsType[*upstream.Error](o.err)
	return ok && e.RPC != nil && e.RPC.Code == codeElicitURL
}

// together carries a read out, or waits for the answer to an equal one that is
// under way.
func (k *memory) together(ctx context.Context, c *upstream.Call, q question, next upstream.Handler) (*upstream.Result, error) {
	began, key := time.Now(), k.flightKey(c, q)
	out, part, err := k.flights.Do(ctx, key, c, func(ctx context.Context, f *flight) outcome {
		return k.fly(ctx, c, f, q, next)
	})
	switch {
	case err != nil: // it left, and others go on
		waited(c, began)
		e := upstream.AsError(c.Upstream, c.Name, ctx.Err())
		e.Err = err
		return nil, e
	case part == cache.LetGo, part == cache.Shared && out.personal():
		return next(ctx, c)
	case out.found != nil:
		return k.hit(c, *out.found), nil
	case part == cache.Led:
		c.Timing.Queued += out.timing.Queued
		c.Timing.Upstream += out.timing.Upstream
		c.Timing.Attempts += out.timing.Attempts
		c.Timing.Hedged = out.timing.Hedged
		return out.res, out.err
	}
	waited(c, began)
	c.Timing.Memory = byFlight
	k.shared.Add(1)
	if out.err != nil {
		return nil, out.err
	}
	return impersonal(out.res), nil
}

type flight = cache.Flight[flightKey, *upstream.Call, outcome]

// fly carries a read out for all who wait for it. c is the call of the one who
// came first, which may have left.
func (k *memory) fly(ctx context.Context, c *upstream.Call, f *flight, q question, next upstream.Handler) outcome {
	asked := k.shelf.Epoch() // none is older that may be shared
	if _, may := k.m.ttl(c); may && !fresh(c) {
		if _, found, ok := k.find(q); ok && found.Fresh {
			return outcome{found: &found}
		}
	}
	var out outcome
	var personal atomic.Bool
	mine := *c
	mine.Timing = &out.timing
	mine.Back = k.back(c, f, &personal)
	out.res, out.err = next(ctx, &mine)
	if out.err == nil && !out.res.IsError && !out.res.Gaps && !out.personal() && !personal.Load() {
		k.keep(c, q, asked, out.res)
	}
	return out
}

// back returns the way back to everybody who waits. A question goes to the one
// who has waited longest in the conversation that the upstream knows of, and from
// then on the answer is that one's alone; personal notes that.
func (k *memory) back(c *upstream.Call, f *flight, personal *atomic.Bool) upstream.Back {
	back := c.Back
	if back.Progress != nil {
		back.Progress = func(params json.RawMessage) {
			f.Each(func(w *upstream.Call) { w.Back.Progress(params) })
		}
	}
	if back.Log != nil {
		back.Log = func(params json.RawMessage) {
			f.Each(func(w *upstream.Call) { w.Back.Log(params) })
		}
	}
	if back.Ask != nil {
		back.Ask = func(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
			personal.Store(true)
			w, ok := f.Alone(func(w *upstream.Call) bool { return w.Session == c.Session })
			if !ok {
				return nil, &upstream.RPCError{Code: upstream.CodeInternal, Message: "the client that could be asked has gone"}
			}
			return w.Back.Ask(ctx, q)
		}
	}
	return back
}
