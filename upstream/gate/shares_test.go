package gate_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// jain is Jain's index of fairness (Jain, Chiu and Hawe, 1984): 1 if all have
// the same, 1/n if one of n has it all.
func jain(shares map[string]float64) float64 {
	sum, squares := 0.0, 0.0
	for _, s := range shares {
		sum += s
		squares += s * s
	}
	return sum * sum / (float64(len(shares)) * squares)
}

// shared has eight sessions ask for more than there is, one after another so
// that the first come has everything if nobody sees to it, and returns Jain's
// index of what they were served until horizon.
func shared(t *testing.T, layer upstream.Middleware, horizon time.Duration) float64 {
	t.Helper()
	const sessions, each = 8, 100
	var mu sync.Mutex
	served := map[string]float64{}
	h := layer(func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		mu.Lock()
		served[c.Session]++
		mu.Unlock()
		time.Sleep(time.Second)
		return upstream.TextResult("ok", false), nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range sessions {
		served[fmt.Sprint(i)] = 0
		for range each {
			wg.Go(func() { _, _ = h(ctx, ofSession(fmt.Sprint(i))) })
		}
		synctest.Wait()
	}
	time.Sleep(horizon)
	cancel()
	wg.Wait()
	total := 0.0
	for _, n := range served {
		total += n
	}
	if total < sessions*each/4 || total > sessions*each/2 {
		t.Fatalf("%v served: too few or too many to judge by", total)
	}
	return jain(served)
}

func TestPlacesAreSharedEqually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gate.NewBulkhead(4, 800, 0)
		if j := shared(t, b.Layer, 75*time.Second); j < 0.95 {
			t.Errorf("Jain's index is %.3f", j)
		}
		if s := b.State(); s.Running != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestTokensAreSharedEqually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := gate.NewThrottle(gate.ThrottleOptions{Quotas: gate.NewQuotas(func() gate.Bucket { return gate.NewBucket(4, 1) }), Key: oneKey, Cost: unit})
		if j := shared(t, th.Layer, 75*time.Second); j < 0.95 {
			t.Errorf("Jain's index is %.3f", j)
		}
	})
}

// A waiter gives up at the moment at which it is granted the place: the place
// goes to the next.
func TestAPlaceGrantedTooLateIsNotLost(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			b := gate.NewBulkhead(1, 10, 0)
			ctx, giveUp := context.WithCancel(t.Context())
			release := make(chan struct{})
			holder := b.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
				<-release
				giveUp() // the place is free before the waiter has noticed
				return upstream.TextResult("ok", false), nil
			})
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = holder(t.Context(), call()) })
			synctest.Wait()
			var up busy
			h := b.Layer(up.handle)
			wg.Go(func() { _, _ = h(ctx, call()) })
			synctest.Wait()
			close(release)
			wg.Wait()
			if s := b.State(); s.Running != 0 || s.Waiting != 0 {
				t.Fatalf("%+v", s)
			}
		})
	}
}

// While it is frozen nothing comes in, however often it is looked at, and what
// was saved up before is gone.
func TestAFrozenBucketIsEmptyAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gate.NewBucket(10, 10)
		b.Freeze(time.Now().Add(10 * time.Second))
		for range 9 {
			time.Sleep(time.Second)
			if wait, err := b.Take(t.Context(), 1); err != nil || wait == 0 {
				t.Fatalf("a token while frozen: %s, %v", wait, err)
			}
		}
		if s := b.State(); s.Tokens > 1e-6 {
			t.Errorf("%+v", s)
		}
		if wait, err := b.Take(t.Context(), 1); err != nil || wait < 100*time.Millisecond {
			t.Errorf("the first token after %s, %v", wait, err)
		}
	})
}

// The same through the layer: a freeze does not end with a volley.
func TestNoVolleyAfterAFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 10
		var a arrivals
		var mu sync.Mutex
		refuse := true
		th := gate.NewThrottle(gate.ThrottleOptions{Quotas: gate.NewQuotas(func() gate.Bucket { return gate.NewBucket(rate, 10) }), Key: oneKey, Cost: unit})
		h := th.Layer(func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			mu.Lock()
			defer mu.Unlock()
			if refuse {
				refuse = false
				return nil, &upstream.Error{Kind: upstream.RateLimited, RetryAfter: time.Minute}
			}
			a.note(c, 1)
			return upstream.TextResult("ok", false), nil
		})
		_, _ = h(t.Context(), call())
		thawed := time.Now().Add(time.Minute)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := h(t.Context(), call()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if first := a.all[0].at; first.Before(thawed) {
			t.Errorf("the first came %s before the end of the freeze", thawed.Sub(first))
		}
		if over := a.worst(rate, 0.01+1); over > 1e-3 {
			t.Errorf("%.2f more than the rate alone allows", over)
		}
	})
}
