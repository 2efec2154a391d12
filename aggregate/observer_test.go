package aggregate_test

import (
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

// watcher writes down what an observer is told.
type watcher struct {
	mu    sync.Mutex
	told  []string
	plans []*aggregate.Planned
}

func (w *watcher) tell(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprintf(format, args...))
}

func (w *watcher) Asked(r *aggregate.Request) func() {
	w.tell("asked by %s %s", r.Client, r.ClientVersion)
	return func() { w.tell("answered") }
}

func (w *watcher) Called(c *upstream.Call, o aggregate.Outcome) {
	w.tell("called %s %s: %s, %t, %s", c.Upstream, c.Name, o.Code, o.Result != nil, o.Took)
}

func (w *watcher) Planned(p *aggregate.Planned) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plans = append(w.plans, p)
}

// TestObserver holds what an observer is told of calls, and in what order.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		v, stop := startBatches(t, aggregate.Options{Observer: w, Discovery: aggregate.DiscoverSearch}, newShop(t, "crm"))
		defer stop()
		call(t, v, "crm_read", `{"ms":20}`)
		call(t, v, "crm_read", `{"fail":"tool"}`)
		call(t, v, "crm_read", `{"fail":"denied"}`)
		call(t, v, "bulkhead_call", `{"tool":"crm_read","arguments":{"ms":5}}`) // one call, not two
		call(t, v, "bulkhead_sources", `{}`)
		want := []string{
			"called crm read: ok, true, 20ms", "called crm read: tool_error, true, 0s", "called crm read: denied, false, 0s",
			"called crm read: ok, true, 5ms", "called  bulkhead_sources: ok, true, 0s",
		}
		for i, line := range want {
			if got := w.told[min(3*i, len(w.told)-3):]; !strings.HasPrefix(got[0], "asked by ") || got[1] != line || got[2] != "answered" {
				t.Errorf("%q; want %q", got[:3], line)
			}
		}
		if len(w.told) != 3*len(want) {
			t.Errorf("%q", w.told)
		}
	})
}

// TestObserverOfPlans holds what it is told of a plan: each element of a list is a
// call, and each call says how it ended and what there is to read.
func TestObserverOfPlans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		v, stop := startBatches(t, aggregate.Options{Observer: w}, newShop(t, "crm"))
		defer stop()
		const plan = `{"calls":[{"id":"a","tool":"crm_read","arguments":{"ms":200,"value":[1,2]}},
			{"id":"m","tool":"crm_read","map":{"$ref":"#/a/value"},"arguments":{"ms":100,"value":{"$ref":"#/item"}}},
			{"id":"f","tool":"crm_read","arguments":{"fail":"denied"}},
			{"id":"n","tool":"crm_read","arguments":{"value":{"$ref":"#/a/nothing"}}},
			{"id":"s","tool":"crm_read","after":["f"]}]}`
		batch(t, v, "bulkhead_batch_read", plan)
		batch(t, v, "bulkhead_batch_read", plan)
		if len(w.plans) != 2 {
			t.Fatalf("%d plans", len(w.plans))
		}
		asks := slices.DeleteFunc(slices.Clone(w.told), func(s string) bool { return !strings.HasPrefix(s, "asked") })
		if len(asks) != 2 {
			t.Errorf("the calls of a plan count as a client's: %q", w.told)
		}
		p := w.plans[0]
		if p.Wall != 300*time.Millisecond || p.Critical != p.Wall || p.Sum != 400*time.Millisecond {
			t.Errorf("%s, %s, %s", p.Wall, p.Critical, p.Sum)
		}
		if p.Whole.Tool != "bulkhead_batch_read" || string(p.Whole.Arguments) != plan || !strings.Contains(string(p.Whole.Answer), `"summary"`) {
			t.Errorf("%+v", p.Whole)
		}
		if !strings.Contains(string(p.Definitions), `"name":"crm_read"`) || &p.Definitions[0] != &w.plans[1].Definitions[0] {
			t.Errorf("the definitions are not those of the list: %.100s", p.Definitions)
		}
		want := [][]string{
			{`ok {"ms":200,"value":[1,2]} {"value":[1,2]}`, `ok {"ms":100,"value":1} {"value":1}`, `ok {"ms":100,"value":2} {"value":2}`,
				`denied {"fail":"denied"} "denied: crm: `, `invalid_arguments  `, `skipped  `},
			{`reused `, `reused `, `reused `, `denied `, `invalid_arguments `, `skipped `},
		}
		for i, lines := range want {
			for j, c := range w.plans[i].Calls {
				if got := fmt.Sprintf("%s %s %s", c.Code, c.Arguments, c.Answer); c.Tool != "crm_read" || !strings.HasPrefix(got, lines[j]) || c.Made() != (c.Answer != nil) {
					t.Errorf("plan %d, call %d: %s; want %s", i, j, got, lines[j])
				}
			}
			if len(w.plans[i].Calls) != len(lines) {
				t.Errorf("%d calls", len(w.plans[i].Calls))
			}
		}
	})
}

func TestDefinitions(t *testing.T) {
	a, err := aggregate.New([]aggregate.Member{member(newFake(t, "crm", "read", "find"))}, aggregate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = run(t, a)
	if err := a.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[upstream.ID][]string{}
	for id, raw := range aggregate.Definitions(a) {
		got[id] = append(got[id], string(raw))
	}
	if len(got["crm"]) != 2 || !strings.Contains(got["crm"][0], `"name":"crm_find"`) || len(got[""]) != 4 || len(got) != 2 {
		t.Errorf("%q", got)
	}
	for range aggregate.Definitions(a) {
		break // whoever stops is told no more
	}
}
