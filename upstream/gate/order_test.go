package gate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// bySession puts calls into the line of their session, and those without one
// into none.
func bySession(c *upstream.Call) (string, bool) { return c.Session, c.Session != "" }

func TestOrderIsThatOfArrival(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 6))
			var mu sync.Mutex
			running := map[string]int{}
			var began []string
			h := gate.NewOrder(-1, bySession).Layer(func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
				mu.Lock()
				if running[c.Session]++; running[c.Session] > 1 {
					t.Errorf("seed %d: two at once in line %s", seed, c.Session)
				}
				began = append(began, c.Session+c.ID)
				mu.Unlock()
				time.Sleep(time.Duration(c.ID[len(c.ID)-1]%3) * time.Second)
				mu.Lock()
				running[c.Session]--
				mu.Unlock()
				return upstream.TextResult("ok", false), nil
			})
			var wg sync.WaitGroup
			for i := range 60 {
				c := ofSession(fmt.Sprint(r.IntN(3)))
				c.ID = fmt.Sprintf("%03d", i)
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(4) == 0 {
					time.AfterFunc(time.Duration(r.IntN(60))*time.Second, cancel)
				}
				wg.Go(func() {
					defer cancel()
					_, _ = h(ctx, c)
				})
				synctest.Wait() // it has come
			}
			wg.Wait()
			for _, line := range []string{"0", "1", "2"} {
				var of []string
				for _, b := range began {
					if b[:1] == line {
						of = append(of, b)
					}
				}
				if !slices.IsSorted(of) {
					t.Errorf("seed %d: %v", seed, of)
				}
			}
			time.Sleep(time.Hour) // late cancels
		})
	}
}

func TestWhoStandsInNoLineDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := gate.NewOrder(-1, bySession).Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
			time.Sleep(time.Second)
			return upstream.TextResult("ok", false), nil
		})
		began := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { _, _ = h(t.Context(), call()) })
		}
		wg.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("%s", took)
		}
	})
}

// No more wait in all lines together than may, and who leaves makes room.
func TestLinesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := gate.NewOrder(1, bySession)
		h := o.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
			time.Sleep(time.Second)
			return upstream.TextResult("ok", false), nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		for _, ctx := range []context.Context{t.Context(), ctx} {
			go func() {
				_, err := h(ctx, ofSession("a"))
				errs <- err
			}()
			synctest.Wait()
		}
		if _, err := h(t.Context(), ofSession("a")); kindOf(err) != upstream.Overloaded || o.Waiting() != 1 {
			t.Errorf("%v, %d wait", err, o.Waiting())
		}
		if _, err := h(t.Context(), ofSession("b")); err != nil {
			t.Errorf("the first of another line: %v", err)
		}
		cancel()
		synctest.Wait()
		if o.Waiting() != 0 {
			t.Errorf("%d wait", o.Waiting())
		}
		<-errs
		<-errs
	})
}

// Who gives up leaves nothing behind, however long the one before takes.
func TestWhoLeavesALineLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := gate.NewOrder(1, bySession).Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
			time.Sleep(time.Hour)
			return upstream.TextResult("ok", false), nil
		})
		var w sync.WaitGroup
		w.Go(func() { _, _ = h(t.Context(), ofSession("a")) })
		synctest.Wait()
		before := runtime.NumGoroutine()
		for range 1000 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := h(ctx, ofSession("a")); kindOf(err) != upstream.Timeout {
				t.Fatal(err)
			}
			cancel()
		}
		synctest.Wait()
		if after := runtime.NumGoroutine(); after > before+5 {
			t.Errorf("%d goroutines, %d before", after, before)
		}
		w.Wait()
	})
}
