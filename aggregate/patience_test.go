package aggregate_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Who waits nearly as long for the quota as a call may take has no time left for
// the call itself. That is no fault of the source, whose circuit stays closed.
func TestWaitingForAQuotaOpensNoCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			select {
			case <-time.After(800 * time.Millisecond):
				return upstream.TextResult("ok", false), nil
			case <-ctx.Done():
				e := *upstream.AsError(c.Upstream, c.Name, context.Cause(ctx))
				e.Sent = true
				return nil, &e
			}
		})
		m := limited(f, aggregate.Limits{Rate: 1, Burst: 1, Failures: 5, CoolDown: 5 * time.Second, TrustAnnotations: true})
		v, _ := start(t, aggregate.Options{Deadline: 20 * time.Second}, m)
		names(t, v)
		synctest.Wait()
		var mu sync.Mutex
		outcomes := map[string]int{}
		var w sync.WaitGroup
		for i := range 180 {
			w.Go(func() {
				got := call(t, v, "crm_get", fmt.Sprintf(`{"i":%d}`, i)).text()
				mu.Lock()
				defer mu.Unlock()
				code, _, _ := strings.Cut(got, ":")
				outcomes[code]++
				if strings.Contains(got, "circuit") {
					t.Error(got)
				}
			})
			time.Sleep(333 * time.Millisecond)
		}
		w.Wait()
		if outcomes["ok"] < 15 || outcomes["timeout"] < 15 || outcomes["rate_limited"] < 15 {
			t.Errorf("a dull run: %v", outcomes)
		}
	})
}
