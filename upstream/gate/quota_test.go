package gate_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// taken returns how many tokens a bucket hands out at once, at most so many.
func taken(t *testing.T, b gate.Bucket, most int) int {
	t.Helper()
	for n := range most {
		wait, err := b.Take(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if again := b.Wait(1); (again == 0) != (wait == 0) && n < most-1 && wait > 0 {
			t.Errorf("take says %s, wait says %s", wait, again)
		}
		if wait > 0 {
			return n
		}
	}
	return most
}

// What an upstream says is left is the most that is handed out until there is
// more, with or without a rate; it never makes more of it, and costs no rate.
func TestLower(t *testing.T) {
	for name, rate := range map[string]float64{"a rate": 1000, "no rate": 1e6} {
		synctest.Test(t, func(t *testing.T) {
			b := gate.NewBucket(rate, rate)
			b.Lower(3, time.Now().Add(10*time.Second))
			b.Lower(500, time.Now().Add(20*time.Second)) // an older answer
			time.Sleep(5 * time.Second)
			if s := b.State(); s.Tokens != 3 || !s.Frozen.IsZero() {
				t.Errorf("%s: %+v", name, s)
			}
			if wait := b.Wait(4); wait != 5*time.Second {
				t.Errorf("%s: %s for more than is left", name, wait)
			}
			if n := taken(t, b, 100); n != 3 {
				t.Errorf("%s: %d tokens", name, n)
			}
			s := b.State()
			if left := time.Until(s.Frozen); left != 5*time.Second || s.Rate != rate {
				t.Errorf("%s: %+v", name, s)
			}
			time.Sleep(5*time.Second + time.Second/10)
			if n := taken(t, b, 50); n != 50 {
				t.Errorf("%s: %d tokens after it", name, n)
			}
			b.Lower(7, time.Now()) // it does not say until when
			if s := b.State(); s.Tokens > 7 || !s.Frozen.IsZero() {
				t.Errorf("%s: %+v", name, s)
			}
			b.Lower(0, time.Now().Add(time.Minute))
			if wait := b.Wait(1); wait < time.Minute || wait > time.Minute+time.Second {
				t.Errorf("%s: %s", name, wait)
			}
			b.Lower(9, time.Now().Add(time.Second))
			if wait := b.Wait(1); wait < time.Minute {
				t.Errorf("%s: a freeze was cut short to %s", name, wait)
			}
		})
	}
}

// What an upstream says is left is no gift: what was spent stays spent.
func TestLowerNeverRaises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gate.NewBucket(0.001, 10)
		if n := taken(t, b, 8); n != 8 {
			t.Fatalf("%d tokens", n)
		}
		for _, until := range []time.Duration{-time.Hour, 0, time.Hour} {
			b.Lower(9, time.Now().Add(until))
		}
		if n := taken(t, b, 10); n != 2 {
			t.Errorf("%d tokens of the 2 that are left", n)
		}
	})
}

// said is an upstream that answers what it is told to.
type said struct {
	res *upstream.Result
	err error
	at  []time.Time
}

func (s *said) handle(context.Context, *upstream.Call) (*upstream.Result, error) {
	s.at = append(s.at, time.Now())
	return s.res, s.err
}

// What a good answer says is left counts at once, for a quarter of an hour at
// most; that nothing is left freezes the quota.
func TestThrottleLearnsFromGoodAnswers(t *testing.T) {
	for _, c := range []struct {
		quota upstream.Quota
		calls int           // that go out at once after the first
		wait  time.Duration // of the next, from the first one on
	}{
		{upstream.Quota{Remaining: 2, Reset: time.Minute}, 2, time.Minute},
		{upstream.Quota{Remaining: 0, Reset: time.Minute}, 0, time.Minute},
		{upstream.Quota{Remaining: 0}, 0, time.Second},
		{upstream.Quota{Remaining: 0.5, Reset: -time.Hour}, 0, time.Second},
		{upstream.Quota{Remaining: -5, Reset: 1 << 62}, 0, 15 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			up := &said{res: &upstream.Result{Quota: &c.quota}}
			h := gate.NewThrottle(gate.ThrottleOptions{Quotas: buckets(1e6, 1e6), Key: oneKey, Cost: unit}).Layer(up.handle)
			first := true
			for range c.calls + 2 {
				if _, err := h(t.Context(), call()); err != nil {
					t.Fatal(err)
				}
				if first {
					up.res, first = &upstream.Result{}, false
				}
			}
			last := len(up.at) - 1
			if before, wait := up.at[last-1].Sub(up.at[0]), up.at[last].Sub(up.at[0]); before != 0 || wait < c.wait || wait > c.wait+time.Millisecond {
				t.Errorf("%+v: %s, then %s", c.quota, before, wait)
			}
		})
	}
}

// classed is a throttle whose tools "search" are a class.
func classed(up upstream.Handler, all, class *gate.Quotas) upstream.Handler {
	return gate.NewThrottle(gate.ThrottleOptions{Quotas: all, Key: oneKey, Cost: unit, Class: func(c *upstream.Call) *gate.Quotas {
		if c.Name == "search" {
			return class
		}
		return nil
	}}).Layer(up)
}

func named(name string) *upstream.Call {
	c := call()
	c.Name = name
	return c
}

// A call of a class is counted in both quotas; what it is told concerns the class
// alone.
func TestClassesOfAQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, all, class := &said{res: &upstream.Result{}}, buckets(1, 10), buckets(0.1, 2)
		h := classed(up.handle, all, class)
		for _, name := range []string{"search", "get", "search"} {
			if _, err := h(t.Context(), named(name)); err != nil {
				t.Fatal(err)
			}
		}
		if a, c := all.State()["all"].Tokens, class.State()["all"].Tokens; a != 7 || c != 0 {
			t.Errorf("%g of all and %g of the class are left", a, c)
		}
		soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := h(soon, named("search")); kindOf(err) != upstream.RateLimited {
			t.Error(err)
		}
		if _, err := h(soon, named("get")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		up.err = &upstream.Error{Kind: upstream.RateLimited, RetryAfter: time.Hour}
		_, _ = h(t.Context(), named("search"))
		up.err, up.res = nil, &upstream.Result{Quota: &upstream.Quota{Remaining: 3, Reset: time.Minute}}
		if frozen := time.Until(class.State()["all"].Frozen); frozen != gate.MaxFreeze {
			t.Errorf("the class is frozen for %s", frozen)
		}
		began := time.Now()
		if _, err := h(t.Context(), named("get")); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if a := all.State()["all"]; a.Tokens != 3 || !a.Frozen.IsZero() {
			t.Errorf("%+v", a)
		}
		if _, err := h(t.Context(), named("search")); err != nil || time.Since(began) < gate.MaxFreeze {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// Who gives up, or is refused, while a class has promised it tokens leaves them to
// others.
func TestPromisesOfAClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, all, class := &said{res: &upstream.Result{}}, buckets(0.1, 1), buckets(1000, 1)
		h := classed(up.handle, all, class)
		if _, err := h(t.Context(), named("get")); err != nil { // all tokens of the main quota
			t.Fatal(err)
		}
		gone, giveUp := context.WithCancel(t.Context())
		out := make(chan error, 2)
		for _, ctx := range []context.Context{gone, t.Context()} {
			go func() {
				_, err := h(ctx, named("search"))
				out <- err
			}()
			synctest.Wait()
		}
		giveUp()
		if err := <-out; kindOf(err) != upstream.Cancelled {
			t.Error(err)
		}
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h(soon, named("get")); kindOf(err) != upstream.RateLimited { // the next token is the other's
			t.Error(err)
		}
		began := time.Now()
		if err := <-out; err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// A promise that a freeze breaks is asked for again.
func TestABrokenPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, all, class := &said{res: &upstream.Result{}}, buckets(0.1, 1), buckets(1000, 2)
		h := classed(up.handle, all, class)
		if _, err := h(t.Context(), named("get")); err != nil { // all tokens of the main quota
			t.Fatal(err)
		}
		began, out := time.Now(), make(chan error)
		go func() {
			_, err := h(t.Context(), named("search"))
			out <- err
		}()
		synctest.Wait()
		busy := classed((&said{err: &upstream.Error{Kind: upstream.RateLimited, RetryAfter: time.Minute}}).handle, buckets(1, 1), class)
		if _, err := busy(t.Context(), named("search")); kindOf(err) != upstream.RateLimited {
			t.Error(err)
		}
		if err, took := <-out, time.Since(began); err != nil || took < time.Minute || took > time.Minute+time.Second {
			t.Errorf("%v after %s", err, took)
		}
		if _, err := h(t.Context(), named("search")); err != nil || len(up.at) != 3 {
			t.Errorf("%v, %d calls", err, len(up.at))
		}
	})
}

// Who finds the tokens of a class promised to another waits for the next ones; it
// is refused only if these come too late.
func TestAPromisedClassRefusesNobodyTooSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := classed(func(context.Context, *upstream.Call) (*upstream.Result, error) { return &upstream.Result{}, nil },
			buckets(1, 1), buckets(1, 1))
		if _, err := h(t.Context(), named("list")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var w sync.WaitGroup
		for range 2 { // the first holds the only token of the class, and waits for one of all
			w.Go(func() {
				if _, err := h(ctx, named("search")); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		w.Wait()
		if took := time.Since(began); took > 2*time.Second+time.Millisecond {
			t.Errorf("%s", took)
		}
	})
}
