package aggregate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// TestBatchSentAgainAfterAChange: what was read is not given again once somebody
// else may have changed something at its source, by a call or by a plan. The plan's
// own writes, writes elsewhere and what provably was not sent change nothing.
func TestBatchSentAgainAfterAChange(t *testing.T) {
	crm, erp := newShop(t, "crm"), newShop(t, "erp")
	v, _ := startBatches(t, aggregate.Options{}, crm, erp)
	const plan = `{"calls":[{"id":"r","tool":"crm_read","arguments":{"value":1}},{"id":"o","tool":"erp_read","arguments":{"value":1}},{"id":"w","tool":"crm_write","arguments":{"value":1}}]}`
	batch(t, v, "bulkhead_batch", plan)
	const same = "r ok reused, o ok reused, w ok reused"
	const anew = "r ok, o ok reused, w ok reused"
	for i, step := range []struct{ tool, arguments, want string }{
		{"crm_read", `{"i":%d}`, same},
		{"erp_read", `{"i":%d}`, same},
		{"crm_write", `{"i":%d,"fail":"denied"}`, same},
		{"crm_write", `{"i":%d}`, anew},
		{"crm_write", `{"i":%d,"fail":"lost"}`, anew},
		{"crm_write", `{"i":%d,"fail":"tool"}`, anew},
		{"crm_plain", `{"i":%d}`, anew},
		{"bulkhead_batch", `{"calls":[{"id":"w","tool":"crm_write","arguments":{"i":%d}}]}`, anew},
		{"bulkhead_batch_read", `{"calls":[{"id":"r","tool":"crm_read","arguments":{"i":%d}}]}`, same},
	} {
		call(t, v, step.tool, fmt.Sprintf(step.arguments, i))
		for _, want := range []string{step.want, same} {
			if got := batch(t, v, "bulkhead_batch", plan).String(); got != want {
				t.Errorf("after %s %s: %s, want %s", step.tool, step.arguments, got, want)
			}
		}
	}
}

// TestBatchKeepsWhatItsWritesWereMadeFrom: a plan of which writes are missing goes
// on with what they were made from, so that none is made twice.
func TestBatchKeepsWhatItsWritesWereMadeFrom(t *testing.T) {
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{}, crm)
	const plan = `{"calls":[{"id":"l","tool":"crm_read","arguments":{"value":[{"v":1,"f":""},{"v":2,"f":"once"}]}},
		{"id":"r","tool":"crm_read","arguments":{"value":4}},{"id":"w","tool":"crm_write","map":{"$ref":"#/l/value"},"arguments":{"v":{"$ref":"#/item/v"},"fail":{"$ref":"#/item/f"}}}]}`
	if got := batch(t, v, "bulkhead_batch", plan).String(); got != "l ok, r ok, w error denied" {
		t.Error(got)
	}
	call(t, v, "crm_write", `{"value":"of another"}`)
	if got := batch(t, v, "bulkhead_batch", plan).String(); got != "l ok reused, r ok, w ok" {
		t.Error(got)
	}
	if n := crm.count(`{"v":1,"fail":""}`); n != 1 {
		t.Errorf("the first was written %d times", n)
	}
}

// TestBatchFresh: calls that are to be made anew are not answered from memory
// either. What they bring is kept for others.
func TestBatchFresh(t *testing.T) {
	crm := newShop(t, "crm")
	m := member(crm.fake)
	m.Limits.TrustAnnotations = true
	m.Cache.TTL = time.Minute
	a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	if err := a.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	const plan = `{%s"calls":[{"id":"a","tool":"crm_read","arguments":{"value":1}},{"id":"b","tool":"crm_read","after":["a"],"arguments":{"value":1}}]}`
	for i, step := range []struct {
		fresh string
		asked int
	}{{"", 1}, {"", 1}, {`"fresh":true,`, 3}, {"", 3}} {
		batch(t, v, "bulkhead_batch", fmt.Sprintf(plan, step.fresh))
		call(t, v, "crm_read", `{"value":1}`)
		if n := crm.count(`{"value":1}`); n != step.asked {
			t.Errorf("step %d: asked %d times, want %d", i, n, step.asked)
		}
	}
}

// TestBatchSentAgainAfterGaps: what could not be had whole is asked for when the plan
// is sent again, unless it changed something.
func TestBatchSentAgainAfterGaps(t *testing.T) {
	crm := newShop(t, "crm")
	crm.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
		return &upstream.Result{Raw: []byte(`{"content":[]}`), Gaps: true}, nil
	}
	v, _ := startBatches(t, aggregate.Options{}, crm)
	for _, want := range []string{"r ok, w ok", "r ok, w ok reused"} {
		if got := batch(t, v, "bulkhead_batch", `{"calls":[{"id":"r","tool":"crm_read"},{"id":"w","tool":"crm_write"}]}`).String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestBatchSentAgainAfterAnOldAnswer: what was out of date when the plan was sent is
// asked for when it is sent again: it says how old it was then, and that a newer one
// is on its way. What a write was made from stays as it was.
func TestBatchSentAgainAfterAnOldAnswer(t *testing.T) {
	for name, step := range map[string]struct{ more, want string }{
		"read":    {``, "r ok, d ok reused"},
		"written": {`,{"id":"w","tool":"crm_write","after":["r"],"arguments":{"value":1}}`, "r ok reused, d ok reused, w ok reused"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := member(newShop(t, "crm").fake)
				m.Limits.TrustAnnotations = true
				m.Cache.TTL, m.Cache.Stale = time.Second, time.Hour
				a, err := aggregate.New([]aggregate.Member{m, member(newShop(t, "erp").fake)}, aggregate.Options{})
				if err != nil {
					t.Fatal(err)
				}
				v, stop := run(t, a)
				defer stop()
				call(t, v, "crm_read", `{"value":1}`)
				time.Sleep(time.Minute)
				plan := `{"calls":[{"id":"r","tool":"crm_read","arguments":{"value":1}},{"id":"d","tool":"erp_read","arguments":{"value":{"$ref":"#/r/value"}}}` + step.more + `]}`
				if text := call(t, v, "bulkhead_batch", plan).text(); !strings.Contains(text, "s old; ") {
					t.Fatal(text)
				}
				time.Sleep(time.Minute)
				if got := batch(t, v, "bulkhead_batch", plan).String(); got != step.want {
					t.Errorf("%s, want %s", got, step.want)
				}
			})
		})
	}
}
