package aggregate

import (
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// A fault of ours beside a call of a plan, which has a goroutine of its own, is that
// call's failure and not the end of the process.
func TestFaultBesideACall(t *testing.T) {
	a, err := New(nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := a.View("")
	r := &batchRun{batches: &batches{a.plans, v}, call: &upstream.Call{Principal: upstream.Local()}} // without a memory
	_, answer, ok := r.do(t.Context(), plan.Step{Node: &plan.Node{ID: "a", Tool: toolSources, Source: "crm"}, Item: -1})
	if ok || answer.err == nil || answer.err.Kind != upstream.Internal || answer.source != "crm" {
		t.Errorf("%v %+v", ok, answer)
	}
}
