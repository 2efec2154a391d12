package e2e_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDiscovery: of many tools only a few are listed; the others are found by
// what they do, and called by one that is listed, or in a plan.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	sources := sandboxUpstream("crm", "crm", 0) + sandboxUpstream("shop", "warehouse", 0) + sandboxUpstream("desk", "tickets", 0)
	_, url := serveHTTP(t, "[server]\ndiscovery = 'search'\npinned = ['crm_get_*']\n"+sources)
	for _, modern := range []bool{false, true} {
		c := overHTTP(t, url, modern)
		c.ready()
		want := []string{"crm_get_customer", "bulkhead_batch", "bulkhead_batch_read", "bulkhead_read_more", "bulkhead_sources", "bulkhead_call", "bulkhead_find_tools"}
		if got := c.tools(); !slices.Equal(got, want) {
			t.Fatalf("%q", got)
		}
		var found struct {
			Tools []struct {
				Name, Source, Arguments string
				Reads                   bool
			}
			Note string
		}
		ask := func(arguments any) {
			found.Tools, found.Note = nil, ""
			r := c.mustCall("bulkhead_find_tools", arguments)
			if err := json.Unmarshal(r.Structured, &found); err != nil || r.IsError {
				t.Fatalf("%v: %s", err, r.text())
			}
		}
		ask(map[string]any{"query": "open support tickets of a customer", "limit": 3})
		if len(found.Tools) != 3 || found.Tools[0].Name != "desk_open_tickets" || !found.Tools[0].Reads || !strings.HasPrefix(found.Tools[0].Arguments, "customer_id: string") {
			t.Errorf("%+v", found)
		}
		ask(map[string]any{"query": "customer", "source": "shop"})
		for _, tool := range found.Tools {
			if tool.Source != "shop" {
				t.Errorf("%+v", tool)
			}
		}
		if ask(map[string]any{"query": "quaternions"}); len(found.Tools) != 0 || !strings.Contains(found.Note, "none of the 13 tools") {
			t.Errorf("%+v", found)
		}
		direct := c.mustCall("shop_top_customers", map[string]any{"limit": 1}) // known by its name all the same
		r := c.mustCall("bulkhead_call", map[string]any{"tool": "shop_top_customers", "arguments": map[string]any{"limit": 1}})
		if r.IsError || string(r.Structured) != string(direct.Structured) || len(r.Structured) == 0 {
			t.Errorf("%s, directly %s", r.text(), direct.text())
		}
		for _, wrong := range []map[string]any{{"tool": "bulkhead_call"}, {"arguments": map[string]any{}}} {
			if r := c.mustCall("bulkhead_call", wrong); !r.IsError || !strings.HasPrefix(r.text(), "invalid_arguments: ") {
				t.Errorf("%v: %s", wrong, r.text())
			}
		}
		if _, err := c.call("bulkhead_call", map[string]any{"tool": "shop_nothing"}); err == nil || !strings.Contains(err.Error(), `unknown tool: "shop_nothing"`) {
			t.Errorf("%v", err)
		}
		plan := json.RawMessage(`[{"id":"a","tool":"shop_top_customers","arguments":{"limit":1}}]`)
		if r := c.mustCall("bulkhead_batch_read", map[string]any{"calls": plan}); r.IsError || !strings.Contains(r.text(), "1 of 1 calls succeeded") {
			t.Error(r.text())
		}
	}
}

// TestManyToolsAreSearched: without another word that is so for more than a
// thousand.
func TestManyToolsAreSearched(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "bad", "10,000 tools"), nil)
	c := p.stdio(true)
	if !eventually(func() bool { return slices.Contains(c.tools(), "bulkhead_find_tools") }) {
		t.Fatal("all are listed")
	}
	if n := len(c.tools()); n != 6 {
		t.Errorf("%d tools are listed", n)
	}
	began := time.Now()
	r := c.mustCall("bulkhead_find_tools", map[string]any{"query": "tool 7321"})
	if r.IsError || !strings.Contains(r.text(), "bad_tool_7321") {
		t.Errorf("%.300s", r.text())
	}
	t.Logf("the first search of 10,000 tools took %v", time.Since(began))
}
