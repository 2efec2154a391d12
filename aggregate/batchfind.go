package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// find returns what a plan may call.
func (r *batchRun) find(ctx context.Context) plan.Finder {
	v := &View{agg: r.agg}
	return func(name string) (plan.Tool, error) {
		switch name {
		case toolBatch, toolBatchRead:
			return plan.Tool{}, errors.New("a plan cannot contain a plan; put its calls into this one")
		case toolCall:
			return plan.Tool{}, errors.New(`a plan names the tool itself, for example "tool":"crm_search" instead of ` + toolCall)
		}
		e := v.find(ctx, upstream.Tools, name)
		if e == nil {
			problem := v.offer().unknown("tool", upstream.Tools, name).Message
			if like := v.offer().like(name); len(like) > 0 {
				problem += "; did you mean " + strings.Join(like, " or ") + "?"
			}
			return plan.Tool{}, errors.New(problem)
		}
		t := plan.Tool{Source: string(e.tool.Upstream), Reads: e.tool.Hints.ReadOnly, Form: Printable(signature(e.tool), maxFound), Check: r.checker(e)}
		t.Takes, _ = rawjson.Get(e.tool.Raw, "inputSchema")
		t.Returns, _ = rawjson.Get(e.tool.Raw, "outputSchema")
		if e.m != nil {
			t.Writes = !t.Reads && (e.tool.HasHints || e.m.Limits.Unannotated == Serial)
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
		_, arguments = withoutControls(e.tool, json.RawMessage("{}"), arguments)
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

// maxLike is how many tools are named that may have been meant, and maxEdits how
// many letters of their name may differ.
const (
	maxLike  = 3
	maxEdits = 3
)

// like returns tools that may have been meant by a name: those that end with it,
// as one would say it without the source, and those that are nearly called so.
func (o *offer) like(name string) []string {
	if len(name) < 3 || len(name) > 128 {
		return nil
	}
	type near struct {
		name  string
		edits int
	}
	var all []near
	for n := range o.list(upstream.Tools).index {
		switch {
		case strings.HasSuffix(n, "_"+name) || strings.EqualFold(n, name):
			all = append(all, near{n, 0})
		default:
			if d := edits(name, n, min(maxEdits, len(name)/3)); d >= 0 {
				all = append(all, near{n, d})
			}
		}
	}
	slices.SortFunc(all, func(a, b near) int {
		if a.edits != b.edits {
			return a.edits - b.edits
		}
		return strings.Compare(a.name, b.name)
	})
	var out []string
	for _, n := range all[:min(len(all), maxLike)] {
		out = append(out, n.name)
	}
	return out
}

// edits returns how many bytes have to be put in, taken out or changed to make b
// of a (Levenshtein); -1 if that is more than most.
func edits(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return -1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, least := row[0], i+1
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
			least = min(least, cost)
		}
		if least > most {
			return -1
		}
	}
	if row[len(b)] > most {
		return -1
	}
	return row[len(b)]
}
