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

// What each kind of outcome does to a closed circuit, and to one that is trying
// whether the source is back: opens it, closes it, or says nothing.
func TestWhatABreakerCounts(t *testing.T) {
	const opens, closes, nothing = gate.Open, gate.Closed, gate.HalfOpen
	garbage := &upstream.Error{Kind: upstream.UpstreamError, Sent: true, Err: errors.New("no JSON")}
	outcomes := map[error]gate.BreakerState{garbage: opens, errSaid: closes, errors.New("a fault of ours"): nothing}
	for kind, want := range map[upstream.Kind]gate.BreakerState{upstream.UpstreamError: closes, upstream.Unavailable: closes, upstream.Timeout: nothing, upstream.Cancelled: nothing} {
		outcomes[&upstream.Error{Kind: kind, Sent: true, Err: upstream.Caused(errors.New(kind.Code()+" of a source that works"), upstream.ErrNoOutage)}] = want
	}
	for kind, want := range map[upstream.Kind]gate.BreakerState{
		upstream.Unavailable: opens, upstream.Timeout: opens, upstream.WriteOutcomeUnknown: opens,
		upstream.RateLimited: closes, upstream.NeedsLogin: closes, upstream.Denied: closes,
		upstream.InvalidArguments: closes, upstream.NotFound: closes,
		upstream.Cancelled: nothing, upstream.Overloaded: nothing, upstream.Internal: nothing,
	} {
		outcomes[&upstream.Error{Kind: kind, Sent: true, Err: errors.New(kind.Code())}] = want
	}
	for err, want := range outcomes {
		synctest.Test(t, func(t *testing.T) {
			s := newSwitchable(gate.BreakerOptions{Failures: 1, CoolDown: time.Second})
			s.call(t, err)
			if got := s.Status().State; (got == gate.Open) != (want == opens) {
				t.Errorf("%v: a closed circuit is %s", err, got)
			}
			s.Reset()
			s.call(t, errDown)
			time.Sleep(time.Second)
			if !s.call(t, err) {
				t.Fatal("there was no probe")
			}
			if got := s.Status().State; got != want {
				t.Errorf("%v: after this probe the circuit is %s, want %s", err, got, want)
			}
			if want == nothing && !s.call(t, nil) {
				t.Errorf("%v: the next may not try", err)
			}
		})
	}
}

// What a layer further in refuses says nothing about the source: not that it is
// broken, nor that it is well.
func TestABreakerDoesNotCountOurRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newSwitchable(gate.BreakerOptions{Failures: 1, CoolDown: time.Hour})
		outer := gate.NewBreaker(gate.BreakerOptions{Failures: 1, CoolDown: time.Second})
		h := outer.Layer(inner.h)
		inner.call(t, errDown)
		for range 10 {
			if _, err := h(t.Context(), call()); kindOf(err) != upstream.Unavailable || outer.Status().State != gate.Closed {
				t.Fatalf("%v: %+v", err, outer.Status())
			}
		}
		inner.Reset()
		inner.err = errDown
		_, _ = h(t.Context(), call())
		time.Sleep(time.Second)
		if _, _ = h(t.Context(), call()); outer.Status().State != gate.HalfOpen {
			t.Errorf("%+v after a probe that was not sent", outer.Status())
		}
	})
}

// stragglers are calls through a breaker whose outcomes the test decides on, one
// by one.
type stragglers struct {
	*gate.Breaker
	h       upstream.Handler
	outcome map[string]chan error
	done    map[string]chan struct{}
}

func newStragglers(o gate.BreakerOptions) *stragglers {
	s := &stragglers{Breaker: gate.NewBreaker(o), outcome: map[string]chan error{}, done: map[string]chan struct{}{}}
	s.h = s.Layer(func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		if err := <-s.outcome[c.ID]; err != nil {
			return nil, err
		}
		return upstream.TextResult("ok", false), nil
	})
	return s
}

func (s *stragglers) begin(ctx context.Context, id string) {
	c := call()
	c.ID = id
	s.outcome[id], s.done[id] = make(chan error, 1), make(chan struct{})
	go func() {
		defer close(s.done[id])
		_, _ = s.h(ctx, c)
	}()
	synctest.Wait()
}

func (s *stragglers) end(id string, err error) {
	s.outcome[id] <- err
	<-s.done[id]
}

// What was let through before a change of state changes nothing that came after
// it: neither good nor bad news, nor who is just trying.
func TestLateResultsSayNothing(t *testing.T) {
	for _, late := range []error{nil, errDown} {
		synctest.Test(t, func(t *testing.T) {
			s := newStragglers(gate.BreakerOptions{Failures: 1, CoolDown: time.Second})
			for _, id := range []string{"while open", "while probing", "when closed", "trips"} {
				s.begin(t.Context(), id)
			}
			s.end("trips", errDown)
			s.end("while open", late)
			if s.Status().State != gate.Open {
				t.Errorf("open, then %v comes late: %+v", late, s.Status())
			}
			time.Sleep(time.Second)
			s.begin(t.Context(), "probe")
			s.end("while probing", late)
			if s.Status().State != gate.HalfOpen {
				t.Errorf("probing, then %v comes late: %+v", late, s.Status())
			}
			s.begin(t.Context(), "second probe")
			select {
			case <-s.done["second probe"]: // refused
			default:
				t.Errorf("%v comes late and a second probe goes", late)
				s.end("second probe", errGaveUp)
			}
			s.end("probe", nil)
			s.end("when closed", late)
			if s.Status().State != gate.Closed {
				t.Errorf("closed again, then %v comes late: %+v", late, s.Status())
			}
		})
	}
}

// Whatever comes when the cool-down is over, in whatever number and however the
// probe ends: one at a time goes to the source.
func TestNeverTwoProbes(t *testing.T) {
	for i, end := range []error{errDown, errGaveUp, nil} {
		synctest.Test(t, func(t *testing.T) {
			s := newStragglers(gate.BreakerOptions{Failures: 1, CoolDown: time.Second})
			s.begin(t.Context(), "trips")
			s.end("trips", errDown)
			time.Sleep(time.Second)
			for n := range 64 {
				s.begin(t.Context(), fmt.Sprint(n))
			}
			under := 0
			for n := range 64 {
				select {
				case <-s.done[fmt.Sprint(n)]:
				default:
					under++
				}
			}
			if under != 1 {
				t.Errorf("%d probes", under)
			}
			s.end("0", end)
			if got, want := s.Status().State, []gate.BreakerState{gate.Open, gate.HalfOpen, gate.Closed}[i]; got != want {
				t.Errorf("%v: %s, want %s", end, got, want)
			}
		})
	}
}
