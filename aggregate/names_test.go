package aggregate

import (
	"regexp"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

var strictName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,48}$`)

func TestNames(t *testing.T) {
	type tool struct {
		id           upstream.ID
		prefix, name string
		want         string
	}
	tests := []struct {
		name  string
		tools []tool
	}{
		{"prefixed", []tool{{"crm", "crm", "get_customer", "crm_get_customer"}}},
		{"dots, spaces and slashes", []tool{{"crm", "crm", "get.the customer/é", "crm_get_the_customer__"}}},
		{"flat", []tool{{"crm", "", "search", "search"}, {"tickets", "", "search", "search_tickets"}}},
		{"flat, both names taken", []tool{
			{"a", "", "x_b", "x_b"}, {"a", "", "x", "x"}, {"b", "", "x", "x_dd79d26c"},
		}},
		{"prefixes that meet", []tool{
			{"a", "a", "b_c", "a_b_c"}, {"a_b", "a_b", "c", "a_b_c_baef76bb"},
		}},
		{"too long", []tool{{"warehouse", "warehouse", "a_tool_with_a_name_that_goes_on_and_on_for_ever", "warehouse_a_tool_with_a_name_that_goes__de56807a"}}},
		{"one that poses as ours", []tool{{"evil", "", "bulkhead_sources", "sources_8c7079dd"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNamer()
			for _, tool := range tt.tools {
				if got := n.name(tool.id, tool.prefix, tool.name); got != tool.want {
					t.Errorf("name(%s, %s, %s) = %s, want %s", tool.id, tool.prefix, tool.name, got, tool.want)
				}
			}
		})
	}
}

func TestNamesAreLegalDistinctAndStable(t *testing.T) {
	type tool struct {
		id           upstream.ID
		prefix, name string
	}
	rapid.Check(t, func(t *rapid.T) {
		tools := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) tool {
			id := rapid.SampledFrom([]string{"a", "a_b", "crm", "bulkhead"}).Draw(t, "id")
			return tool{
				upstream.ID(id), rapid.SampledFrom([]string{"", id}).Draw(t, "prefix"),
				rapid.OneOf(rapid.StringMatching(`[a-c_.]{1,3}|bulkhead_[a-c]{60}`), rapid.String()).Draw(t, "name"),
			}
		}), 0, 40, func(t tool) tool { return tool{t.id, "", t.name} }).Draw(t, "tools")
		first, again := newNamer(), newNamer()
		seen := map[string]bool{}
		for _, tool := range tools {
			name := first.name(tool.id, tool.prefix, tool.name)
			if other := again.name(tool.id, tool.prefix, tool.name); other != name {
				t.Fatalf("%+v is called %s and then %s", tool, name, other)
			}
			if !strictName.MatchString(name) || seen[name] {
				t.Fatalf("%+v is called %q (taken: %v)", tool, name, seen[name])
			}
			seen[name] = true
		}
	})
}

func TestNamesAreBounded(t *testing.T) {
	n := newNamer()
	for i := range maxNames + 10 {
		n.trim()
		n.name("a", "", strconv.Itoa(i))
	}
	if len(n.names) > maxNames || len(n.taken) != len(n.names) {
		t.Errorf("%d names of %d tools are remembered", len(n.taken), len(n.names))
	}
}

func FuzzName(f *testing.F) {
	f.Add("crm", "crm", "get.customer")
	f.Add("a", "", "bulkhead_sources")
	f.Fuzz(func(t *testing.T, id, prefix, tool string) {
		n := newNamer()
		one, two := n.name(upstream.ID(id), prefix, tool), n.name(upstream.ID(id+"2"), prefix, tool)
		if !strictName.MatchString(one) || !strictName.MatchString(two) || one == two {
			t.Fatalf("%q, %q, %q: %q and %q", id, prefix, tool, one, two)
		}
	})
}
