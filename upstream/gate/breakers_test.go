package gate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

func toolCall(name string) *upstream.Call {
	c := call()
	c.Op, c.Name = upstream.CallTool, name
	return c
}

// broken is an upstream of which some tools do not answer, and which may not be
// reached at all.
type broken struct {
	tools       map[string]bool
	unreachable bool
	arrived     int
}

func (b *broken) handle(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
	b.arrived++
	switch {
	case b.unreachable:
		return nil, &upstream.Error{Kind: upstream.Unavailable, Err: errors.New("refused")}
	case b.tools[c.Name]:
		return nil, &upstream.Error{Kind: upstream.Timeout, Sent: true, Err: errors.New("late")}
	}
	return upstream.TextResult("ok", false), nil
}

func TestToolsHaveBreakersOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &broken{tools: map[string]bool{"bad": true}}
		b := gate.NewBreakers(gate.BreakerOptions{Failures: 3, CoolDown: time.Minute})
		h := b.Layer(up.handle)
		for range 5 {
			_, _ = h(t.Context(), toolCall("bad"))
		}
		if up.arrived != 3 {
			t.Errorf("%d calls of a broken tool", up.arrived)
		}
		if _, err := h(t.Context(), toolCall("good")); err != nil {
			t.Error(err)
		}
		if s := b.Status(); len(s) != 1 || s["bad"].State != gate.Open || s["bad"].Failure != "timeout" {
			t.Errorf("%+v", s)
		}
		other := toolCall("bad")
		other.Op = upstream.ReadResource
		if _, err := h(t.Context(), other); kindOf(err) != upstream.Timeout {
			t.Errorf("what is no tool: %v", err)
		}
		up.unreachable = true
		for range 5 {
			_, _ = h(t.Context(), toolCall("good"))
		}
		if s := b.Status(); len(s) != 1 {
			t.Errorf("a tool is blamed for a source that cannot be reached: %+v", s)
		}
	})
}

// Before the breakers of tools stands one of them all: several tools have to
// fail, or the source has to be out of reach, to open it.
func TestBreakerOfAllTools(t *testing.T) {
	for name, c := range map[string]struct {
		up    broken
		tools []string
		want  gate.BreakerState
	}{
		"one tool":            {broken{tools: map[string]bool{"a": true}}, []string{"a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a"}, gate.Closed},
		"several tools":       {broken{tools: map[string]bool{"a": true, "b": true}}, []string{"a", "b", "a"}, gate.Open},
		"one, others between": {broken{tools: map[string]bool{"a": true}}, []string{"a", "b", "a", "b", "a", "b"}, gate.Closed},
		"out of reach":        {broken{unreachable: true}, []string{"a", "a", "a"}, gate.Open},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := gate.NewBreaker(gate.BreakerOptions{Failures: 3, CoolDown: time.Second, Whole: true})
				h := b.Layer(c.up.handle)
				for _, tool := range c.tools {
					_, _ = h(t.Context(), toolCall(tool))
					time.Sleep(200 * time.Millisecond) // less is one failure, where it is out of reach
				}
				if s := b.Status(); s.State != c.want {
					t.Errorf("%+v", s)
				}
				if c.want == gate.Closed {
					return
				}
				time.Sleep(2 * time.Second)
				_, _ = h(t.Context(), toolCall(c.tools[len(c.tools)-1])) // a probe counts, whose ever it is
				if s := b.Status(); s.State != gate.Open || s.RetryIn < 1800*time.Millisecond {
					t.Errorf("after a probe that failed: %+v", s)
				}
			})
		})
	}
}

// Reset closes a breaker, and what was under way before says nothing any more.
func TestResetOfABreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &broken{unreachable: true}
		b := gate.NewBreaker(gate.BreakerOptions{Failures: 1, CoolDown: time.Hour})
		h := b.Layer(up.handle)
		slow := b.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
			time.Sleep(time.Second)
			return nil, &upstream.Error{Kind: upstream.Unavailable, Err: errors.New("refused")}
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = slow(t.Context(), call())
		}()
		synctest.Wait()
		_, _ = h(t.Context(), call())
		b.Reset()
		<-done
		if s := b.Status(); s.State != gate.Closed || up.arrived != 1 {
			t.Errorf("%+v, %d calls", s, up.arrived)
		}
	})
}

func TestBreakersWithoutFailures(t *testing.T) {
	up := &broken{unreachable: true}
	h := upstream.Chain(gate.NewBreaker(gate.BreakerOptions{}).Layer, gate.NewBreakers(gate.BreakerOptions{}).Layer)(up.handle)
	for i := range 100 {
		_, _ = h(t.Context(), toolCall(fmt.Sprint(i%3)))
	}
	if up.arrived != 100 {
		t.Errorf("%d calls", up.arrived)
	}
}
