package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// hedged puts a hedge before an upstream, with what stands between them.
func hedged(up upstream.Handler, between ...upstream.Middleware) upstream.Handler {
	h := gate.NewHedge(yes)
	timed := func(next upstream.Handler) upstream.Handler {
		return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			began := time.Now()
			res, err := next(ctx, c)
			c.Timing.Upstream += time.Since(began)
			c.Timing.Attempts++
			return res, err
		}
	}
	return h.Layer(upstream.Chain(between...)(timed(h.Begun(up))))
}

// warm makes enough calls for the layer to know what is late.
func warm(t *testing.T, h upstream.Handler) {
	t.Helper()
	for range 60 {
		if _, err := h(t.Context(), call()); err != nil {
			t.Fatal(err)
		}
	}
}

// tail is an upstream that answers in 100 ms, apart from calls that get stuck.
type tail struct {
	calls, ended atomic.Int64
	stuck        atomic.Int64 // calls that are to hang from now on
	takes        time.Duration
}

func (u *tail) handle(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
	u.calls.Add(1)
	defer u.ended.Add(1)
	if u.stuck.Add(-1) >= 0 {
		<-ctx.Done()
		return nil, &upstream.Error{Kind: upstream.Cancelled, Sent: true, Err: ctx.Err()}
	}
	takes := 100 * time.Millisecond
	if u.takes > 0 {
		takes = u.takes
	}
	select {
	case <-time.After(takes):
		return upstream.TextResult("ok", false), nil
	case <-ctx.Done():
		return nil, &upstream.Error{Kind: upstream.Cancelled, Sent: true, Err: ctx.Err()}
	}
}

// settled is a tail after so many calls that it is known what is late.
func settled(t *testing.T, between ...upstream.Middleware) (*tail, upstream.Handler) {
	t.Helper()
	u := &tail{}
	h := hedged(u.handle, between...)
	warm(t, h)
	u.calls.Store(0)
	u.ended.Store(0)
	return u, h
}

func TestHedgeCutsTheTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, h := settled(t)
		u.stuck.Store(1)
		began, c := time.Now(), call()
		if _, err := h(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began).Round(time.Millisecond); took != 200*time.Millisecond || u.calls.Load() != 2 ||
			c.Timing.Attempts != 2 || !c.Timing.Hedged || c.Timing.Upstream.Round(time.Millisecond) != took {
			t.Errorf("%s, %d calls, %+v", took, u.calls.Load(), c.Timing)
		}
		if u.ended.Load() != 2 {
			t.Error("the loser is still there")
		}
		if c = call(); c.Timing.Hedged {
			t.Error("hedged without need")
		}
	})
}

// Waiting for a place or a token is not being late, before and after it is known
// what is.
func TestHedgeCountsFromTheAdapter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := func(next upstream.Handler) upstream.Handler {
			return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				if c.Name == "waits" {
					time.Sleep(time.Minute)
				}
				return next(ctx, c)
			}
		}
		u, h := settled(t, wait)
		c := call()
		c.Name = "waits"
		for range 60 {
			if _, err := h(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		if u.calls.Load() != 60 || c.Timing.Hedged {
			t.Errorf("%d calls", u.calls.Load())
		}
	})
}

func TestHedgesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, h := settled(t)
		u.takes = time.Second
		for range 100 {
			if _, err := h(t.Context(), call()); err != nil {
				t.Fatal(err)
			}
		}
		if extra := u.calls.Load() - 100; extra > 7 || extra < 1 { // 2 were saved up
			t.Errorf("%d hedges of 100 calls", extra)
		}
	})
}

// What a little lateness has used up is not missing for long where a call is stuck:
// it gets what calls beside it add.
func TestAStuckCallGetsTheNextOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, h := settled(t)
		u.takes = time.Second
		for range 2 { // which were saved up
			if _, err := h(t.Context(), call()); err != nil {
				t.Fatal(err)
			}
		}
		u.takes = 0
		u.stuck.Store(1)
		c, done := call(), make(chan error)
		go func() {
			_, err := h(t.Context(), c)
			done <- err
		}()
		synctest.Wait()
		time.Sleep(time.Minute)
		if u.stuck.Load() != 0 || u.calls.Load() != 5 {
			t.Fatalf("%d calls without a budget", u.calls.Load())
		}
		for range 20 {
			if _, err := h(t.Context(), call()); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		if err := <-done; err != nil || !c.Timing.Hedged || time.Since(began) > 2*time.Minute {
			t.Errorf("%v, %+v, after %s", err, c.Timing, time.Since(began))
		}
	})
}

func TestNoHedgeWhereItIsNotAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, may := range []func(*upstream.Call) bool{no, nil} {
			u := &tail{}
			g := gate.NewHedge(may)
			h := g.Layer(g.Begun(u.handle))
			warm(t, h)
			u.calls.Store(0)
			u.takes = time.Hour
			if _, err := h(t.Context(), call()); err != nil || u.calls.Load() != 1 {
				t.Errorf("%v, %d calls", err, u.calls.Load())
			}
		}
	})
}

// A second attempt waits for nothing, overtakes nobody, and what it is refused is
// not paid for: once there is room there is another.
func TestASecondAttemptTakesOnlyWhatIsFree(t *testing.T) {
	frozen := func() upstream.Middleware { // a quota that has just what the first attempt needs
		quotas := buckets(0.001, 61)
		return gate.NewThrottle(gate.ThrottleOptions{Quotas: quotas, Key: oneKey, Cost: unit}).Layer
	}
	for name, between := range map[string]func() upstream.Middleware{
		"no place": func() upstream.Middleware { return gate.NewBulkhead(1, 10, 0).Layer },
		"no token": frozen,
		"no class token": func() upstream.Middleware {
			class := buckets(0.001, 61)
			return gate.NewThrottle(gate.ThrottleOptions{Quotas: buckets(1000, 1000), Key: oneKey, Cost: unit,
				Class: func(*upstream.Call) *gate.Quotas { return class }}).Layer
		},
		"no main token": func() upstream.Middleware {
			class := buckets(1000, 1000)
			return gate.NewThrottle(gate.ThrottleOptions{Quotas: buckets(0.001, 61), Key: oneKey, Cost: unit,
				Class: func(*upstream.Call) *gate.Quotas { return class }}).Layer
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			u, h := settled(t, between())
			u.takes = 10 * time.Second
			began, c := time.Now(), call()
			if _, err := h(t.Context(), c); err != nil || time.Since(began) != u.takes {
				t.Errorf("%s: %v after %s", name, err, time.Since(began))
			}
			if u.calls.Load() != 1 || c.Timing.Hedged || c.Timing.Attempts != 1 {
				t.Errorf("%s: %d calls, %+v", name, u.calls.Load(), c.Timing)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // with room
		u, h := settled(t, gate.NewBulkhead(2, 10, 0).Layer)
		u.stuck.Store(1)
		if _, err := h(t.Context(), call()); err != nil || u.calls.Load() != 2 {
			t.Errorf("%v, %d calls", err, u.calls.Load())
		}
	})
}

// Where something is lacking a second attempt fails at once, although it could
// have it in time.
func TestASecondAttemptWaitsForNothing(t *testing.T) {
	of := func(all, class *gate.Quotas) upstream.Middleware {
		return gate.NewThrottle(gate.ThrottleOptions{Quotas: all, Key: oneKey, Cost: unit,
			Class: func(*upstream.Call) *gate.Quotas { return class }}).Layer
	}
	for name, layer := range map[string]func() upstream.Middleware{
		"place":       func() upstream.Middleware { return gate.NewBulkhead(1, 10, 0).Layer },
		"token":       func() upstream.Middleware { return of(buckets(0.1, 1), nil) },
		"class token": func() upstream.Middleware { return of(buckets(0.1, 10), buckets(0.1, 1)) },
		"main token":  func() upstream.Middleware { return of(buckets(0.1, 1), buckets(0.1, 10)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			u := &tail{takes: 10 * time.Second}
			h := layer()(u.handle)
			first := make(chan error)
			go func() {
				_, err := h(t.Context(), call())
				first <- err
			}()
			synctest.Wait()
			began, spare := time.Now(), call()
			spare.Hedged = &upstream.Hedged{Spare: true}
			if _, err := h(t.Context(), spare); kindOf(err) != upstream.Overloaded || time.Since(began) != 0 {
				t.Errorf("no %s: %v after %s", name, err, time.Since(began))
			}
			if err := <-first; err != nil || u.calls.Load() != 1 {
				t.Errorf("no %s: %v, %d calls", name, err, u.calls.Load())
			}
		})
	}
}

// A second attempt is never the probe of an open circuit, and the loser counts
// for nothing.
func TestHedgesAndBreakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gate.NewBreaker(gate.BreakerOptions{Failures: 1, CoolDown: time.Second})
		u, h := settled(t, b.Layer)
		for range 3 {
			u.stuck.Store(1)
			if _, err := h(t.Context(), call()); err != nil {
				t.Fatal(err)
			}
			warm(t, h)
		}
		if s := b.Status(); s.State != gate.Closed {
			t.Errorf("%+v", s)
		}
		bad := b.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) { return nil, errDown })
		_, _ = bad(t.Context(), call())
		time.Sleep(2 * time.Second)
		u.calls.Store(0)
		u.takes = 10 * time.Second
		if _, err := h(t.Context(), call()); err != nil || u.calls.Load() != 1 {
			t.Errorf("%v, %d calls to a half-open circuit", err, u.calls.Load())
		}
		spare := call()
		spare.Hedged = &upstream.Hedged{Spare: true}
		_, _ = bad(t.Context(), call())
		time.Sleep(10 * time.Second)
		if _, err := b.Layer(u.handle)(t.Context(), spare); kindOf(err) != upstream.Overloaded {
			t.Error(err)
		}
		if s := b.Status(); s.State != gate.Open {
			t.Errorf("%+v", s)
		}
	})
}

// When both fail the failure is told, and whether one of them may have been
// carried out; the first failure alone does not end the wait for the other.
func TestHedgeReportsAFailure(t *testing.T) {
	for name, c := range map[string]struct {
		first, second error
		want          upstream.Kind
		sent          bool
	}{
		"both":            {&upstream.Error{Kind: upstream.Unavailable}, &upstream.Error{Kind: upstream.Timeout}, upstream.Unavailable, false},
		"the second sent": {&upstream.Error{Kind: upstream.Unavailable}, &upstream.Error{Kind: upstream.Timeout, Sent: true}, upstream.Unavailable, true},
		"the first":       {&upstream.Error{Kind: upstream.Unavailable}, nil, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			bad := false
			var n atomic.Int64
			h := hedged(func(context.Context, *upstream.Call) (*upstream.Result, error) {
				if !bad {
					time.Sleep(10 * time.Millisecond)
					return upstream.TextResult("ok", false), nil
				}
				err := c.first
				if n.Add(1) == 2 {
					err = c.second
				}
				time.Sleep(time.Second)
				if err == nil {
					return upstream.TextResult("ok", false), nil
				}
				return nil, err
			})
			warm(t, h)
			bad = true
			_, err := h(t.Context(), call())
			e, _ := errors.AsType[*upstream.Error](err)
			if (e == nil) != (c.want == 0) || e != nil && (e.Kind != c.want || e.Sent != c.sent) || n.Load() != 2 {
				t.Errorf("%s: %v, %d attempts", name, err, n.Load())
			}
		})
	}
}

// A panic of either attempt reaches the layers around.
func TestHedgePassesAPanicOn(t *testing.T) {
	for _, which := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			bad := false
			var n atomic.Int64
			h := hedged(func(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
				if !bad {
					return upstream.TextResult("ok", false), nil
				}
				if n.Add(1) == int64(which) {
					panic("boom")
				}
				<-ctx.Done()
				return nil, ctx.Err()
			})
			warm(t, h)
			bad = true
			defer func() {
				if recover() != "boom" {
					t.Errorf("the panic of attempt %d was lost", which)
				}
			}()
			_, _ = h(t.Context(), call())
		})
	}
}

// Once the first attempt has asked something there is no second one; a second one
// that asks is dropped; and a person's time says nothing of the upstream's.
func TestHedgesAndQuestions(t *testing.T) {
	type step func(ctx context.Context, c *upstream.Call) (*upstream.Result, error)
	ask := func(ctx context.Context, c *upstream.Call) error {
		_, err := c.Back.Ask(ctx, upstream.Question{Method: upstream.AskElicitation})
		return err
	}
	good := func() (*upstream.Result, error) { return upstream.TextResult("ok", false), nil }
	slow := func(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
		select {
		case <-time.After(time.Minute):
			return good()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	asks := func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		if err := ask(ctx, c); err != nil {
			return nil, err
		}
		return good()
	}
	for name, c := range map[string]struct {
		first, second   step
		attempts, asked int64
		took            time.Duration
	}{
		"the first asks at once": {asks, slow, 1, 1, 5 * time.Second},
		"the first asks late": {func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			time.Sleep(time.Second)
			return asks(ctx, c)
		}, slow, 2, 1, 6 * time.Second},
		"the second asks": {slow, asks, 2, 0, time.Minute},
		"the second wants input": {slow, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			res, err := good()
			res.Type = upstream.InputRequired
			return res, err
		}, 2, 0, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			var steps []step
			var n, asked atomic.Int64
			h := hedged(func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				if steps == nil {
					time.Sleep(100 * time.Millisecond)
					return good()
				}
				return steps[n.Add(1)-1](ctx, c)
			})
			warm(t, h)
			steps = []step{c.first, c.second}
			asking := call()
			asking.Back.Ask = func(context.Context, upstream.Question) (json.RawMessage, error) {
				asked.Add(1)
				time.Sleep(5 * time.Second)
				return json.RawMessage(`{}`), nil
			}
			began := time.Now()
			if _, err := h(t.Context(), asking); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(began).Round(time.Millisecond); n.Load() != c.attempts || asked.Load() != c.asked || took != c.took {
				t.Errorf("%s: %d attempts, %d questions, %s", name, n.Load(), asked.Load(), took)
			}
		})
	}
}

// Progress and log messages come from one attempt only.
func TestASecondAttemptTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told, n atomic.Int64
		h := hedged(func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			nth := n.Add(1)
			if c.Back.Progress != nil {
				c.Back.Progress(nil)
			}
			if c.Back.Log != nil {
				c.Back.Log(nil)
			}
			if nth == 61 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return upstream.TextResult("ok", false), nil
		})
		warm(t, h)
		c := call()
		c.Back.Progress, c.Back.Log = func(json.RawMessage) { told.Add(1) }, func(json.RawMessage) { told.Add(1) }
		if _, err := h(t.Context(), c); err != nil || told.Load() != 2 || n.Load() != 62 {
			t.Errorf("%v, told %d times in %d calls", err, told.Load(), n.Load())
		}
	})
}
