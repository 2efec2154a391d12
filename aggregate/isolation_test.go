package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// misbehaviours are what a source may do to others, if anything it does could.
var misbehaviours = map[string]func(f *fake) handler{
	"hangs for ever": func(*fake) handler { return untilDone },
	"answers 429": func(*fake) handler {
		return func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			return nil, &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: upstream.RateLimited, RetryAfter: 1 << 60}
		}
	},
	"is a hundred times slower": func(*fake) handler {
		return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			select {
			case <-time.After(10 * time.Second):
				return ok()
			case <-ctx.Done():
				return untilDone(ctx, c)
			}
		}
	},
	"floods": func(f *fake) handler {
		huge := strings.Repeat("x", 64<<10)
		return func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			for range 5 {
				c.Back.Progress([]byte(`{"progress":1}`))
				f.touch()
			}
			return upstream.TextResult(huge, false), nil
		}
	},
	"cannot be reached": func(*fake) handler {
		return func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			return nil, lost(c, upstream.Unavailable, false)
		}
	},
	"panics": func(*fake) handler {
		return func(context.Context, *upstream.Call) (*upstream.Result, error) { panic("boom") }
	},
}

// peaceful is what calls to the other sources have seen.
type peaceful struct {
	mu    sync.Mutex
	took  map[string]time.Duration
	said  map[string]string
	state string // of the sources, in the end
}

// bystanders makes 180 calls to three sources, from two sessions, and returns
// what came of them. If disturb is not nil, the same sessions and others have 200
// calls in the queues of a fourth source, whose handler it is. No two things
// happen at one instant, so that nothing is left to chance.
func bystanders(t *testing.T, disturb func(*fake) handler) *peaceful {
	t.Helper()
	p := &peaceful{took: map[string]time.Duration{}, said: map[string]string{}}
	limits := aggregate.Limits{
		Concurrency: 4, Queue: 100, QueueWait: 20 * time.Second, Rate: 40, Burst: 10, Attempts: 3, Failures: 5, CoolDown: 5 * time.Second,
	}
	bad := annotated(t, untilDone)
	if disturb != nil {
		bad.call = disturb(bad)
	}
	members := []aggregate.Member{limited(bad, limits)}
	for _, id := range []upstream.ID{"dwh", "erp", "wiki"} {
		f := newFake(t, id, "get")
		f.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			var n uint64
			if _, err := fmt.Sscanf(string(c.Arguments), `{"n":%d}`, &n); err != nil {
				return nil, err
			}
			dice := rand.New(rand.NewPCG(n, uint64(len(c.Upstream))))
			time.Sleep(50*time.Millisecond + time.Duration(dice.IntN(100_000_000)))
			if n%7 == 0 {
				return nil, lost(c, upstream.Timeout, true)
			}
			return upstream.TextResult(string(c.Arguments), false), nil
		}
		members = append(members, limited(f, limits))
	}
	a, err := aggregate.New(members, aggregate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	names(t, v)
	var noisy sync.WaitGroup
	for i := range 200 {
		if disturb == nil {
			break
		}
		r := &aggregate.Request{Principal: upstream.Local(), Session: []string{"a", "b", "c", "d"}[i%4],
			Back: upstream.Back{Progress: func(json.RawMessage) {}}}
		noisy.Go(func() { callAs(t, v, r, []string{"crm_get", "crm_put", "crm_act"}[i%3], `{}`) })
	}
	time.Sleep(time.Second)
	var wg sync.WaitGroup
	for i := range 180 {
		source, session := []string{"dwh", "erp", "wiki"}[i%3], []string{"a", "b"}[i%2]
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 7_000_013) // ns
			p.call(t, v, session, source, i)
		})
	}
	wg.Wait()
	for _, s := range a.Status().Sources {
		if s.Name != "crm" {
			text, err := json.Marshal(s)
			if err != nil {
				t.Error(err)
			}
			p.state += string(text) + "\n"
		}
	}
	noisy.Wait()
	return p
}

func (p *peaceful) call(t *testing.T, v *aggregate.View, session, source string, n int) {
	began := time.Now()
	raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Session: session,
		Params: fmt.Appendf(nil, `{"name":"%s_get","arguments":{"n":%d}}`, source, n)})
	if err != nil {
		t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := fmt.Sprint(source, " ", n)
	p.took[key], p.said[key] = time.Since(began), string(raw)
}

// Whatever one source does, with 200 calls waiting for it, each call to another
// takes exactly as long as without, says the same, and the others' quotas,
// places, retries and circuits are what they would be.
func TestNothingThatASourceDoesReachesAnother(t *testing.T) {
	var calm *peaceful
	synctest.Test(t, func(t *testing.T) { calm = bystanders(t, nil) })
	waited := 0
	for _, took := range calm.took {
		if took > 150*time.Millisecond {
			waited++
		}
	}
	if len(calm.took) != 180 || waited < 30 || !strings.Contains(calm.state, `"timeout`) {
		t.Fatalf("%d calls, of which %d waited: they would notice nothing\n%s", len(calm.took), waited, calm.state)
	}
	for name, disturb := range misbehaviours {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := bystanders(t, disturb)
				if !maps.Equal(got.took, calm.took) {
					for key, took := range got.took {
						if took != calm.took[key] {
							t.Errorf("%s took %s, else %s", key, took, calm.took[key])
						}
					}
				}
				if !maps.Equal(got.said, calm.said) {
					t.Error("calls said something else")
				}
				if got.state != calm.state {
					t.Errorf("the state of the others is\n%s, else\n%s", got.state, calm.state)
				}
			})
		})
	}
}
