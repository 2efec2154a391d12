package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

func yes(*upstream.Call) bool { return true }
func no(*upstream.Call) bool  { return false }

// failing is an upstream that fails so many times with err.
func failing(times int, err error) (upstream.Handler, *int) {
	calls := 0
	return func(context.Context, *upstream.Call) (*upstream.Result, error) {
		if calls++; calls <= times {
			return nil, err
		}
		return upstream.TextResult("ok", false), nil
	}, &calls
}

func TestRetryOnlyWhatMayBeRepeated(t *testing.T) {
	sent := func(k upstream.Kind) error { return &upstream.Error{Kind: k, Sent: true, Err: errors.New("x")} }
	unsent := func(k upstream.Kind) error { return &upstream.Error{Kind: k, Err: errors.New("x")} }
	for name, c := range map[string]struct {
		err   error
		again func(*upstream.Call) bool
		want  int // calls
	}{
		"a read whose answer was lost":          {sent(upstream.Timeout), yes, 2},
		"a write whose answer was lost":         {sent(upstream.Timeout), no, 1},
		"a write that never left":               {unsent(upstream.Unavailable), no, 2},
		"a write that was refused for its rate": {unsent(upstream.RateLimited), no, 2},
		"a write that was refused, maybe late":  {sent(upstream.RateLimited), no, 1},
		"a read that was refused, maybe late":   {sent(upstream.RateLimited), yes, 2},
		"a write of unknown outcome":            {sent(upstream.WriteOutcomeUnknown), yes, 1},
		"wrong arguments":                       {sent(upstream.InvalidArguments), yes, 1},
		"an answer that is a failure":           {sent(upstream.UpstreamError), yes, 1},
		"the caller gave up":                    {unsent(upstream.Cancelled), yes, 1},
		"a full queue of ours":                  {unsent(upstream.Overloaded), yes, 1},
		"a refusal that lasts":                  {&upstream.Error{Kind: upstream.RateLimited, Err: upstream.ErrFinal}, yes, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, calls := failing(1, c.err)
				_, err := gate.NewRetry(3, c.again).Layer(h)(t.Context(), call())
				if *calls != c.want || (err == nil) != (c.want > 1) {
					t.Errorf("%d calls, %v", *calls, err)
				}
			})
		})
	}
}

func TestRetryWaitsAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, calls := failing(1, &upstream.Error{Kind: upstream.RateLimited, RetryAfter: 7 * time.Second})
		began := time.Now()
		c := call()
		if _, err := gate.NewRetry(2, yes).Layer(h)(t.Context(), c); err != nil || *calls != 2 {
			t.Fatalf("%v, %d calls", err, *calls)
		}
		if took := time.Since(began); took < 7*time.Second || took > 8*time.Second || c.Timing.Queued != took {
			t.Errorf("%s passed, %s of it counted as waiting", took, c.Timing.Queued)
		}
	})
}

func TestRetryStaysWithinTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, calls := failing(1, &upstream.Error{Kind: upstream.RateLimited, RetryAfter: 10 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := gate.NewRetry(2, yes).Layer(h)(ctx, call()); kindOf(err) != upstream.RateLimited || *calls != 1 {
			t.Errorf("%v, %d calls", err, *calls)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it waited %s for nothing", took)
		}
	})
}

// When everything fails, retries add little to the load.
func TestRetriesHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, calls := failing(1_000_000, errDown)
		r := gate.NewRetry(3, yes)
		layer := r.Layer(h)
		const n = 1_000
		for range n {
			_, _ = layer(t.Context(), call())
		}
		if extra := *calls - n; extra > 40 || extra < 20 {
			t.Errorf("%d retries of %d calls", extra, n)
		}
		if r.Budget() > 0.1 {
			t.Errorf("%.2f of the budget is left", r.Budget())
		}
	})
}

// What an earlier attempt may have done is not forgotten over a later one, and a
// pause that takes too long is not made.
func TestRetryRemembersThatItWasSent(t *testing.T) {
	for name, c := range map[string]struct {
		first upstream.Error
		calls int
		sent  bool
	}{
		"lost":           {upstream.Error{Kind: upstream.Timeout, Sent: true}, 2, true},
		"not sent":       {upstream.Error{Kind: upstream.Unavailable}, 2, false},
		"refused":        {upstream.Error{Kind: upstream.RateLimited}, 2, false},
		"refused late":   {upstream.Error{Kind: upstream.RateLimited, Sent: true}, 2, true},
		"down for long":  {upstream.Error{Kind: upstream.Unavailable, RetryAfter: 6 * time.Second}, 1, false},
		"busy for long":  {upstream.Error{Kind: upstream.RateLimited, RetryAfter: 21 * time.Second}, 1, false},
		"down for a bit": {upstream.Error{Kind: upstream.Unavailable, RetryAfter: 5 * time.Second}, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				_, err := gate.NewRetry(2, yes).Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
					if calls++; calls == 1 {
						return nil, &c.first
					}
					return nil, &upstream.Error{Kind: upstream.Unavailable}
				})(t.Context(), call())
				e, _ := errors.AsType[*upstream.Error](err)
				if calls != c.calls || e == nil || e.Sent != c.sent {
					t.Errorf("%d calls: %+v", calls, e)
				}
			})
		})
	}
}
