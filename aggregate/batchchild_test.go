package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// TestBatchNamesResourcesAsCallsDo: the addresses in results are those by which
// the client can read them.
func TestBatchNamesResourcesAsCallsDo(t *testing.T) {
	v, _, crm, _ := two(t, aggregate.Options{})
	crm.fake.mu.Lock()
	crm.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
		return upstream.ParseResult([]byte(`{"content":[{"type":"text","text":"see"},{"type":"resource_link","uri":"file:///readme","name":"r"}]}`))
	}
	crm.fake.mu.Unlock()
	b := batch(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"crm_show"}]}`)
	if got := string(b.Results[0].Content); got != `[{"type":"resource_link","uri":"file://crm.bulkhead////readme","name":"r"}]` || string(b.Results[0].Result) != `"see"` {
		t.Errorf("%s, %s", got, b.Results[0].Result)
	}
}

// TestBatchPassesOnWhatItCameWith: a trace reaches the sources, the token of the
// plan's own progress does not.
func TestBatchPassesOnWhatItCameWith(t *testing.T) {
	crm := newShop(t, "crm")
	params := make(chan string, 2)
	crm.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		params <- string(c.Params)
		return upstream.TextResult("x", false), nil
	}
	v, _ := startBatches(t, aggregate.Options{}, crm)
	const calls = `{"calls":[{"id":"a","tool":"crm_read","arguments":{"x":1}}]}`
	for meta, want := range map[string]string{
		`{"progressToken":7,"traceparent":"00-1","x/y":{"z":1}}`: `{"name":"crm_read","arguments":{"x":1},"_meta":{"traceparent":"00-1","x/y":{"z":1}}}`,
		`{"progressToken":7}`: `{"name":"crm_read","arguments":{"x":1}}`,
	} {
		r := &aggregate.Request{Principal: upstream.Local(), Session: meta, Params: json.RawMessage(`{"name":"bulkhead_batch","_meta":` + meta + `,"arguments":` + calls + `}`)}
		if _, err := v.CallTool(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got := <-params; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestBatchMoves: what sources say of their progress has the host wait on, at most
// once a second, and what is told grows each time. A plan whose host knows that it
// goes on is given more time than one of which it hears nothing.
func TestBatchMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm := newShop(t, "crm")
		crm.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			for i := range 900 { // 90 s
				if c.Back.Progress != nil {
					c.Back.Progress(fmt.Appendf(nil, `{"progress":%d,"message":"row %d\u202e"}`, i, i))
				}
				select {
				case <-ctx.Done():
					return nil, &upstream.Error{Kind: upstream.Timeout, Sent: true}
				case <-time.After(100 * time.Millisecond):
				}
			}
			return upstream.TextResult("done", false), nil
		}
		v, stop := startBatches(t, aggregate.Options{}, crm)
		defer stop()
		const plan = `{"calls":[{"id":"a","tool":"crm_read"},{"id":"b","tool":"crm_read"}]}`
		silent := batch(t, v, "bulkhead_batch", plan)
		if got := silent.String(); got != "a error timeout, b error timeout" {
			t.Error(got)
		}
		type told struct {
			Progress, Total float64
			Message         string
		}
		var all []told
		a := callAs(t, v, &aggregate.Request{Principal: alice, Back: upstream.Back{Progress: func(raw json.RawMessage) {
			var n told
			if err := json.Unmarshal(raw, &n); err != nil {
				t.Error(err)
			}
			all = append(all, n)
		}}}, "bulkhead_batch", plan)
		if !strings.Contains(a.text(), "2 of 2 calls succeeded") {
			t.Error(a.text())
		}
		if len(all) < 80 || len(all) > 100 {
			t.Errorf("it was told %d times", len(all))
		}
		for i, n := range all {
			if n.Total != 2 || n.Progress > 2 || i > 0 && n.Progress <= all[i-1].Progress {
				t.Fatalf("%v after %v", n, all[max(i-1, 0)])
			}
		}
		if first, last := all[0], all[len(all)-1]; !strings.HasSuffix(first.Message, ` (crm_read): row 0\u202e`) || last.Progress != 2 {
			t.Errorf("%v, %v", first, last)
		}
	})
}
