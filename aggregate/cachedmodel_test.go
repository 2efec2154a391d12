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

// counter is the source of the model: one number that each write raises by one. A
// read tells it with who asked, what, and when it was seen.
type counter struct {
	mu    sync.Mutex
	r     *rand.Rand
	value int
	by    map[string]int // what each write made of it, by its arguments
	done  int            // the latest of these that was answered
	began time.Time
}

func (l *counter) pause(most int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.r.IntN(most)) * time.Millisecond
}

func (l *counter) fails() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.IntN(5) == 0
}

func (l *counter) call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	if c.Name == "put" && l.fails() { // before it is sent
		return nil, lost(c, upstream.Unavailable, false)
	}
	late := time.After(l.pause(300))
	select {
	case <-late:
	case <-ctx.Done():
		return nil, upstream.AsError(c.Upstream, c.Name, ctx.Err())
	}
	l.mu.Lock()
	if c.Name == "put" {
		l.value++
		l.by[string(c.Arguments)] = l.value
	}
	text := fmt.Sprintf("%s %s %d %d", c.Principal, c.Arguments, l.value, time.Since(l.began))
	l.mu.Unlock()
	time.Sleep(l.pause(300))
	if l.fails() {
		return nil, lost(c, upstream.Timeout, true)
	}
	return upstream.TextResult(text, false), nil
}

const (
	modelTTL   = 400 * time.Millisecond
	modelStale = 600 * time.Millisecond
)

// read makes a read and holds what it is answered against the ledger.
func (l *counter) read(t *testing.T, v *aggregate.View, seed uint64, who, what string, patience time.Duration) (good, old bool) {
	l.mu.Lock()
	least, began := l.done, time.Since(l.began)
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	said := getAs(ctx, t, v, &aggregate.Request{Principal: upstream.NewPrincipal("x", who), Session: who,
		Params: fmt.Appendf(nil, `{"name":"crm_get","arguments":%s}`, what)})
	var principal, asked string
	var value int
	var seen time.Duration
	if n, _ := fmt.Sscanf(said, "%s %s %d %d", &principal, &asked, &value, &seen); n != 4 {
		return false, false // it failed
	}
	if principal != "x/"+who || asked != what {
		t.Errorf("seed %d: %s asked %s and was answered %q", seed, who, what, said)
	}
	if value < least {
		t.Errorf("seed %d: %q, but %d was written before it was asked", seed, said, least)
	}
	// What is kept was seen up to 300 ms before it was answered.
	if age := began - seen; age > modelTTL+modelStale+300*time.Millisecond {
		t.Errorf("seed %d: %q is %s old", seed, said, age)
	}
	return true, strings.Contains(said, "this answer is")
}

// Random reads, writes, failures, drops, leavers and times, by three users: nobody
// is ever answered with another's, with what was so before a write that had ended
// when they asked, or with what is too old.
func TestMemoryAgainstAModel(t *testing.T) {
	var mu sync.Mutex
	good, old, calls := 0, 0, 0
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			l := &counter{r: rand.New(rand.NewPCG(seed, 7)), by: map[string]int{}, began: time.Now()} //nolint:gosec // a schedule, no secret
			var o oracle
			f := annotated(t, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				defer o.enter(c)()
				return l.call(ctx, c)
			})
			m := limited(f, aggregate.Limits{TrustAnnotations: true, Attempts: int(seed%2) + 1})
			m.Cache = aggregate.Cache{TTL: modelTTL, Stale: modelStale}
			a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{Plain: true, CacheSize: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			v, _ := run(t, a)
			names(t, v)
			synctest.Wait()
			var w sync.WaitGroup
			for i := range 80 {
				time.Sleep(l.pause(100))
				who, what, patience := []string{"alice", "bob", "carol"}[l.pause(3)/time.Millisecond], fmt.Sprintf(`{"n":%d}`, l.pause(2)/time.Millisecond), time.Second
				if l.fails() {
					patience = l.pause(500)
				}
				switch l.pause(20) / time.Millisecond {
				case 0, 1:
					w.Go(func() {
						id := fmt.Sprintf(`{"w":%d}`, i)
						call(t, v, "crm_put", id)
						l.mu.Lock()
						l.done = max(l.done, l.by[id])
						l.mu.Unlock()
					})
				case 2:
					a.Forget("crm")
				case 3:
					f.touch()
				default:
					w.Go(func() {
						g, s := l.read(t, v, seed, who, what, patience)
						mu.Lock()
						defer mu.Unlock()
						if g {
							good++
						}
						if s {
							old++
						}
					})
				}
			}
			w.Wait()
			calls += o.arrivals()
		})
	}
	if good < 3_000 || old < 60 || calls > 100*80*3/4 {
		t.Errorf("a dull run: %d good reads, %d of them stale, %d calls", good, old, calls)
	}
}
