package gate_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// warm makes enough calls for the layer to know what is late.
func warm(t *testing.T, h upstream.Handler) {
	t.Helper()
	for range 60 {
		if _, err := h(t.Context(), call()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHedgeCutsTheTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, stuck atomic.Int64
		h := gate.NewHedge(yes).Layer(func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			calls.Add(1)
			c.Timing.Attempts++
			if stuck.CompareAndSwap(1, 2) {
				<-ctx.Done()
				stuck.Store(3)
				return nil, &upstream.Error{Kind: upstream.Cancelled, Err: ctx.Err()}
			}
			time.Sleep(100 * time.Millisecond)
			return upstream.TextResult("ok", false), nil
		})
		warm(t, h)
		calls.Store(0)
		stuck.Store(1)
		began := time.Now()
		c := call()
		if _, err := h(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took.Round(time.Millisecond) != 200*time.Millisecond || calls.Load() != 2 || c.Timing.Attempts != 1 {
			t.Errorf("%s, %d calls, %+v", took, calls.Load(), c.Timing)
		}
		synctest.Wait()
		if stuck.Load() != 3 {
			t.Error("the loser was not cancelled")
		}
	})
}

func TestHedgesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		slow := false
		h := gate.NewHedge(yes).Layer(func(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
			calls.Add(1)
			d := 100 * time.Millisecond
			if slow {
				d = time.Second
			}
			select {
			case <-time.After(d):
				return upstream.TextResult("ok", false), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		warm(t, h)
		slow = true
		calls.Store(0)
		for range 100 {
			_, _ = h(t.Context(), call())
		}
		if extra := calls.Load() - 100; extra > 7 || extra < 1 {
			t.Errorf("%d hedges of 100 calls", extra)
		}
	})
}

func TestNoHedgeWhereItIsNotAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		slow := false
		h := gate.NewHedge(no).Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
			calls.Add(1)
			if slow {
				time.Sleep(time.Hour)
			}
			return upstream.TextResult("ok", false), nil
		})
		warm(t, h)
		slow = true
		calls.Store(0)
		if _, err := h(t.Context(), call()); err != nil || calls.Load() != 1 {
			t.Errorf("%v, %d calls", err, calls.Load())
		}
	})
}

// When both fail the failure is told; the first failure alone does not end the
// wait for the other.
func TestHedgeReportsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mode := "good"
		h := gate.NewHedge(yes).Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
			time.Sleep(10 * time.Millisecond)
			if mode == "bad" {
				time.Sleep(time.Second)
				return nil, errDown
			}
			return upstream.TextResult("ok", false), nil
		})
		warm(t, h)
		mode = "bad"
		if _, err := h(t.Context(), call()); kindOf(err) != upstream.Unavailable {
			t.Error(err)
		}
	})
}

// A panic reaches the layers around, as it does without hedging.
func TestHedgePassesAPanicOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := false
		h := gate.NewHedge(yes).Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
			if bad {
				panic("boom")
			}
			return upstream.TextResult("ok", false), nil
		})
		warm(t, h)
		bad = true
		defer func() {
			if recover() != "boom" {
				t.Error("the panic was lost")
			}
		}()
		_, _ = h(t.Context(), call())
	})
}
