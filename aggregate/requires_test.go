package aggregate_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// requirement returns how the description of the last tool of the source that has
// one begins, and the name of that tool; "" if none does.
func requirement(t *testing.T, v *aggregate.View) (needs, tool string) {
	t.Helper()
	raw, err := v.ListTools(t.Context(), &aggregate.Request{Principal: upstream.Local(), Modern: true})
	if err != nil {
		t.Fatal(err)
	}
	var l struct {
		Tools []struct{ Name, Description string }
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		t.Fatal(err)
	}
	for _, one := range l.Tools {
		if rest, ok := strings.CutPrefix(one.Description, "REQUIRES: output of "); ok {
			needs, _, _ = strings.Cut(rest, ".")
			tool = one.Name
		}
	}
	return needs, tool
}

// What a tool requires is called in its description what it is called in the list
// that the description stands in, and in plans.
func TestRequiredToolsGoByTheirNames(t *testing.T) {
	long := "get_" + strings.Repeat("order_", 8)
	for name, tt := range map[string]struct {
		prefix, need string
	}{
		"short":               {"shop", "get"},
		"long":                {"shop", long},
		"characters":          {"shop", "get.order/é"},
		"no prefix":           {"", "get"},
		"no prefix and taken": {"", "find"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				other, shop := newFake(t, "crm", "find"), newFake(t, "shop", tt.need, "refund")
				crm, m := member(other), member(shop)
				crm.Prefix, m.Prefix = "", tt.prefix
				m.Requires = map[string][]string{"refund": {tt.need}}
				a, err := aggregate.New([]aggregate.Member{crm, m}, aggregate.Options{})
				if err != nil {
					t.Fatal(err)
				}
				v, _ := run(t, a)
				listed := names(t, v) // crm's find, the two of shop, ours
				need, tool := requirement(t, v)
				want := listed[1]
				if need != want || tool != listed[2] {
					t.Errorf("%s needs %q, of %q", tool, need, listed)
				}
				planBoth(t, v, want, tool)
				single, ok := a.View("shop")
				if !ok {
					t.Fatal("it cannot be seen alone")
				}
				alone := names(t, single)
				if need, tool := requirement(t, single); need != alone[0] || tool != "refund" {
					t.Errorf("alone %s needs %q, of %q", tool, need, alone)
				}
				planBoth(t, single, alone[0], "refund")
			})
		})
	}
}

// planBoth makes a plan of a tool and the one that it needs, and one without that.
func planBoth(t *testing.T, v *aggregate.View, need, tool string) {
	t.Helper()
	plan := `{"calls":[{"id":"a","tool":"` + need + `"},{"id":"b","tool":"` + tool + `","after":["a"]}]}`
	if got := call(t, v, "bulkhead_batch", plan); !strings.Contains(string(got.Structured), "2 of 2 calls succeeded") {
		t.Errorf("%s\n%s", plan, got.text())
	}
	want := tool + " needs the output of " + need + ", which is not in the plan"
	if got := call(t, v, "bulkhead_batch", `{"calls":[{"id":"b","tool":"`+tool+`"}]}`); !strings.Contains(got.text(), want) {
		t.Error(got.text())
	}
}

// The names are found with the tool.
func TestRequiredToolsAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := member(newFake(t, "shop", "get.order", "refund"))
		m.Requires = map[string][]string{"refund": {"get.order"}}
		a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		if got := call(t, v, "bulkhead_find_tools", `{"query":"refund"}`); !strings.Contains(string(got.Structured), `"description":"REQUIRES: output of shop_get_order."`) {
			t.Errorf("%s", got.Structured)
		}
	})
}

// A tool that requires what its source does not offer can be in no plan. That is
// told, and the description does not send anybody to look for it.
func TestRequiredToolsThatAreNotOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := member(newFake(t, "shop", "get_order", "hidden", "quiet", "refund", "secret"))
		m.Keep = func(tool string) bool { return tool != "hidden" && tool != "secret" }
		m.Requires = map[string][]string{"quiet": {"get_order"}, "refund": {"get_oder", "hidden", "get_order"}, "secret": {"nosuch"}, "stray": {"nosuch"}}
		a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		want := []string{
			`tools.override.refund.requires names "get_oder", which is none of its tools: no plan can have refund; did you mean get_order?`,
			`tools.override.refund.requires names "hidden", which tools.allow or tools.deny leaves out: no plan can have refund`,
		}
		if diff := cmp.Diff(want, aggregate.Unmet(a, "shop")); diff != "" {
			t.Error(diff)
		}
		if got := aggregate.Unmet(a, "nosuch"); got != nil {
			t.Error(got)
		}
		if need, tool := requirement(t, v); need != "shop_get_order" || tool != "shop_refund" {
			t.Errorf("%s needs %q", tool, need)
		}
		got := call(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"shop_get_order"},{"id":"b","tool":"shop_refund","after":["a"]}]}`)
		if !strings.Contains(got.text(), `b: shop_refund needs the output of "get_oder", which shop does not offer: it can be in no plan;`) {
			t.Error(got.text())
		}
	})
}

// A required tool that the budget of the list leaves out is none that could be
// called: no description names it, and a plan is told why it cannot be.
func TestRequiredToolsBeyondTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := member(newFake(t, "shop", "a", "z"))
		m.Requires = map[string][]string{"a": {"z"}}
		agg, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{ListBudget: 5, Discovery: aggregate.DiscoverList})
		if err != nil {
			t.Fatal(err)
		}
		all, _ := run(t, agg)
		names(t, all)
		alone, _ := agg.View("shop")
		for tool, v := range map[string]*aggregate.View{"shop_a": all, "a": alone} {
			if needs, _ := requirement(t, v); needs != "" {
				t.Errorf("it is said to need %s", needs)
			}
			got := call(t, v, "bulkhead_batch", `{"calls":[{"id":"c","tool":"`+tool+`"}]}`)
			if !got.IsError || !strings.Contains(got.text(), `needs the output of "z", which shop does not offer`) {
				t.Error(got.text())
			}
		}
	})
}
