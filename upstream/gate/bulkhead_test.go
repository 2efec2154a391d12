package gate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

func kindOf(err error) upstream.Kind {
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		return e.Kind
	}
	return upstream.Internal
}

// busy is an upstream that takes a second and knows how many were there at once.
type busy struct {
	now, most, calls atomic.Int64
}

func (b *busy) handle(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
	n := b.now.Add(1)
	defer b.now.Add(-1)
	b.calls.Add(1)
	for m := b.most.Load(); n > m && !b.most.CompareAndSwap(m, n); m = b.most.Load() {
	}
	select {
	case <-time.After(time.Second):
		return upstream.TextResult("ok", false), nil
	case <-ctx.Done():
		return nil, &upstream.Error{Kind: upstream.Cancelled, Sent: true, Err: ctx.Err()}
	}
}

func TestBulkheadBoundsWhatRunsAtOnce(t *testing.T) {
	for _, limit := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			var up busy
			h := gate.NewBulkhead(limit, 100, 0).Layer(up.handle)
			began := time.Now()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if _, err := h(t.Context(), call()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(began); up.most.Load() != int64(limit) || took != time.Duration(20/limit)*time.Second {
				t.Errorf("limit %d: %d at once, %s", limit, up.most.Load(), took)
			}
		})
	}
}

func TestBulkheadBoundsItsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up busy
		b := gate.NewBulkhead(1, 2, 0)
		h := b.Layer(up.handle)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _, _ = h(t.Context(), call()) })
		}
		synctest.Wait()
		if s := b.State(); s.Running != 1 || s.Waiting != 2 {
			t.Errorf("%+v", s)
		}
		_, err := h(t.Context(), call())
		if e, _ := errors.AsType[*upstream.Error](err); e == nil || e.Kind != upstream.Overloaded || e.Sent {
			t.Errorf("%+v", err)
		}
		wg.Wait()
	})
}

func TestBulkheadBoundsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := gate.NewBulkhead(1, 10, 10*time.Second).Layer(hang)
		ctx, stop := context.WithCancel(t.Context())
		go func() { _, _ = h(ctx, call()) }()
		synctest.Wait()
		c := call()
		began := time.Now()
		_, err := h(t.Context(), c)
		if took := time.Since(began); kindOf(err) != upstream.Overloaded || took != 10*time.Second || c.Timing.Queued != took {
			t.Errorf("%v after %s, queued %s", err, took, c.Timing.Queued)
		}
		stop()
		synctest.Wait()
	})
}

// A waiter that gives up leaves its place to others at once.
func TestBulkheadForgetsWhoGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up busy
		b := gate.NewBulkhead(1, 1, 0)
		h := b.Layer(up.handle)
		go func() { _, _ = h(t.Context(), call()) }()
		synctest.Wait()
		ctx, giveUp := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := h(ctx, call())
			done <- err
		}()
		synctest.Wait()
		giveUp()
		if err := <-done; kindOf(err) != upstream.Cancelled {
			t.Error(err)
		}
		if s := b.State(); s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		if _, err := h(t.Context(), call()); err != nil || up.calls.Load() != 2 {
			t.Errorf("%v, %d calls", err, up.calls.Load())
		}
	})
}

// Random arrivals and cancels: never too many at once, nobody is lost, and in
// the end everything is free.
func TestBulkheadLosesNothing(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			var up busy
			limit := 1 + r.IntN(5)
			b := gate.NewBulkhead(limit, 50, 20*time.Second)
			h := b.Layer(up.handle)
			var wg sync.WaitGroup
			for range 60 {
				start := time.Duration(r.IntN(3_000)) * time.Millisecond
				patience := time.Duration(1+r.IntN(40_000)) * time.Millisecond
				session := fmt.Sprint(r.IntN(4))
				wg.Go(func() {
					time.Sleep(start)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					_, _ = h(ctx, ofSession(session))
				})
			}
			wg.Wait()
			if s := b.State(); s.Running != 0 || s.Waiting != 0 || up.most.Load() > int64(limit) {
				t.Errorf("seed %d: %+v, %d at once", seed, s, up.most.Load())
			}
		})
	}
}

// An upstream that says it is too much gets half, once for all that were under
// way, and grows back.
func TestBulkheadLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gate.NewBulkhead(16, 400, 0)
		refuse := true
		h := b.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
			time.Sleep(100 * time.Millisecond)
			if refuse {
				return nil, &upstream.Error{Kind: upstream.RateLimited}
			}
			return upstream.TextResult("ok", false), nil
		})
		together := func(n int) {
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { _, _ = h(t.Context(), call()) })
			}
			wg.Wait()
		}
		together(16)
		if s := b.State(); s.Limit != 8 {
			t.Errorf("%+v after one volley", s)
		}
		time.Sleep(time.Minute)
		for range 20 {
			together(1)
			time.Sleep(2 * time.Second)
		}
		if s := b.State(); s.Limit != 1 {
			t.Errorf("%+v, which must not be less than one", s)
		}
		refuse = false
		together(400)
		if s := b.State(); s.Limit != 16 {
			t.Errorf("%+v after many good answers", s)
		}
	})
}
