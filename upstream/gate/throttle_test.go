package gate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// arrivals is the oracle: an upstream that writes down when it was called, and
// knows nothing of how the calls were held back.
type arrivals struct {
	mu  sync.Mutex
	all []arrival
}

type arrival struct {
	at      time.Time
	cost    float64
	session string
}

func (a *arrivals) note(c *upstream.Call, cost float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, arrival{time.Now(), cost, c.Session})
}

// worst returns how much more arrived in some window than burst + rate·window
// allows; not more than 0 if all is well.
func (a *arrivals) worst(rate, burst float64) float64 {
	worst := 0.0
	for i := range a.all {
		sum := 0.0
		for j := i; j < len(a.all); j++ {
			sum += a.all[j].cost
			worst = max(worst, sum-burst-rate*a.all[j].at.Sub(a.all[i].at).Seconds())
		}
	}
	return worst
}

func ofSession(s string) *upstream.Call {
	c := call()
	c.Session, c.Principal = s, upstream.Local()
	return c
}

func oneKey(*upstream.Call) string { return "all" }

func unit(*upstream.Call) float64 { return 1 }

func buckets(rate, burst float64) *gate.Quotas {
	return gate.NewQuotas(func() gate.Bucket { return gate.NewBucket(rate, burst) })
}

// quota returns a throttle with one quota, and the upstream behind it.
func quota(rate, burst float64, cost func(*upstream.Call) float64) (upstream.Handler, *arrivals) {
	a := &arrivals{}
	t := gate.NewThrottle(gate.ThrottleOptions{Quotas: buckets(rate, burst), Key: oneKey, Cost: cost})
	h := t.Layer(func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		a.note(c, cost(c))
		return upstream.TextResult("ok", false), nil
	})
	return h, a
}

// Random callers, costs, pauses and cancels: no window of time ever sees more
// than its quota, and who is not cancelled gets through.
func TestNeverOverQuota(t *testing.T) {
	schedules := 300
	if testing.Short() {
		schedules = 30
	}
	for seed := range uint64(schedules) {
		synctest.Test(t, func(t *testing.T) { overQuota(t, seed) })
	}
}

func overQuota(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	rate, burst := 0.5+r.Float64()*50, 3+float64(r.IntN(10))
	h, oracle := quota(rate, burst, func(c *upstream.Call) float64 { return float64(len(c.ID)) })
	var wg sync.WaitGroup
	calls := 1 + r.IntN(100)
	served, gaveUp := 0, 0
	var mu sync.Mutex
	for i := range calls {
		c := ofSession(fmt.Sprint(r.IntN(5)))
		c.ID = strings.Repeat("x", 1+r.IntN(3)) // as long as its cost
		ctx, cancel := context.WithCancel(t.Context())
		patience := time.Hour
		if r.IntN(4) == 0 {
			patience = time.Duration(r.IntN(3_000)) * time.Millisecond
		}
		start := time.Duration(r.IntN(5_000)) * time.Millisecond
		if i%7 == 0 {
			start = 2 * time.Second // many at the same instant
		}
		wg.Go(func() {
			defer cancel()
			time.Sleep(start)
			time.AfterFunc(patience, cancel)
			_, err := h(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				served++
			} else {
				gaveUp++
			}
			if err != nil && patience == time.Hour {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
	}
	wg.Wait()
	if len(oracle.all) != served || served+gaveUp != calls {
		t.Errorf("seed %d: %d arrived, %d served, %d gave up of %d", seed, len(oracle.all), served, gaveUp, calls)
	}
	if over := oracle.worst(rate, burst); over > 1e-3 {
		t.Errorf("seed %d: %.4f over the quota", seed, over)
	}
	time.Sleep(2 * time.Hour) // the cancels that come too late
}

// One session queues a thousand calls; another's single call does not wait for
// them.
func TestThrottleIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 10
		h, oracle := quota(rate, 1, unit)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 1_000 {
			wg.Go(func() { _, _ = h(ctx, ofSession("hog")) })
		}
		synctest.Wait()
		time.Sleep(time.Second)
		began := time.Now()
		if _, err := h(t.Context(), ofSession("light")); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited > 2*2*time.Second/rate {
			t.Errorf("the light session waited %s", waited)
		}
		stop()
		wg.Wait()
		// Cancelled waiters leave nothing behind: the next is served at once.
		began = time.Now()
		if _, err := h(t.Context(), ofSession("light")); err != nil || time.Since(began) > time.Second/rate {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if n := len(oracle.all); n > 15 {
			t.Errorf("%d calls arrived", n)
		}
	})
}

func TestThrottleRefusesWhatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, oracle := quota(0.1, 1, unit)
		if _, err := h(t.Context(), call()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		_, err := h(ctx, call())
		e, ok := errors.AsType[*upstream.Error](err)
		if !ok || e.Kind != upstream.RateLimited || e.Sent || e.RetryAfter < 9*time.Second || e.RetryAfter > 10*time.Second {
			t.Errorf("%+v", e)
		}
		if took := time.Since(began); took != 0 || len(oracle.all) != 1 {
			t.Errorf("refused after %s, %d arrived", took, len(oracle.all))
		}
	})
}

// A quota that the upstream says is used up is left alone for as long as it
// says, and no longer than a quarter of an hour.
func TestThrottleFreezes(t *testing.T) {
	for after, want := range map[time.Duration]time.Duration{
		30 * time.Second:                 30 * time.Second,
		0:                                time.Second,
		-time.Hour:                       time.Second,
		1_000_000_000 * time.Second:      15 * time.Minute,
		75 * 365 * 24 * 60 * time.Minute: 15 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			refuse := true
			var at []time.Time
			quotas := buckets(100, 10)
			th := gate.NewThrottle(gate.ThrottleOptions{Quotas: quotas, Key: oneKey, Cost: unit})
			h := th.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
				at = append(at, time.Now())
				if refuse {
					return nil, &upstream.Error{Kind: upstream.RateLimited, RetryAfter: after}
				}
				return upstream.TextResult("ok", false), nil
			})
			if _, err := h(t.Context(), call()); err == nil {
				t.Fatal("no error")
			}
			refuse = false
			if s := quotas.State()["all"]; s.Frozen.IsZero() || s.Tokens != 0 {
				t.Errorf("%+v", s)
			}
			if _, err := h(t.Context(), call()); err != nil {
				t.Fatal(err)
			}
			if waited := at[1].Sub(at[0]); waited < want || waited > want+time.Second {
				t.Errorf("retry-after %s: %s passed, want %s", after, waited, want)
			}
		})
	}
}

// After a freeze the rate comes back slowly, and comes back.
func TestThrottleRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gate.NewBucket(100, 10)
		b.Freeze(time.Now().Add(time.Second))
		time.Sleep(time.Second)
		first := b.State().Rate
		time.Sleep(20 * time.Second)
		then := b.State().Rate
		time.Sleep(2 * time.Minute)
		last := b.State().Rate
		if first > 55 || then <= first || then >= 100 || last != 100 {
			t.Errorf("the rate is %.1f, then %.1f, then %.1f", first, then, last)
		}
	})
}

// One quota's freeze is no other's.
func TestQuotasAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quotas := buckets(1, 1)
		th := gate.NewThrottle(gate.ThrottleOptions{Quotas: quotas, Key: func(c *upstream.Call) string { return c.Session }, Cost: unit})
		h := th.Layer(func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			if c.Session == "bad" {
				return nil, &upstream.Error{Kind: upstream.RateLimited, RetryAfter: time.Minute}
			}
			return upstream.TextResult("ok", false), nil
		})
		_, _ = h(t.Context(), ofSession("bad"))
		began := time.Now()
		if _, err := h(t.Context(), ofSession("good")); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		var keys []string
		for key := range quotas.State() {
			keys = append(keys, key)
		}
		if slices.Sort(keys); fmt.Sprint(keys) != "[bad good]" {
			t.Error(keys)
		}
	})
}
