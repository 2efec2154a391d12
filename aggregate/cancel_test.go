package aggregate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// impatient are calls whose clients give up at random.
type impatient struct {
	mu      sync.Mutex
	gaveUp  map[string]time.Time // by the call's arguments
	aborted int                  // at the upstream
}

// handle takes up to a second, fails now and then, and wants to be told at once
// when its client has given up.
func (p *impatient) handle(t *testing.T) handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		var n uint64
		if _, err := fmt.Sscanf(string(c.Arguments), `{"n":%d}`, &n); err != nil {
			return nil, err
		}
		dice := rand.New(rand.NewPCG(n, uint64(c.Timing.Attempts)))
		work := time.NewTimer(time.Duration(dice.IntN(1_000_000_000)))
		defer work.Stop()
		select {
		case <-work.C:
			switch dice.IntN(6) {
			case 0:
				return nil, lost(c, upstream.Unavailable, false)
			case 1:
				return nil, &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: upstream.RateLimited, RetryAfter: 2 * time.Second}
			}
			return ok()
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			at, known := p.gaveUp[string(c.Arguments)]
			if known {
				p.aborted++
			}
			if known && time.Since(at) != 0 {
				t.Errorf("%s was given up %s ago", c.Arguments, time.Since(at))
			}
			return untilDone(ctx, c)
		}
	}
}

// call makes a call that is given up after patience, and must return then.
func (p *impatient) call(t *testing.T, v *aggregate.View, n int, tool, session string, patience time.Duration) {
	arguments := fmt.Sprintf(`{"n":%d}`, n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	giveUp := time.AfterFunc(patience, func() {
		p.mu.Lock()
		p.gaveUp[arguments] = time.Now()
		p.mu.Unlock()
		cancel()
	})
	defer giveUp.Stop()
	began := time.Now()
	if _, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Session: session,
		Params: fmt.Appendf(nil, `{"name":"crm_%s","arguments":%s}`, tool, arguments)}); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("given up after %s, and returned after %s", patience, took)
	}
}

// Calls are given up at random, wherever they happen to be: in the line of
// writes, between attempts, in the queue for a place, in that for a token, or at
// the upstream. It ends there and then, and gives back all that it held.
func TestGivingUpGivesEverythingBack(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 10
	}
	var aborted int
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 8))
			p := &impatient{gaveUp: map[string]time.Time{}}
			a, err := aggregate.New([]aggregate.Member{limited(annotated(t, p.handle(t)), aggregate.Limits{
				Concurrency: 3, Queue: 60, Rate: 5, Burst: 3, Attempts: 3, Failures: 1000, CoolDown: time.Second, TrustAnnotations: true,
			})}, aggregate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			v, _ := run(t, a)
			names(t, v)
			var wg sync.WaitGroup
			for n := range 60 {
				tool, session := []string{"get", "put", "act"}[dice.IntN(3)], fmt.Sprint(dice.IntN(4))
				begin, patience := time.Duration(dice.IntN(3_000))*time.Millisecond, time.Duration(1+dice.IntN(10_000_000_000))
				wg.Go(func() {
					time.Sleep(begin)
					p.call(t, v, n, tool, session, patience)
				})
			}
			wg.Wait()
			synctest.Wait()
			s := a.Status().Sources[0]
			if l := s.Load; s.InFlight != 0 || l.Running != 0 || l.Waiting != 0 || l.WritesWaiting != 0 {
				t.Errorf("seed %d: still held: %d in flight, %+v", seed, s.InFlight, l)
			}
			if q := s.Load.Quota; q.FrozenMS == 0 && q.Left < q.Burst { // nobody who has left takes a token any more
				time.Sleep(time.Second)
				if now := a.Status().Sources[0].Load.Quota; now.Left <= q.Left {
					t.Errorf("seed %d: %g tokens are left, a second later %g", seed, q.Left, now.Left)
				}
			}
			time.Sleep(10 * time.Minute)
			if l := a.Status().Sources[0].Load; l.Quota.Left != 3 {
				t.Errorf("seed %d: %+v after a long pause", seed, l.Quota)
			}
			aborted += p.aborted
		})
	}
	if aborted < 2*int(seeds) {
		t.Errorf("only %d calls were given up at the upstream", aborted)
	}
}

// Each place where a call can wait gives it up at once and lets the next one in.
func TestGivingUpLetsTheNextIn(t *testing.T) {
	for where, l := range map[string]aggregate.Limits{
		"in the line of writes": {Concurrency: 10, Queue: 1},
		"for a place":           {Concurrency: 1, Queue: 1, Writes: aggregate.Parallel},
		"for a token":           {Concurrency: 10, Queue: 10, Rate: 0.1, Burst: 1, Writes: aggregate.Parallel},
	} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) {
					time.Sleep(10 * time.Second)
					return ok()
				})
				v, _ := start(t, aggregate.Options{}, limited(f, l))
				names(t, v)
				w := newCrowd()
				w.call(t.Context(), t, v, "a", "crm_put", `{}`)
				synctest.Wait()
				for range 20 { // each takes the only place in the queue, or the next token
					ctx, giveUp := context.WithCancel(t.Context())
					w.call(ctx, t, v, "b", "crm_put", `{}`)
					synctest.Wait()
					giveUp()
					synctest.Wait()
				}
				if w.text["cancelled"] != 20 || time.Since(w.from) != 0 {
					t.Fatal(w.text, time.Since(w.from))
				}
				got := call(t, v, "crm_put", `{}`).text()
				if took := time.Since(w.from); got != "ok" || took != 20*time.Second {
					t.Errorf("%s after %s", strings.TrimSpace(got), took)
				}
				w.wg.Wait()
			})
		})
	}
}
