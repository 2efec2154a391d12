package aggregate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
)

// TestNullIsLeftOut: every tool of ours takes null as an argument that may be left out
// for left out, called by itself and in a plan, as hosts fill it in. Sources get it as
// it was sent.
func TestNullIsLeftOut(t *testing.T) {
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{Discovery: aggregate.DiscoverSearch, MaxResult: 2048}, crm)
	long := call(t, v, "bulkhead_call", fmt.Sprintf(`{"tool":"crm_read","arguments":{"value":%q}}`, strings.Repeat("long ", 2000)))
	handle := handleIn.FindStringSubmatch(long.Content[len(long.Content)-1].Text)
	if handle == nil {
		t.Fatal("nothing was left out")
	}
	for _, c := range []struct{ tool, null, without string }{
		{"bulkhead_sources", `{"source":null}`, `{}`},
		{"bulkhead_find_tools", `{"query":"read","source":null, "limit" : null }`, `{"query":"read"}`},
		{"bulkhead_read_more", `{"handle":"` + handle[1] + `","page":null}`, `{"handle":"` + handle[1] + `"}`},
		{"bulkhead_call", `{"tool":"crm_plain","arguments":null}`, `{"tool":"crm_plain"}`},
	} {
		want := call(t, v, c.tool, c.without)
		if got := call(t, v, c.tool, c.null); want.IsError || got.IsError || got.text() != want.text() {
			t.Errorf("%s%s: %s\ninstead of %s", c.tool, c.null, got.text(), want.text())
		}
		if c.tool == "bulkhead_call" {
			continue // is in no plan
		}
		if got := batch(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"`+c.tool+`","arguments":`+c.null+`}]}`).String(); got != "a ok" {
			t.Errorf("%s%s in a plan: %s", c.tool, c.null, got)
		}
	}
	for tool, c := range map[string][2]string{
		"bulkhead_find_tools": {`{"query":null}`, "query: got null, want string"},
		"bulkhead_sources":    {`{"other":null}`, "'other' not allowed"},
		"bulkhead_call":       {`{"tool":"crm_plain","other":null}`, "'other' not allowed"},
	} {
		if got := call(t, v, tool, c[0]); !got.IsError || !strings.Contains(got.text(), c[1]) {
			t.Errorf("%s%s: %s", tool, c[0], got.text())
		}
	}
	call(t, v, "crm_plain", `{"x":null}`)
	if crm.count(`{"x":null}`) != 1 {
		t.Error("a source was not given what was sent")
	}
}
