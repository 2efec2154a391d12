package e2e_test

import (
	"encoding/json"
	"net/http"
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
	config := "[server]\ndiscovery = 'search'\npinned = ['crm_get_*']\nlist_budget = 9\n" + sources
	if out, log, code := run(t, config, nil, "tools"); code != 0 || strings.Count(out, "\n") != 13+4 || !strings.Contains(out, "shop_top_customers") {
		t.Errorf("tools: %d %s%s", code, out, log)
	}
	_, url := serveHTTP(t, config)
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

// TestHostsThatTakeFewToolsSearch: by itself, and only they; the same process
// lists all to the others.
func TestHostsThatTakeFewToolsSearch(t *testing.T) {
	t.Parallel()
	_, url := serveHTTP(t, fakeUpstream(t, "many", "10,000 tools", "tools.allow = ['tool_?', 'tool_??']"))
	all := overHTTP(t, url, false)
	all.ready()
	if n := len(all.tools()); n != 104 {
		t.Errorf("%d tools are listed", n)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	few := joinHTTP(t, transport, url, false)
	var hello struct{ Instructions string }
	raw := few.must("initialize", map[string]any{"protocolVersion": legacyVersion, "capabilities": map[string]any{},
		"clientInfo": map[string]any{"name": "cursor-vscode", "version": "1"}})
	if err := json.Unmarshal(raw, &hello); err != nil || !strings.Contains(hello.Instructions, "Look for tools with bulkhead_find_tools") {
		t.Errorf("%v: %s", err, hello.Instructions)
	}
	if got := few.tools(); len(got) != 6 || !slices.Contains(got, "bulkhead_find_tools") {
		t.Errorf("%q", got)
	}
	if r := few.mustCall("bulkhead_find_tools", map[string]any{"query": "tool 77", "limit": 1}); !strings.Contains(r.text(), `"many_tool_77"`) || !strings.Contains(r.text(), `"more":99`) {
		t.Error(r.text())
	}
	if r := few.mustCall("bulkhead_call", map[string]any{"tool": "many_tool_77", "wait_for_previous": true}); r.IsError {
		t.Error(r.text())
	}
	if _, err := few.call("bulkhead_call", map[string]any{"tool": "many_tool_777"}); err == nil || !strings.Contains(err.Error(), `unknown tool: "many_tool_777"; perhaps many_tool_`) {
		t.Error(err)
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
