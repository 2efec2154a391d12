package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

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
		t.Returns, _ = rawjson.Get(e.tool.Raw, "outputSchema")
		if e.m != nil {
			t.Writes = e.writes()
			if needs := e.m.Requires[e.tool.Name]; len(needs) > 0 {
				t.Requires = v.offer().exposed(e.m, needs)
			}
		}
		return t, nil
	}
}

// checker returns what tells what is wrong with the arguments of a tool.
func (r *batchRun) checker(e *entry) func(json.RawMessage, [][]string) string {
	return func(arguments json.RawMessage, open [][]string) string {
		arguments = withoutControls(e.tool, arguments)
		return r.schemas.checkBut(e.tool, arguments, open)
	}
}

// exposed returns the names under which clients know a member's tools.
func (o *offer) exposed(m *member, own []string) []string {
	out := slices.Clone(own)
	for name, e := range o.list(upstream.Tools).index {
		if i := slices.Index(own, e.key); i >= 0 && e.m == m {
			out[i] = name
		}
	}
	return out // one that is not offered stays as it is: no plan can have it
}
