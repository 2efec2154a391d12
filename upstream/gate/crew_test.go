package gate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

func ofPlan(p *upstream.Plan, session string) *upstream.Call {
	c := ofSession(session)
	c.Plan = p
	return c
}

// The calls of a plan are one caller: they need a single place in the queue, and
// however long they wait for each other is too long for none. No place is empty
// while one waits.
func TestAPlanIsOneCaller(t *testing.T) {
	for _, c := range []struct{ limit, queue, calls int }{{4, 1, 48}, {2, 4, 16}, {1, 0, 30}, {3, 1, 4}} {
		synctest.Test(t, func(t *testing.T) {
			var up busy
			b := gate.NewBulkhead(c.limit, c.queue, 500*time.Millisecond)
			h := b.Layer(up.handle)
			began, plan := time.Now(), &upstream.Plan{}
			var wg sync.WaitGroup
			for range c.calls {
				wg.Go(func() {
					if _, err := h(t.Context(), ofPlan(plan, "a")); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			if s := b.State(); s.Running != c.limit || s.Waiting != c.calls-c.limit {
				t.Errorf("%+v of %+v", s, c)
			}
			wg.Wait()
			if took := time.Since(began); took != time.Duration((c.calls+c.limit-1)/c.limit)*time.Second {
				t.Errorf("%+v took %v", c, took)
			}
		})
	}
}

// A plan that has nothing under way is refused as a single call is: by a full queue,
// and after the wait.
func TestAPlanIsRefusedLikeACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := gate.NewBulkhead(1, 1, 10*time.Second).Layer(hang)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = h(ctx, call()) })
		synctest.Wait()
		first, second := &upstream.Plan{}, &upstream.Plan{}
		began := time.Now()
		for i := range 3 {
			wg.Go(func() {
				_, err := h(ctx, ofPlan(first, "a"))
				if took := time.Since(began); kindOf(err) != upstream.Overloaded || took != 10*time.Second {
					t.Errorf("call %d: %v after %v", i, err, took)
				}
			})
			synctest.Wait()
		}
		for range 2 {
			if _, err := h(t.Context(), ofPlan(second, "b")); kindOf(err) != upstream.Overloaded || time.Since(began) != 0 {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		stop()
		wg.Wait()
	})
}

// A long plan keeps nobody waiting for more than a turn, not even its own session.
func TestAPlanTakesTurns(t *testing.T) {
	for _, session := range []string{"a", "b"} {
		synctest.Test(t, func(t *testing.T) {
			var up busy
			h := gate.NewBulkhead(2, 2, 10*time.Second).Layer(up.handle)
			plan := &upstream.Plan{}
			var wg sync.WaitGroup
			for range 40 {
				wg.Go(func() { _, _ = h(t.Context(), ofPlan(plan, "a")) })
			}
			synctest.Wait()
			began := time.Now()
			if _, err := h(t.Context(), ofSession(session)); err != nil || time.Since(began) > 2*time.Second {
				t.Errorf("session %s: %v after %v", session, err, time.Since(began))
			}
			wg.Wait()
		})
	}
}

// In a line of writes a plan counts once and lets others in between; its own order
// stays.
func TestAPlanInALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var began []string
		o := gate.NewOrder(2, func(*upstream.Call) (string, bool) { return "", true })
		h := o.Layer(func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			mu.Lock()
			began = append(began, c.ID)
			mu.Unlock()
			time.Sleep(time.Second)
			return upstream.TextResult("ok", false), nil
		})
		plan := &upstream.Plan{}
		var wg sync.WaitGroup
		come := func(id string, p *upstream.Plan) {
			c := call()
			c.ID, c.Plan = id, p
			wg.Go(func() {
				if _, err := h(t.Context(), c); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			})
			synctest.Wait()
		}
		for i := range 5 {
			come(fmt.Sprint(i), plan)
		}
		come("x", nil)
		come("y", nil)
		if o.Waiting() != 6 {
			t.Errorf("%d wait", o.Waiting())
		}
		if _, err := h(t.Context(), call()); kindOf(err) != upstream.Overloaded {
			t.Error(err)
		}
		wg.Wait()
		if want := []string{"0", "1", "x", "y", "2", "3", "4"}; !slices.Equal(began, want) {
			t.Errorf("%v, want %v", began, want)
		}
	})
}

// Random plans, calls and cancels: nobody is lost, never too many at once, and in
// the end nothing is left.
func TestPlansLoseNothing(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			var up busy
			limit := 1 + r.IntN(4)
			o := gate.NewOrder(r.IntN(5), func(c *upstream.Call) (string, bool) { return c.ID, c.ID != "" })
			b := gate.NewBulkhead(limit, r.IntN(5), time.Duration(1+r.IntN(5))*time.Second)
			h := o.Layer(b.Layer(up.handle))
			plans := []*upstream.Plan{nil, {}, {}, {}}
			var wg sync.WaitGroup
			for range 80 {
				start := time.Duration(r.IntN(3_000)) * time.Millisecond
				patience := time.Duration(1+r.IntN(40_000)) * time.Millisecond
				n := r.IntN(len(plans))
				c := ofPlan(plans[n], fmt.Sprint(n))
				c.ID = []string{"", "", "p", "q"}[r.IntN(4)]
				wg.Go(func() {
					time.Sleep(start)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					_, _ = h(ctx, c)
				})
			}
			wg.Wait()
			if s := b.State(); s.Running != 0 || s.Waiting != 0 || up.most.Load() > int64(limit) || o.Waiting() != 0 {
				t.Errorf("seed %d: %+v, %d at once, %d in line", seed, s, up.most.Load(), o.Waiting())
			}
			if n := b.Plans() + o.Plans(); n != 0 {
				t.Errorf("seed %d: %d plans are remembered", seed, n)
			}
		})
	}
}
