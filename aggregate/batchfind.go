package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// find returns what a plan may call.
func (r *batchRun) find(ctx context.Context) plan.Finder {
	v := r.view
	return func(name string) (plan.Tool, error) {
		switch name {
		case toolBatch, toolBatchRead:
			return plan.Tool{}, errors.New("a plan cannot contain a plan; put its calls into this one")
		case toolCall:
			return plan.Tool{}, errors.New(`a plan names the tool itself, for example "tool":"crm_search" instead of ` + toolCall)
		}
		e := v.find(ctx, upstream.Tools, name)
		if e == nil {
			return plan.Tool{}, errors.New(v.offer().unknown("tool", upstream.Tools, name).Message)
		}
		t := plan.Tool{Source: string(e.tool.Upstream), Reads: e.tool.Hints.ReadOnly, Form: Printable(signature(e.tool), maxFound), Check: r.checker(e)}
		t.Takes, _ = rawjson.Get(e.tool.Raw, "inputSchema")
		if e.m == nil {
			return t, nil
		}
		// A plan refers to what is shown. Fewer rows are what the source describes.
		if rule := e.m.Shape[e.key]; rule == nil || rule.JQ == "" && rule.Fields == nil {
			t.Returns, _ = rawjson.Get(e.tool.Raw, "outputSchema")
		}
		t.Writes = e.writes()
		for i, need := range e.m.Requires[e.key] {
			if e.needs[i] == "" {
				return plan.Tool{}, fmt.Errorf("%s needs the output of %q, which %s does not offer: it can be in no plan", name, need, e.m.ID)
			}
		}
		t.Requires = e.needs
		return t, nil
	}
}

// checker returns what tells what is wrong with the arguments of a tool.
func (r *batchRun) checker(e *entry) func(json.RawMessage, [][]string) string {
	return func(arguments json.RawMessage, open [][]string) string {
		return r.schemas.checkBut(e.tool, e.sent(arguments), open)
	}
}
