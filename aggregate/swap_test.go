package aggregate_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// closer is a fake that notes when it is closed.
type closer struct {
	*fake
	closed atomic.Bool
}

func (c *closer) Close() error {
	c.closed.Store(true)
	return nil
}

func newCloser(t *testing.T, id upstream.ID, tools ...string) *closer {
	return &closer{fake: newFake(t, id, tools...)}
}

func of(c *closer) aggregate.Member {
	return aggregate.Member{ID: c.id, Adapter: c, Prefix: string(c.id)}
}

func TestSwapKeepsWhatIsTheSameAndDrainsWhatIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, gone, fresh := newCloser(t, "kept", "x"), newCloser(t, "gone", "y"), newCloser(t, "fresh", "z")
		gone.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
			time.Sleep(5 * time.Second)
			return upstream.TextResult("late but whole", false), nil
		}
		a, err := aggregate.New([]aggregate.Member{of(kept), of(gone)}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, stop := run(t, a)
		names(t, v)
		lone, _ := a.View("gone")
		time.Sleep(time.Second)
		var told atomic.Int32
		defer subscribe(t, v, func() { told.Add(1) })()

		answered := make(chan string, 1)
		go func() { answered <- call(t, v, "gone_y", `{}`).text() }()
		time.Sleep(time.Second)
		if err := a.Swap([]aggregate.Member{of(kept), of(fresh)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"fresh_z", "kept_x"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if told.Load() != 1 {
			t.Errorf("announced %d times, want once", told.Load())
		}
		if gone.closed.Load() {
			t.Error("closed with a call in flight")
		}
		if got := <-answered; got != "late but whole" {
			t.Error(got)
		}
		time.Sleep(time.Second)
		if !gone.closed.Load() || kept.closed.Load() || kept.listed() != 1 {
			t.Errorf("gone closed %v, kept closed %v and listed %d times", gone.closed.Load(), kept.closed.Load(), kept.listed())
		}
		if got := names(t, lone); len(got) != 0 {
			t.Errorf("an upstream that was taken out still lists %v", got)
		}
		if err := a.Swap([]aggregate.Member{of(kept), of(kept)}); err == nil {
			t.Error("one name twice was taken")
		}
		stop()
		if !kept.closed.Load() || !fresh.closed.Load() {
			t.Error("not closed at the end")
		}
	})
}

// stubborn is a fake that does not close cleanly.
type stubborn struct{ *fake }

func (*stubborn) Close() error { return errors.New("it will not go") }

func TestManySwapsLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fresh := func() []aggregate.Member {
			return []aggregate.Member{{ID: "crm", Adapter: &stubborn{newFake(t, "crm", "get")}, Prefix: "crm"}}
		}
		a, err := aggregate.New(fresh(), aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		v, _ := a.View("")
		names(t, v)
		before := runtime.NumGoroutine()
		for range 200 {
			if err := a.Swap(fresh()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := call(t, v, "crm_get", `{}`); got.IsError {
				t.Fatal(got.text())
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if after := runtime.NumGoroutine(); after > before+5 {
			t.Errorf("%d goroutines, %d before", after, before)
		}
		cancel()
		if err := <-done; err == nil || strings.Count(err.Error(), "it will not go") != 1 {
			t.Errorf("Run = %v, want only what did not close at the end", err)
		}
	})
}

func TestToolsDoNotVanishWhileASourceIsSetUpAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := aggregate.New([]aggregate.Member{member(newFake(t, "crm", "get", "put"))}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		again := member(newFake(t, "crm", "get", "put"))
		again.Adapter.(*fake).hang = true // it takes its time to connect
		again.Keep = func(tool string) bool { return tool == "get" }
		if err := a.Swap([]aggregate.Member{again}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"crm_get"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if s := a.Status().Sources[0]; !s.Stale {
			t.Errorf("%+v", s)
		}
		other := member(newFake(t, "crm", "x"))
		other.Adapter.(*fake).hang, other.Identity = true, "another source"
		if err := a.Swap([]aggregate.Member{other}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{}, names(t, v)); diff != "" {
			t.Error(diff)
		}
	})
}
