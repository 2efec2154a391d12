package aggregate_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// listedFor returns the names of the tools that a host is told of.
func listedFor(t *testing.T, v *aggregate.View, client string) []string {
	t.Helper()
	raw, err := v.ListTools(t.Context(), &aggregate.Request{Principal: upstream.Local(), Client: client})
	if err != nil {
		t.Fatal(err)
	}
	var l struct{ Tools []struct{ Name string } }
	if err := json.Unmarshal(raw, &l); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, tool := range l.Tools {
		out = append(out, tool.Name)
	}
	return out
}

func numbered(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("tool_%d", i))
	}
	return out
}

// own are the tools of ours that are always listed, and those where not all are.
var (
	own     = []string{"bulkhead_batch", "bulkhead_batch_read", "bulkhead_read_more", "bulkhead_sources"}
	finders = []string{"bulkhead_call", "bulkhead_find_tools"}
)

// TestDiscoveryFollowsTheHost: by itself a list is short for a host that is known
// not to take all, and only for that one. Whoever sees which list may call the
// same.
func TestDiscoveryFollowsTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm", numbered(60)...)
		v := withOwn(t, aggregate.Options{Pinned: []string{"crm_tool_7"}}, member(f))
		short := slices.Concat([]string{"crm_tool_7"}, own, finders)
		for client, want := range map[string]int{"cursor-vscode": len(short), "Cursor": len(short), "claude-code": 64, "": 64, "visual-studio-code": 64} {
			got := listedFor(t, v, client)
			if len(got) != want || want == len(short) && !slices.Equal(got, short) {
				t.Errorf("%q: %q", client, got)
			}
			for _, tool := range []string{"crm_tool_3", "crm_tool_7", "bulkhead_find_tools"} {
				r := &aggregate.Request{Principal: upstream.Local(), Client: client}
				if a := callAs(t, v, r, tool, `{"query":"tool 3"}`); a.IsError {
					t.Errorf("%q %s: %s", client, tool, a.text())
				}
			}
		}
		if text := v.Instructions(); !strings.Contains(text, "Some hosts do not list all of its tools. Look for tools with bulkhead_find_tools and call them with bulkhead_call") {
			t.Error(text)
		}
		f.set(t, numbered(20)...)
		f.touch()
		time.Sleep(time.Minute)
		if got := listedFor(t, v, "cursor"); len(got) != 24 {
			t.Errorf("%d tools, which it takes: %q", len(got), got)
		}
		if text := v.Instructions(); strings.Contains(text, "find_tools") {
			t.Error(text)
		}
	})
}

// TestDiscoveryByConfiguration: what is configured counts for all hosts.
func TestDiscoveryByConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		opt            aggregate.Options
		cursor, others int
		says           string
	}{
		"list":               {aggregate.Options{Discovery: aggregate.DiscoverList}, 64, 64, ""},
		"list and budget":    {aggregate.Options{Discovery: aggregate.DiscoverList, ListBudget: 50}, 50, 50, "14 tools are left out"},
		"search":             {aggregate.Options{Discovery: aggregate.DiscoverSearch}, 6, 6, "Most of its tools are not listed."},
		"budget":             {aggregate.Options{ListBudget: 63}, 6, 6, "Most of its tools are not listed."},
		"budget that is met": {aggregate.Options{ListBudget: 64}, 6, 64, "Some hosts do not list"},
		"plain":              {aggregate.Options{Plain: true}, 60, 60, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := withOwn(t, c.opt, member(newFake(t, "crm", numbered(60)...)))
				if cursor, others := len(listedFor(t, v, "cursor")), len(listedFor(t, v, "claude-code")); cursor != c.cursor || others != c.others {
					t.Errorf("%d and %d tools, want %d and %d", cursor, others, c.cursor, c.others)
				}
				text := v.Instructions()
				if !strings.Contains(text, c.says) || c.says == "" && strings.Contains(text, "find_tools") || len(text) > 2000 {
					t.Errorf("%d bytes: %s", len(text), text)
				}
			})
		})
	}
}

// TestDiscoveryFlips: as tools come and go the list becomes one of a few and whole
// again, of which clients hear; what could be called before can be called after.
func TestDiscoveryFlips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, other := newFake(t, "crm", numbered(990)...), newFake(t, "wiki", "read")
		v := withOwn(t, aggregate.Options{}, member(f), member(other))
		heard := 0
		defer subscribe(t, v, func() { heard++ })()
		expect := func(tools, notices int) {
			t.Helper()
			f.touch()
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := listedFor(t, v, "claude-code"); len(got) != tools || heard != notices {
				t.Errorf("%d tools and %d notices, want %d and %d", len(got), heard, tools, notices)
			}
			for _, tool := range []string{"crm_tool_0", "crm_tool_989", "wiki_read"} {
				if a := call(t, v, tool, `{}`); a.IsError {
					t.Error(a.text())
				}
				if a := call(t, v, "bulkhead_call", fmt.Sprintf(`{"tool":%q}`, tool)); a.IsError {
					t.Error(a.text())
				}
			}
			if a := call(t, v, "bulkhead_find_tools", `{"query":"read in the wiki"}`); !strings.Contains(a.text(), `"wiki_read"`) {
				t.Error(a.text())
			}
		}
		expect(995, 1)
		f.set(t, numbered(1010)...)
		expect(6, 2)
		f.set(t, numbered(1020)...) // nothing that is listed has changed
		expect(6, 2)
		f.set(t, numbered(990)...)
		expect(995, 3)
	})
}

// TestToolGoneSinceItWasFound: the call says so, and what may be meant instead.
func TestToolGoneSinceItWasFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm", "list_notes", "list_customers")
		v := withOwn(t, aggregate.Options{Discovery: aggregate.DiscoverSearch}, member(f))
		if a := lookFor(t, v, `{"query":"notes"}`); len(a.Tools) != 1 || a.Tools[0].Name != "crm_list_notes" {
			t.Fatalf("%+v", a)
		}
		f.set(t, "list_all_notes", "list_customers")
		f.touch()
		time.Sleep(time.Minute)
		r := &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"bulkhead_call","arguments":{"tool":"crm_list_notes"}}`)}
		if _, err := v.CallTool(t.Context(), r); err == nil || !strings.HasPrefix(err.Error(), `unknown tool: "crm_list_notes"; perhaps crm_list_all_notes or crm_list_customers is meant`) {
			t.Error(err)
		}
		if a := lookFor(t, v, `{"query":"notes"}`); len(a.Tools) != 1 || a.Tools[0].Name != "crm_list_all_notes" {
			t.Errorf("%+v", a)
		}
	})
}

// TestMisspeltTools: what a name is a misspelling of is proposed, and nothing
// beside it, wherever it stands. A name among all is known where its upstream is
// alone.
func TestMisspeltTools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "fake", "big", "bigtext", "die", "echo", "sleep", "write")
		a, err := aggregate.New([]aggregate.Member{member(f)}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		alone, _ := a.View("fake")
		for _, c := range []struct {
			view       *aggregate.View
			tool, want string
		}{
			{v, "fake_slep", "; perhaps fake_sleep is meant"},
			{v, "fake_ecko", "; perhaps fake_echo is meant"},
			{v, "fake_wirte", "; perhaps fake_write is meant"},
			{v, "bulkhead_bacth", "; perhaps bulkhead_batch is meant"},
			{alone, "fake_echo", "; perhaps echo is meant"},
			{alone, "fake_ecko", "; perhaps echo is meant"},
			{alone, "ecko", "; perhaps echo is meant"},
			{alone, "fake_zzz", ""},
		} {
			r := &aggregate.Request{Principal: upstream.Local(), Params: fmt.Appendf(nil, `{"name":%q}`, c.tool)}
			if _, err := c.view.CallTool(t.Context(), r); err == nil || err.Error() != fmt.Sprintf("unknown tool: %q%s (code -32602)", c.tool, c.want) {
				t.Errorf("%q: %v", c.tool, err)
			}
		}
		const plan = `{"calls":[{"id":"a","tool":"fake_slep"},{"id":"b","tool":"fake_wirte"}]}`
		inPlan := func(want string) {
			t.Helper()
			if got := call(t, v, "bulkhead_batch", plan).text(); !strings.Contains(got, want+"; change") {
				t.Errorf("%s, want %s", got, want)
			}
		}
		inPlan(`a: unknown tool: "fake_slep"; perhaps fake_sleep is meant | b: unknown tool: "fake_wirte"; perhaps fake_write is meant`)
		f.set(t, "slap", "slip", "write")
		f.touch()
		time.Sleep(time.Minute)
		inPlan(`a: unknown tool: "fake_slep"; perhaps fake_slap or fake_slip is meant | b: unknown tool: "fake_wirte"; perhaps fake_write is meant`)
	})
}
