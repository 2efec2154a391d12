package plan_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
)

// Whatever panics while a plan is carried out costs the call that it is about, and
// what depends on that: the rest is carried out, and each call is told of.
func TestPanics(t *testing.T) {
	const two = `{"id":"a","tool":"a_read","arguments":{"value":[1,2]}},`
	nobody := func(p *plan.Plan) { p.Nodes[0].ID = "nobody" } // which a plan that was parsed cannot have
	for name, c := range map[string]struct {
		calls string
		plan  func(*plan.Plan) // breaks it
		in    string           // the call of which do panics, with the element
		tells int              // the call of which telling panics; -1 for none
		want  string           // how each ended
		fault string           // of which step, and whether that was begun
	}{
		"in a call":             {two + `{"id":"b","tool":"a_read"},{"id":"c","tool":"a_read","after":["b"]}`, nil, "b -1", -1, "a ok, b error lost, c skipped", "b -1 true"},
		"in one of a list":      {two + `{"id":"b","tool":"a_read","map":{"$ref":"#/a"}}`, nil, "b 1", -1, "a ok, b error [ok, error lost]", "b 1 true"},
		"in a reference":        {two + `{"id":"b","tool":"a_read","arguments":{"x":{"$ref":"#/a"}}}`, nobody, "", -1, "nobody ok, b error lost", "b -1 false"},
		"in that of a list":     {two + `{"id":"b","tool":"a_read","map":{"$ref":"#/a"}}`, nobody, "", -1, "nobody ok, b error lost", "b -1 false"},
		"in that of an element": {two + `{"id":"e","tool":"a_read"},{"id":"b","tool":"a_read","map":{"$ref":"#/e/k"},"arguments":{"x":{"$ref":"#/a"}}}`, nobody, "", -1, "nobody ok, e ok, b error [error lost]", "b 0 false"},
		"while it is told":      {two + `{"id":"b","tool":"a_read","after":["a"]}`, nil, "", 0, "a ok, b ok", "a -1 true"},
		"with on_error fail":    {two + `{"id":"b","tool":"a_read","on_error":"fail","after":["a"]},{"id":"c","tool":"c_read","after":["b"]}`, nil, "b -1", -1, "a ok, b error lost, c skipped", "b -1 true"},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, "["+c.calls+"]")
			if c.plan != nil {
				c.plan(p)
			}
			var mu sync.Mutex
			var told, faults []string
			out := plan.Run(t.Context(), p, plan.Work[string]{
				Do: func(ctx context.Context, s plan.Step) (json.RawMessage, string, bool) {
					if fmt.Sprint(s.Node.ID, " ", s.Item) == c.in {
						panic("out of order")
					}
					if s.Node.ID == "e" {
						return json.RawMessage(`{"k":[0]}`), "", true
					}
					return echo(ctx, s)
				},
				Done: func(i int, _ *plan.Outcome[string]) {
					told = append(told, p.Nodes[i].ID)
					if i == c.tells {
						panic("nobody listens")
					}
				},
				Fault: func(s plan.Step, begun bool, _ any) string {
					mu.Lock()
					defer mu.Unlock()
					faults = append(faults, fmt.Sprint(s.Node.ID, " ", s.Item, " ", begun))
					return "lost"
				},
			})
			var ended, ids []string
			for i, o := range out {
				ids = append(ids, p.Nodes[i].ID)
				ended = append(ended, p.Nodes[i].ID+" "+how(o))
			}
			if got := strings.Join(ended, ", "); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if got := strings.Join(faults, ", "); got != c.fault {
				t.Errorf("the fault is %s, want %s", got, c.fault)
			}
			slices.Sort(told)
			if slices.Sort(ids); !slices.Equal(told, ids) {
				t.Errorf("it is told of %v, of %v", told, ids)
			}
		})
	}
}

func how(o plan.Outcome[string]) string {
	s := strings.TrimSpace(string(o.Status) + " " + o.Result)
	if o.Items == nil {
		return s
	}
	var all []string
	for _, it := range o.Items {
		all = append(all, how(it))
	}
	return s + " [" + strings.Join(all, ", ") + "]"
}
