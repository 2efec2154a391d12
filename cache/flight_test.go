package cache_test

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

	"github.com/bulkhead-mcp/bulkhead/cache"
)

type (
	flights = cache.Flights[cache.Key, string, string]
	flight  = cache.Flight[cache.Key, string, string]
)

func TestFlightIsSharedByEqualQuestionsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var runs, led, shared atomic.Int64
		var wg sync.WaitGroup
		for i := range 30 {
			who := fmt.Sprint(i % 3)
			wg.Go(func() {
				v, part, err := f.Do(t.Context(), key("crm", who, "q"), who, func(context.Context, *flight) string {
					runs.Add(1)
					time.Sleep(time.Second)
					return who
				})
				if err != nil || v != who {
					t.Errorf("%q, %v", v, err)
				}
				switch part {
				case cache.Led:
					led.Add(1)
				case cache.Shared:
					shared.Add(1)
				}
			})
		}
		wg.Wait()
		if runs.Load() != 3 || led.Load() != 3 || shared.Load() != 27 {
			t.Errorf("%d runs, %d led, %d shared", runs.Load(), led.Load(), shared.Load())
		}
	})
}

// The first one's leaving takes nothing from the others; the last one's leaving
// ends the work, and waits for its end.
func TestFlightEndsWithItsLastWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		k := key("crm", "alice", "q")
		cause := errors.New("enough")
		ended := false
		work := func(ctx context.Context, _ *flight) string {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return context.Cause(ctx).Error()
		}
		first, leaveFirst := context.WithCancelCause(t.Context())
		second, leaveSecond := context.WithCancelCause(t.Context())
		errs, values := make(chan error, 1), make(chan string, 1)
		go func() { _, _, err := f.Do(first, k, "", work); errs <- err }()
		synctest.Wait()
		go func() {
			v, part, err := f.Do(second, k, "", work)
			if part != cache.Shared || err != nil {
				t.Error(part, err)
			}
			values <- v
		}()
		synctest.Wait()
		leaveFirst(cause)
		if err := <-errs; !errors.Is(err, cause) || ended {
			t.Error(err, ended)
		}
		synctest.Wait()
		leaveSecond(cause)
		if v := <-values; v != "enough" || !ended {
			t.Error(v, ended)
		}
	})
}

func TestFlightAfterAllLeftStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		k := key("crm", "alice", "q")
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, _ = f.Do(ctx, k, "", func(ctx context.Context, _ *flight) string {
				<-ctx.Done()
				time.Sleep(time.Minute) // hears of it late
				return "old"
			})
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		v, part, err := f.Do(t.Context(), k, "", func(context.Context, *flight) string { return "new" })
		if v != "new" || part != cache.Led || err != nil {
			t.Errorf("%q, %v, %v", v, part, err)
		}
		wg.Wait()
	})
}

// The deadline of the work is that of whoever waits longest, as it is now.
func TestFlightHasTheLatestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		k, began := key("crm", "alice", "q"), time.Now()
		left := make(chan context.Context, 1)
		work := func(ctx context.Context, _ *flight) string {
			left <- ctx
			<-ctx.Done()
			return ""
		}
		wait := func(parent context.Context, d time.Duration) context.CancelFunc {
			ctx, cancel := parent, context.CancelFunc(func() {})
			if d > 0 {
				ctx, cancel = context.WithTimeout(parent, d)
			}
			go func() { _, _, _ = f.Do(ctx, k, "", work) }()
			synctest.Wait()
			return cancel
		}
		endless, leave := context.WithCancel(t.Context())
		defer wait(t.Context(), 10*time.Second)()
		ctx := <-left
		is := func(want time.Duration) {
			t.Helper()
			at, ok := ctx.Deadline()
			if ok != (want > 0) || ok && at.Sub(began) != want {
				t.Errorf("the deadline is after %s (%v), want %s", at.Sub(began), ok, want)
			}
		}
		is(10 * time.Second)
		longer := wait(t.Context(), 30*time.Second)
		is(30 * time.Second)
		wait(endless, 0)
		is(0)
		leave()
		synctest.Wait()
		is(30 * time.Second)
		longer()
		synctest.Wait()
		is(10 * time.Second)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("it goes on with nobody waiting")
		}
	})
}

// Everybody who waits is told, and nobody who has left.
func TestFlightTellsWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		k := key("crm", "alice", "q")
		heard := ""
		work := func(_ context.Context, l *flight) string {
			for range 3 {
				time.Sleep(time.Second)
				l.Each(func(who string) { heard += who })
				heard += "|"
			}
			return "done"
		}
		ctx, leave := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer leave()
		var wg sync.WaitGroup
		wg.Go(func() { _, _, _ = f.Do(ctx, k, "a", work) })
		time.Sleep(1500 * time.Millisecond)
		wg.Go(func() { _, _, _ = f.Do(t.Context(), k, "b", work) })
		wg.Wait()
		if heard != "a|ab|b|" {
			t.Error(heard)
		}
	})
}

// Once the work is one asker's alone, the others go at once, nobody joins, and
// no other answer comes of it.
func TestFlightBecomesOneAskersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		k, began := key("crm", "alice", "q"), time.Now()
		var own string
		work := func(_ context.Context, l *flight) string {
			time.Sleep(time.Second)
			for range 2 {
				who, ok := l.Alone(func(who string) bool { return who != "a" })
				own += fmt.Sprint(who, ok, " ")
			}
			if _, ok := l.Alone(func(string) bool { return true }); !ok {
				t.Error("nobody any more")
			}
			time.Sleep(time.Hour)
			return "for b"
		}
		var wg sync.WaitGroup
		for _, who := range []string{"a", "b", "c"} {
			wg.Go(func() {
				v, part, err := f.Do(t.Context(), k, who, work)
				switch {
				case who == "b" && (v != "for b" || part != cache.Shared || err != nil):
					t.Errorf("b: %q, %v, %v", v, part, err)
				case who != "b" && (v != "" || part != cache.LetGo || err != nil || time.Since(began) != time.Second):
					t.Errorf("%s: %q, %v, %v after %s", who, v, part, err, time.Since(began))
				}
			})
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		v, part, _ := f.Do(t.Context(), k, "d", func(context.Context, *flight) string { return "for d" })
		if v != "for d" || part != cache.Led {
			t.Errorf("d: %q, %v", v, part)
		}
		if wg.Wait(); own != "btrue btrue " {
			t.Error(own)
		}
	})
}

// Of several who do not fit nobody is asked and nobody let go.
func TestFlightOfNobodyWhoFits(t *testing.T) {
	var f flights
	v, part, err := f.Do(t.Context(), key("crm", "alice", "q"), "a", func(_ context.Context, l *flight) string {
		_, ok := l.Alone(func(string) bool { return false })
		return fmt.Sprint(ok)
	})
	if v != "false" || part != cache.Led || err != nil {
		t.Error(v, part, err)
	}
}

func TestPanicOfAFlightIsEverybodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				defer func() {
					if v := recover(); v != "canary" {
						t.Errorf("panicked with %v", v)
					}
				}()
				_, _, _ = f.Do(t.Context(), key("crm", "alice", "q"), "", func(context.Context, *flight) string {
					time.Sleep(time.Second)
					panic("canary")
				})
			})
		}
		wg.Wait()
	})
}

// Random askers, answers, leaves: everybody who stays gets the answer of a
// flight of his own key that began no later than he came to wait for it.
func TestFlightsCrossNothing(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			var f flights
			var wg sync.WaitGroup
			for range 100 {
				who := fmt.Sprint(r.IntN(5))
				start, work := time.Duration(r.IntN(2_000))*time.Millisecond, time.Duration(r.IntN(500))*time.Millisecond
				patience, alone := time.Duration(r.IntN(800))*time.Millisecond, r.IntN(4) == 0
				wg.Go(func() {
					time.Sleep(start)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					v, part, err := f.Do(ctx, key("crm", who, "q"), who, func(_ context.Context, l *flight) string {
						time.Sleep(work / 2)
						if alone {
							l.Alone(func(string) bool { return true })
						}
						time.Sleep(work / 2)
						return who
					})
					if err == nil && part != cache.LetGo && v != who {
						t.Errorf("seed %d: %s got the answer of %s", seed, who, v)
					}
				})
			}
			wg.Wait()
		})
	}
}
