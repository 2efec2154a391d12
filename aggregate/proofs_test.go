package aggregate_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// All attempts together have the time of one call.
func TestAttemptsShareTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		f := annotated(t, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			return untilDone(ctx, c)
		})
		m := limited(f, aggregate.Limits{Concurrency: 8, Attempts: 10, TrustAnnotations: true})
		m.Attempt = 20 * time.Second
		v, _ := start(t, aggregate.Options{}, m)
		names(t, v)
		began := time.Now()
		got := call(t, v, "crm_get", `{}`).text()
		if took := time.Since(began); took != 50*time.Second || o.arrivals() != 3 || !strings.HasPrefix(got, "timeout: crm: no answer within 50s") {
			t.Errorf("%d attempts, %s: %s", o.arrivals(), took, got)
		}
	})
}

// A source that stood still is not asked for more than its quota afterwards:
// who waits for a place has not taken its token yet.
func TestNoVolleyAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, burst = 20, 5
		var o oracle
		stalled := time.Now().Add(10 * time.Second)
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			time.Sleep(time.Until(stalled))
			defer o.enter(c)()
			return ok()
		})
		const places = 4
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Concurrency: places, Queue: 400, Rate: rate, Burst: burst}))
		names(t, v)
		w := newCrowd()
		for range 200 {
			w.call(t.Context(), t, v, "s", "crm_get", `{}`)
		}
		w.wg.Wait()
		// Those that were inside when it stood still come on top.
		if over := o.worst(rate, burst+places); over > 1e-6 {
			t.Errorf("%.1f calls over the quota", over)
		}
		if w.text["ok"] != 200 {
			t.Error(w.text)
		}
	})
}

// One of three sources fails half of its calls. What succeeds is what the call
// alone would give, to the byte; each failure names source and code; and making
// the failed ones again carries out those alone.
func TestPartialFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		broken := true
		sources := map[string]*fake{}
		var members []aggregate.Member
		for _, id := range []upstream.ID{"crm", "erp", "wiki"} {
			f := newFake(t, id)
			f.tools = append(f.tools, parse(t, id, `{"name":"get","inputSchema":{"type":"object"},`+reads+`}`))
			f.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
				mine := *c
				mine.Arguments = fmt.Appendf(nil, "%s %s", c.Upstream, c.Arguments)
				defer o.enter(&mine)()
				time.Sleep(100 * time.Millisecond)
				var n int
				if _, err := fmt.Sscanf(string(c.Arguments), `{"n":%d}`, &n); err != nil {
					return nil, err
				}
				if c.Upstream == "erp" && broken && n%2 == 0 {
					return nil, lost(c, upstream.Unavailable, true)
				}
				return &upstream.Result{Raw: fmt.Appendf(nil, `{ "content":[{"type":"text","text":"%s %d"}], "big":%d0000000000000000001 }`, c.Upstream, n, n+1)}, nil
			}
			sources[string(id)] = f
			members = append(members, limited(f, aggregate.Limits{Concurrency: 8, Queue: 8, Attempts: 1, Failures: 100}))
		}
		v, _ := start(t, aggregate.Options{}, members...)
		names(t, v)
		type child struct {
			source string
			n      int
		}
		ask := func(c child) string {
			raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(),
				Params: fmt.Appendf(nil, `{"name":"%s_get","arguments":{"n":%d}}`, c.source, c.n)})
			if err != nil {
				t.Error(err)
			}
			return string(raw)
		}
		together := func(all []child) map[child]string {
			var mu sync.Mutex
			var wg sync.WaitGroup
			got := map[child]string{}
			for _, c := range all {
				wg.Go(func() {
					said := ask(c)
					mu.Lock()
					defer mu.Unlock()
					got[c] = said
				})
			}
			wg.Wait()
			return got
		}
		var all, failed []child
		alone := map[child]string{}
		broken = false
		for n := range 4 {
			for id := range sources {
				c := child{id, n}
				all, alone[c] = append(all, c), ask(c)
			}
		}
		broken = true
		o.said = nil
		for c, said := range together(all) {
			switch {
			case said == alone[c]:
			case c.source != "erp" || c.n%2 != 0:
				t.Errorf("%v: %s, alone %s", c, said, alone[c])
			case !strings.Contains(said, `"unavailable: erp: `) || !strings.Contains(said, `"code":"unavailable"`) || !strings.Contains(said, `"source":"erp","tool":"get"`):
				t.Errorf("%v: %s", c, said)
			default:
				failed = append(failed, c)
			}
		}
		if len(failed) != 2 || len(o.said) != len(all) {
			t.Errorf("%d failed: %v", len(failed), o.said)
		}
		broken = false
		o.said = nil
		for c, said := range together(failed) {
			if said != alone[c] {
				t.Errorf("%v again: %s, alone %s", c, said, alone[c])
			}
		}
		if slices.Sort(o.said); fmt.Sprint(o.said) != `[erp {"n":0} erp {"n":2}]` {
			t.Errorf("made again: %q", o.said)
		}
	})
}
