package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
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

// limited is a member with limits.
func limited(f *fake, l aggregate.Limits) aggregate.Member {
	m := member(f)
	m.Limits = l
	return m
}

const (
	reads  = `"annotations":{"readOnlyHint":true}`
	writes = `"annotations":{"readOnlyHint":false}`
)

// annotated is an upstream "crm" with the tools get, which says that it reads,
// put, which says that it writes, and act, which says nothing.
func annotated(t testing.TB, h handler) *fake {
	t.Helper()
	f := newFake(t, "crm")
	for name, more := range map[string]string{"get": "," + reads, "put": "," + writes, "act": ""} {
		f.tools = append(f.tools, parse(t, "crm", fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}%s}`, name, more)))
	}
	f.call = h
	return f
}

// ok answers as every upstream should.
func ok() (*upstream.Result, error) { return upstream.TextResult("ok", false), nil }

func lost(c *upstream.Call, k upstream.Kind, sent bool) error {
	return &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: k, Sent: sent, Err: errors.New("x")}
}

// oracle is what an upstream sees, whatever we think that we have sent.
type oracle struct {
	mu    sync.Mutex
	at    []time.Time
	said  []string // arguments
	now   int      // under way
	most  int      // at once
	after int      // arrived since mark
}

// enter notes an arrival; the caller calls what it returns at the end.
func (o *oracle) enter(c *upstream.Call) (leave func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at, o.said = append(o.at, time.Now()), append(o.said, string(c.Arguments))
	o.after++
	o.now++
	o.most = max(o.most, o.now)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.now--
	}
}

func (o *oracle) arrivals() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.at)
}

// worst returns how many more than burst + rate·window arrived in some window.
func (o *oracle) worst(rate, burst float64) float64 {
	worst := 0.0
	for i := range o.at {
		for j := i; j < len(o.at); j++ {
			worst = max(worst, float64(j-i+1)-burst-rate*o.at[j].Sub(o.at[i]).Seconds())
		}
	}
	return worst
}

// crowd makes calls at once and gathers their answers.
type crowd struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	text map[string]int           // answers by their code, "ok" for good ones
	last map[string]time.Duration // when the last such answer came
	from time.Time
}

func newCrowd() *crowd {
	return &crowd{text: map[string]int{}, last: map[string]time.Duration{}, from: time.Now()}
}

func (w *crowd) call(ctx context.Context, t *testing.T, v *aggregate.View, session, tool, arguments string) {
	w.wg.Go(func() {
		raw, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Session: session,
			Params: fmt.Appendf(nil, `{"name":%q,"arguments":%s}`, tool, arguments)})
		if err != nil {
			t.Errorf("%s: %v", tool, err)
			return
		}
		var a answer
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Errorf("%v in %.200s", err, raw)
			return
		}
		code, _, _ := strings.Cut(a.text(), ":")
		w.mu.Lock()
		defer w.mu.Unlock()
		w.text[code]++
		w.last[code] = time.Since(w.from)
	})
}

// Retries stand outside the throttle: what is sent again is counted like
// anything else. With the two the other way round half as much again arrives.
func TestRetriesKeepWithinTheQuota(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			var o oracle
			random := rand.New(rand.NewPCG(seed, 4)) //nolint:gosec // a schedule, no secret
			var mu sync.Mutex
			f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
				defer o.enter(c)()
				mu.Lock()
				fails, takes := random.IntN(10) < 3, time.Duration(random.IntN(300))*time.Millisecond
				mu.Unlock()
				time.Sleep(takes)
				if fails {
					return nil, lost(c, upstream.Unavailable, true)
				}
				return ok()
			})
			v, _ := start(t, aggregate.Options{Deadline: time.Minute}, limited(f, aggregate.Limits{
				Concurrency: 8, Queue: 400, Rate: 20, Burst: 5, Attempts: 3, TrustAnnotations: true,
			}))
			names(t, v)
			w := newCrowd()
			for i := range 400 {
				w.call(t.Context(), t, v, fmt.Sprint(i%4), "crm_get", fmt.Sprintf(`{"n":%d}`, i))
			}
			w.wg.Wait()
			if over := o.worst(20, 5); over > 1e-6 {
				t.Errorf("seed %d: %.2f calls over the quota", seed, over)
			}
			if o.most > 8 {
				t.Errorf("seed %d: %d calls at once", seed, o.most)
			}
			if w.text["ok"] < 280 || o.arrivals() < 430 {
				t.Errorf("seed %d: %v of %d arrivals", seed, w.text, o.arrivals())
			}
		})
	}
}

// The breaker stands inside the bulkhead: who has waited for a place sees at
// once that the source is dead, instead of finding it out one by one.
func TestAnOpenCircuitEmptiesTheQueue(t *testing.T) {
	for kind, c := range map[upstream.Kind]struct {
		sent   bool
		rounds int // of four calls at once, until it is clear
	}{
		upstream.Timeout:     {true, 1},
		upstream.Unavailable: {false, 4}, // four that are lost together are one failure
	} {
		sent := c.sent
		synctest.Test(t, func(t *testing.T) {
			var o oracle
			f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
				defer o.enter(c)()
				time.Sleep(time.Second)
				return nil, lost(c, kind, sent)
			})
			v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{
				Concurrency: 4, Queue: 200, Failures: 4, CoolDown: 10 * time.Second, Attempts: 3,
			}))
			names(t, v)
			w := newCrowd()
			for range 200 {
				w.call(t.Context(), t, v, "s", "crm_act", `{}`)
			}
			w.wg.Wait()
			if n := o.arrivals(); n > 4*c.rounds+4 {
				t.Errorf("%s: %d calls went to a dead source", kind, n)
			}
			if took := time.Since(w.from); took > time.Duration(c.rounds+2)*time.Second {
				t.Errorf("%s: the last heard of it after %s", kind, took)
			}
			got, want := call(t, v, "crm_act", `{}`).text(), "unavailable: crm: its circuit is open after failures (the last: "+kind.Code()+"); retry in "
			if !strings.HasPrefix(got, want) {
				t.Error(got)
			}
		})
	}
}

// The throttle stands inside the breaker: what an open circuit refuses costs no
// tokens.
func TestAnOpenCircuitSpendsNoTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			if down {
				return nil, lost(c, upstream.Unavailable, false)
			}
			return ok()
		})
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Rate: 0.1, Burst: 5, Failures: 1, CoolDown: time.Minute}))
		names(t, v)
		for range 20 {
			call(t, v, "crm_get", `{}`)
		}
		down = false
		f.touch()
		synctest.Wait()
		began := time.Now()
		for range 4 {
			if got := call(t, v, "crm_get", `{}`).text(); got != "ok" {
				t.Error(got)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("its tokens came after %s", took)
		}
	})
}

// Retries stand outside the bulkhead: who pauses leaves the place to others.
func TestAPauseHoldsNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := false
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			if c.Name == "get" && !failed {
				failed = true
				e := lost(c, upstream.Unavailable, false).(*upstream.Error) //nolint:errorlint // just made
				e.RetryAfter = 4 * time.Second
				return nil, e
			}
			return ok()
		})
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Concurrency: 1, Queue: 10, Attempts: 2}))
		names(t, v)
		w := newCrowd()
		w.call(t.Context(), t, v, "a", "crm_get", `{}`)
		synctest.Wait()
		if call(t, v, "crm_act", `{}`); time.Since(w.from) != 0 {
			t.Errorf("another call waited %s", time.Since(w.from))
		}
		if w.wg.Wait(); w.text["ok"] != 1 || time.Since(w.from) < 4*time.Second {
			t.Error(w.text, time.Since(w.from))
		}
	})
}

func TestOneProbeAmongMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			time.Sleep(time.Second)
			return nil, lost(c, upstream.Timeout, true)
		})
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{
			Concurrency: 64, Failures: 3, CoolDown: 5 * time.Second, Attempts: 3,
		}))
		names(t, v)
		for range 3 {
			call(t, v, "crm_act", `{}`)
		}
		time.Sleep(6 * time.Second)
		before, w := o.arrivals(), newCrowd()
		for range 64 {
			w.call(t.Context(), t, v, "s", "crm_act", `{}`)
		}
		w.wg.Wait()
		if n := o.arrivals() - before; n != 1 {
			t.Errorf("%d probes", n)
		}
	})
}

// A tool that fails takes only itself away, and a source that is reached again
// needs no probe.
func TestCircuitsOfToolsAndSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reachable := true
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			switch {
			case !reachable:
				return nil, lost(c, upstream.Unavailable, false)
			case c.Name == "act":
				return nil, lost(c, upstream.Timeout, true)
			}
			return ok()
		})
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Concurrency: 4, Failures: 3, CoolDown: time.Minute}))
		names(t, v)
		for range 20 {
			call(t, v, "crm_act", `{}`)
		}
		if got := call(t, v, "crm_act", `{}`).text(); !strings.Contains(got, "circuit is open") {
			t.Error(got)
		}
		if got := call(t, v, "crm_get", `{}`).text(); got != "ok" {
			t.Errorf("another tool of the source: %s", got)
		}
		reachable = false
		for range 3 {
			call(t, v, "crm_get", `{}`)
			time.Sleep(time.Second)
		}
		if got := call(t, v, "crm_put", `{}`).text(); !strings.Contains(got, "circuit is open") {
			t.Errorf("another tool of a source that cannot be reached: %s", got)
		}
		reachable = true
		f.touch() // connected again
		synctest.Wait()
		if got := call(t, v, "crm_put", `{}`).text(); got != "ok" {
			t.Errorf("after it came back: %s", got)
		}
		if got := call(t, v, "crm_act", `{}`).text(); !strings.Contains(got, "circuit is open") {
			t.Errorf("the tool that fails: %s", got)
		}
	})
}

// A session that queues 1,000 calls delays another's single call by no more than
// twice the number of sessions over the rate.
func TestAHogWaitsForItself(t *testing.T) {
	for _, places := range []int{1, 4, 32} {
		synctest.Test(t, func(t *testing.T) {
			f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) { return ok() })
			v, _ := start(t, aggregate.Options{Deadline: 10 * time.Minute}, limited(f, aggregate.Limits{
				Concurrency: places, Queue: 2000, Rate: 10, Burst: 1,
			}))
			names(t, v)
			hog := newCrowd()
			for range 1000 {
				hog.call(t.Context(), t, v, "hog", "crm_get", `{}`)
			}
			time.Sleep(3 * time.Second)
			light := newCrowd()
			light.call(t.Context(), t, v, "light", "crm_get", `{}`)
			light.wg.Wait()
			if took, most := time.Since(light.from), 2*2*time.Second/10; took > most {
				t.Errorf("%d places: it waited %s, more than %s", places, took, most)
			}
			hog.wg.Wait()
			if hog.text["ok"] != 1000 {
				t.Error(hog.text)
			}
		})
	}
}

func TestAHangingSourceHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := annotated(t, untilDone)
		other := newFake(t, "erp", "get")
		other.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
			time.Sleep(100 * time.Millisecond)
			return ok()
		}
		l := aggregate.Limits{Concurrency: 4, Queue: 4, QueueWait: 5 * time.Second, Failures: 5, CoolDown: time.Second, Attempts: 3}
		v, _ := start(t, aggregate.Options{}, limited(hangs, l), limited(other, l))
		names(t, v)
		w := newCrowd()
		for range 20 {
			w.call(t.Context(), t, v, "s", "crm_act", `{}`)
		}
		for range 50 {
			began := time.Now()
			if got := call(t, v, "erp_get", `{}`).text(); got != "ok" || time.Since(began) != 100*time.Millisecond {
				t.Fatalf("%s after %s", got, time.Since(began))
			}
		}
		w.wg.Wait()
		if w.text["overloaded"] != 16 || w.text["timeout"] != 4 || w.last["overloaded"] != 5*time.Second {
			t.Error(w.text, w.last)
		}
	})
}
