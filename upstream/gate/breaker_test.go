package gate_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

var (
	errDown      = &upstream.Error{Kind: upstream.Timeout, Err: errors.New("no answer")}
	errThrottled = &upstream.Error{Kind: upstream.RateLimited, Err: errors.New("429")}
	errGaveUp    = &upstream.Error{Kind: upstream.Cancelled, Err: context.Canceled}
	errSaid      = &upstream.Error{Kind: upstream.UpstreamError, RPC: &upstream.RPCError{Code: 7, Message: "no"}}
	errArgs      = &upstream.Error{Kind: upstream.InvalidArguments, Err: errors.New("bad")}
)

// switchable is a breaker with an upstream that answers as it is told.
type switchable struct {
	*gate.Breaker
	h     upstream.Handler
	err   error
	calls int
}

func newSwitchable(o gate.BreakerOptions) *switchable {
	s := &switchable{Breaker: gate.NewBreaker(o)}
	s.h = s.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
		s.calls++
		if s.err != nil {
			return nil, s.err
		}
		return upstream.TextResult("ok", false), nil
	})
	return s
}

func (s *switchable) call(t *testing.T, err error) (reached bool) {
	t.Helper()
	s.err = err
	before := s.calls
	_, _ = s.h(t.Context(), call())
	return s.calls > before
}

func TestBreakerOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSwitchable(gate.BreakerOptions{Failures: 3, CoolDown: 5 * time.Second})
		for range 3 {
			if !s.call(t, errDown) {
				t.Fatal("refused while closed")
			}
		}
		if st := s.Status(); st.State != gate.Open || st.Failure != "timeout" || st.RetryIn < 4*time.Second || st.RetryIn > 5*time.Second {
			t.Errorf("%+v", st)
		}
		_, err := s.h(t.Context(), call())
		e, _ := errors.AsType[*upstream.Error](err)
		if e == nil || e.Kind != upstream.Unavailable || e.Sent || e.RetryAfter <= 0 || s.calls != 3 {
			t.Errorf("%+v after %d calls", e, s.calls)
		}
		time.Sleep(5 * time.Second)
		if !s.call(t, errDown) || s.Status().State != gate.Open {
			t.Error("the probe failed, so it opens again")
		}
		time.Sleep(5 * time.Second)
		if s.call(t, nil) {
			t.Error("the second time it stays open twice as long")
		}
		time.Sleep(5 * time.Second)
		if !s.call(t, nil) || s.Status().State != gate.Closed || !s.call(t, nil) {
			t.Errorf("%+v after a good probe", s.Status())
		}
	})
}

func TestBreakerIgnoresWhatIsNoFaultOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSwitchable(gate.BreakerOptions{Failures: 2, CoolDown: time.Second})
		for _, err := range []error{errThrottled, errGaveUp, errSaid, errArgs} {
			for range 20 {
				if !s.call(t, err) {
					t.Fatalf("%v opened it", err)
				}
			}
		}
	})
}

func TestBreakerOpensWhenHalfFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSwitchable(gate.BreakerOptions{Failures: 100, CoolDown: time.Second})
		for range 4 {
			s.call(t, nil)
			s.call(t, errDown)
		}
		if s.Status().State != gate.Closed {
			t.Fatal("too few to judge")
		}
		s.call(t, nil)
		s.call(t, errDown)
		if s.Status().State != gate.Open {
			t.Error("half of ten have failed")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSwitchable(gate.BreakerOptions{Failures: 100, CoolDown: time.Second})
		for range 20 {
			s.call(t, nil)
			s.call(t, errDown)
			if s.Status().State != gate.Closed {
				t.Fatal("what is long ago counts")
			}
			time.Sleep(11 * time.Second) // no whole number of slots, so that all come in turn
		}
	})
}

func TestOneProbeAmongMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := atomic.Bool{}
		down.Store(true)
		var calls atomic.Int64
		b := gate.NewBreaker(gate.BreakerOptions{Failures: 1, CoolDown: time.Second})
		h := b.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
			calls.Add(1)
			time.Sleep(100 * time.Millisecond)
			if down.Load() {
				return nil, errDown
			}
			return upstream.TextResult("ok", false), nil
		})
		_, _ = h(t.Context(), call())
		time.Sleep(time.Second)
		calls.Store(0)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() { _, _ = h(t.Context(), call()) })
		}
		wg.Wait()
		if calls.Load() != 1 {
			t.Errorf("%d probes", calls.Load())
		}
	})
}

// A panic further in must not leave the breaker waiting for its probe for ever.
func TestBreakerSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSwitchable(gate.BreakerOptions{Failures: 1, CoolDown: time.Second})
		s.call(t, errDown)
		time.Sleep(time.Second)
		h := s.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) { panic("boom") })
		func() {
			defer func() { _ = recover() }()
			_, _ = h(t.Context(), call())
		}()
		if !s.call(t, nil) || s.Status().State != gate.Closed {
			t.Errorf("%+v", s.Status())
		}
	})
}

// model is what a breaker of consecutive failures does, in as few lines as
// possible, without jitter.
type model struct {
	failures, row, opened int
	coolDown              time.Duration
	state                 gate.BreakerState
	until                 time.Time
}

func (m *model) admits(now time.Time) bool {
	if m.state == gate.Open && !now.Before(m.until) {
		m.state = gate.HalfOpen
	}
	return m.state != gate.Open
}

func (m *model) done(now time.Time, bad, counts bool) {
	switch {
	case !counts:
	case !bad && m.state == gate.HalfOpen:
		m.state, m.opened, m.row = gate.Closed, 0, 0
	case !bad:
		m.row = 0
	default:
		if m.row++; m.state == gate.HalfOpen || m.row >= m.failures {
			m.until = now.Add(min(m.coolDown<<min(m.opened, 20), 5*time.Minute))
			m.state, m.row = gate.Open, 0
			m.opened++
		}
	}
}

// The breaker and the model agree about every call of a random history. The
// instants that jitter leaves open are not asked about.
func TestBreakerAgainstItsModel(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 4))
			failures := 1 + r.IntN(4)
			s := newSwitchable(gate.BreakerOptions{Failures: failures, CoolDown: time.Second})
			m := &model{failures: failures, coolDown: time.Second, state: gate.Closed}
			calls := 0
			for step := range 300 {
				if r.IntN(3) == 0 {
					time.Sleep(time.Duration(r.IntN(10_000)) * time.Millisecond)
				}
				if calls++; calls >= 9 { // the rule of the half is another test's
					time.Sleep(time.Minute)
					calls = 0
				}
				now := time.Now()
				if left := m.until.Sub(now); m.state == gate.Open && left > 0 && left < time.Minute {
					time.Sleep(left) // the jitter's reach
					now = time.Now()
				}
				err := []error{nil, errDown, errDown, errThrottled, errGaveUp}[r.IntN(5)]
				want := m.admits(now)
				if got := s.call(t, err); got != want {
					t.Fatalf("seed %d, step %d: let through %v, want %v; %+v, %+v", seed, step, got, want, s.Status(), m)
				}
				if want {
					m.done(now, errors.Is(err, errDown), !errors.Is(err, errGaveUp))
				}
				if got := s.Status().State; got != m.state {
					t.Fatalf("seed %d, step %d: %s, want %s", seed, step, got, m.state)
				}
			}
		})
	}
}

// What takes many calls along at once is one failure, with those that try again
// at once: a source that was just started anew is not left alone for it.
func TestCallsLostTogetherCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gate.NewBreaker(gate.BreakerOptions{Failures: 3, CoolDown: time.Minute})
		fail := b.Layer(func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			return nil, &upstream.Error{Upstream: c.Upstream, Kind: upstream.Unavailable, Sent: true}
		})
		for loss := range 3 {
			if s := b.Status().State; s != gate.Closed {
				t.Fatalf("%s after %d losses", s, loss)
			}
			for range 100 {
				_, _ = fail(t.Context(), call())
				time.Sleep(time.Millisecond)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if s := b.Status().State; s != gate.Open {
			t.Errorf("%s after three losses", s)
		}
	})
}
