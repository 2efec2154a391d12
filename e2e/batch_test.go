package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// TestBatch: a model sends one plan in place of four calls in three turns. What
// needs another call's result waits for it, the others do not, and what a tool
// requires is said and held.
func TestBatch(t *testing.T) {
	const latency = 300 * time.Millisecond
	config := sandboxUpstream("crm", "crm", latency) +
		sandboxUpstream("shop", "warehouse", latency, "tools.override.recent_orders.requires = ['top_customers']") +
		sandboxUpstream("desk", "tickets", latency)
	for _, modern := range []bool{false, true} {
		t.Run(fmt.Sprint("modern ", modern), func(t *testing.T) {
			_, url := serveHTTP(t, config)
			c := overHTTP(t, url, modern)
			c.ready()
			list := c.must("tools/list", nil)
			tools, _ := rawjson.Get(list, "tools")
			described := map[string]string{}
			for tool := range rawjson.Elements(tools) {
				name, _ := rawjson.GetString(tool, "name")
				described[name], _ = rawjson.GetString(tool, "description")
			}
			if d := described["shop_recent_orders"]; !strings.HasPrefix(d, "REQUIRES: output of shop_top_customers. ") {
				t.Errorf("shop_recent_orders is described as %q", d)
			}
			const orders = `{"id":"orders","tool":"shop_recent_orders","arguments":{"customer_id":{"$ref":"#/%s/customers/0/%s"}}}`
			calls := func(more ...string) json.RawMessage {
				return json.RawMessage("[" + strings.Join(append([]string{
					`{"id":"who","tool":"crm_find_customers","arguments":{"query":"a"}}`,
					`{"id":"tickets","tool":"desk_open_tickets","arguments":{"customer_id":{"$ref":"#/who/customers/0/customer_id"}}}`,
				}, more...), ",") + "]")
			}
			r := c.mustCall("bulkhead_batch_read", map[string]any{"calls": calls(fmt.Sprintf(orders, "who", "id"))})
			if !r.IsError || !strings.Contains(r.text(), "orders: shop_recent_orders needs the output of shop_top_customers, which is not in the plan") {
				t.Errorf("a plan without what it needs: %s", r.text())
			}
			top := `{"id":"top","tool":"shop_top_customers"}`
			began := time.Now()
			r = c.mustCall("bulkhead_batch_read", map[string]any{"calls": calls(top, fmt.Sprintf(orders, "top", "customer_id"))})
			wall := time.Since(began)
			var b struct {
				Summary string
				Results []struct{ ID, Status, Source, Error string }
				Timing  struct {
					Critical int `json:"critical_path_ms"`
					Sum      int `json:"sum_ms"`
				}
			}
			if err := json.Unmarshal(r.Structured, &b); err != nil || r.IsError || b.Summary != "4 of 4 calls succeeded." {
				t.Fatalf("%v: %s", err, r.text())
			}
			if least := 2 * latency; wall < least || wall > least+latency/2+2*time.Second || b.Timing.Sum < int((4*latency).Milliseconds()) {
				t.Errorf("wall %v, %+v", wall, b.Timing)
			}
			if s := b.Results[1]; s.Source != "desk" || s.ID != "tickets" {
				t.Errorf("%+v", b.Results)
			}
		})
	}
}
