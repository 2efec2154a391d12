package gate_test

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// think answers after as many seconds as the question's method says.
func think(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
	d, _ := time.ParseDuration(q.Method)
	time.Sleep(d)
	return nil, ctx.Err()
}

func TestTimeIsNotCountedWhileTheClientIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := call()
		c.Back.Ask = think
		began := time.Now()
		h := gate.Timeout(3 * time.Second)(func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			time.Sleep(2 * time.Second)
			var w sync.WaitGroup
			for _, d := range []string{"10s", "40s", "20s"} { // at once: they count once
				w.Go(func() {
					if _, err := c.Back.Ask(ctx, upstream.Question{Method: d}); err != nil {
						t.Error(err)
					}
				})
			}
			w.Wait()
			if _, err := c.Back.Ask(ctx, upstream.Question{Method: "5s"}); err != nil {
				t.Error(err)
			}
			return hang(ctx, c)
		})
		_, err := h(t.Context(), c)
		e := upstream.AsError("", "", err)
		if took := time.Since(began); took != 48*time.Second || e.Kind != upstream.Timeout || e.Public != "no answer within 3s" {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

func TestALateQuestionDoesNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired atomic.Int32
		clock := gate.NewClock(time.AfterFunc(time.Second, func() { fired.Add(1) }), time.Second)
		time.Sleep(2 * time.Second)
		ask := clock.Asking(think)
		if _, err := ask(t.Context(), upstream.Question{Method: "1s"}); err != nil {
			t.Error(err)
		}
		if time.Sleep(time.Minute); fired.Load() != 1 {
			t.Errorf("fired %d times", fired.Load())
		}
	})
}

func TestAClockIsWoundUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		fired := make(chan time.Duration, 1)
		clock := gate.NewClock(time.AfterFunc(2*time.Second, func() { fired <- time.Since(began) }), 2*time.Second)
		time.Sleep(time.Second)
		clock.Restart(2 * time.Second) // until the 3rd second
		time.Sleep(time.Second)
		var w sync.WaitGroup
		w.Go(func() { _, _ = clock.Asking(think)(t.Context(), upstream.Question{Method: "10s"}) })
		time.Sleep(5 * time.Second)
		clock.Restart(4 * time.Second) // from the answer, in the 12th
		w.Wait()
		if at := <-fired; at != 16*time.Second {
			t.Errorf("fired after %s", at)
		}
	})
}
