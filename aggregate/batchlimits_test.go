package aggregate_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// within starts views of sources that have these limits.
func within(t *testing.T, limits aggregate.Limits, shops ...*shop) (*aggregate.View, func()) {
	t.Helper()
	var members []aggregate.Member
	for _, s := range shops {
		m := member(s.fake)
		m.Limits = limits
		members = append(members, m)
	}
	a, err := aggregate.New(members, aggregate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, stop := run(t, a)
	if err := a.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v, stop
}

func alike(n int, tool string, ms int) string {
	var calls []string
	for i := range n {
		calls = append(calls, fmt.Sprintf(`{"id":"%s%d","tool":"%s","arguments":{"ms":%d,"i":%d}}`, tool, i, tool, ms, i))
	}
	return strings.Join(calls, ",")
}

func mapped(n int, tool string, ms int) string {
	return fmt.Sprintf(`{"id":"l","tool":"erp_read","arguments":{"value":[%s]}},{"id":"m","tool":"%s","map":{"$ref":"#/l/value"},"arguments":{"ms":%d,"i":{"$ref":"#/item"}}}`,
		strings.TrimSuffix(strings.Repeat("1,", n), ","), tool, ms)
}

// TestBatchFitsItsLimits: a plan does not get in its own way. However many calls it
// has and however little may wait, all are made, and no place is empty meanwhile.
func TestBatchFitsItsLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limits aggregate.Limits
		calls  string
		took   time.Duration
	}{
		"reads":            {aggregate.Limits{Concurrency: 4, Queue: 100, QueueWait: 10 * time.Second}, alike(48, "crm_read", 1000), 12 * time.Second},
		"a short queue":    {aggregate.Limits{Concurrency: 2, Queue: 4, QueueWait: time.Second}, alike(16, "crm_read", 100), 800 * time.Millisecond},
		"calls are longer": {aggregate.Limits{Concurrency: 2, Queue: 4, QueueWait: 10 * time.Second}, alike(4, "crm_read", 20_000), 40 * time.Second},
		"writes":           {aggregate.Limits{Concurrency: 8, Queue: 3, QueueWait: 10 * time.Second}, mapped(30, "crm_write", 1000), 30 * time.Second},
		"writes by number": {aggregate.Limits{Concurrency: 2, Queue: 1, QueueWait: time.Second, SerializeBy: "ms"}, mapped(10, "crm_write", 1000), 10 * time.Second},
		"parallel writes":  {aggregate.Limits{Concurrency: 2, Queue: 1, QueueWait: time.Second, Writes: aggregate.Parallel}, mapped(10, "crm_write", 1000), 5 * time.Second},
		"two sources":      {aggregate.Limits{Concurrency: 4, Queue: 1, QueueWait: time.Second}, alike(40, "crm_read", 1000) + "," + alike(24, "erp_read", 500), 10 * time.Second},
		"no limit":         {aggregate.Limits{}, alike(60, "crm_read", 1000), time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			v, stop := within(t, c.limits, newShop(t, "crm"), newShop(t, "erp"))
			defer stop()
			began := time.Now()
			b := batch(t, v, "bulkhead_batch", `{"calls":[`+c.calls+`]}`)
			if took := time.Since(began); !strings.HasSuffix(b.Summary, " calls succeeded.") || took != c.took {
				t.Errorf("%s: %v, %.300s", name, took, b.Summary)
			}
		})
	}
}

// TestBatchWaitsAsLongAsItsHost: a plan whose host is told of its progress may be
// longer than a single call, and so may the wait of the last of its calls.
func TestBatchWaitsAsLongAsItsHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, stop := within(t, aggregate.Limits{Concurrency: 1, Queue: 4, QueueWait: 10 * time.Second}, newShop(t, "crm"))
		defer stop()
		told := 0
		r := &aggregate.Request{Principal: alice, Back: upstream.Back{Progress: func(json.RawMessage) { told++ }}}
		a := callAs(t, v, r, "bulkhead_batch", `{"calls":[`+alike(40, "crm_read", 3000)+`]}`)
		if !strings.Contains(a.text(), "40 of 40 calls succeeded") || told != 40 {
			t.Errorf("%.300s, told %d times", a.text(), told)
		}
	})
}

// TestBatchEndsWhileItsCallsWait: what never began says so, and was not sent.
func TestBatchEndsWhileItsCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm := newShop(t, "crm")
		v, stop := within(t, aggregate.Limits{Concurrency: 2, Queue: 4, QueueWait: 10 * time.Second}, crm)
		defer stop()
		b := batch(t, v, "bulkhead_batch", `{"deadline_ms":1500,"calls":[`+alike(5, "crm_read", 1000)+`]}`)
		const want = "timeout: crm: its turn at the source did not come before the plan's time was up; nothing was sent; retry later; other sources are unaffected."
		unsent := 0
		for _, r := range b.Results {
			if r.Error == want {
				unsent++
			}
		}
		if unsent != 1 || len(crm.asked) != 4 {
			t.Errorf("%d say that they were not sent, %d were: %+v", unsent, len(crm.asked), b.Results)
		}
	})
}

// TestBatchLeavesOthersTheirTurn: a call by itself waits for a turn, not for a plan.
func TestBatchLeavesOthersTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, stop := within(t, aggregate.Limits{Concurrency: 2, Queue: 2, QueueWait: 10 * time.Second}, newShop(t, "crm"), newShop(t, "erp"))
		defer stop()
		var both sync.WaitGroup
		both.Go(func() {
			r := &aggregate.Request{Principal: alice}
			if a := callAs(t, v, r, "bulkhead_batch", `{"calls":[`+mapped(20, "crm_write", 1000)+`,`+alike(40, "crm_read", 1000)+`]}`); !strings.Contains(a.text(), "42 of 42 calls succeeded") {
				t.Errorf("%.300s", a.text())
			}
		})
		for _, at := range []time.Duration{5500 * time.Millisecond, 20 * time.Second} {
			time.Sleep(at)
			began := time.Now()
			if a := callAs(t, v, &aggregate.Request{Principal: alice}, "crm_write", `{"ms":10}`); a.IsError || time.Since(began) > 2*time.Second {
				t.Errorf("after %v: %s", time.Since(began), a.text())
			}
		}
		both.Wait()
	})
}

// TestBatchOfAnEmptyList: that a call was made for no element is to be seen, and is
// not taken for a call whose result is missing.
func TestBatchOfAnEmptyList(t *testing.T) {
	v, _ := startBatches(t, aggregate.Options{}, newShop(t, "crm"))
	b := batch(t, v, "bulkhead_batch", `{"calls":[{"id":"l","tool":"crm_read","arguments":{"value":[]}},
		{"id":"m","tool":"crm_read","map":{"$ref":"#/l/value"}},{"id":"t","tool":"crm_read","map":{"$ref":"#/l"}}]}`)
	if got := b.String(); got != "l ok, m ok, t error invalid_arguments" || b.Results[1].Items == nil || b.Results[2].Items != nil {
		t.Errorf("%s: %+v", got, b.Results)
	}
}
