package aggregate_test

import (
	"context"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// TestControlArguments: what a host has put into a call for itself does not get
// to a source that knows nothing of it.
func TestControlArguments(t *testing.T) {
	f := newFake(t, "crm", "plain")
	f.tools = append(f.tools, parse(t, "crm", `{"name":"own","inputSchema":{"type":"object","properties":{"wait_for_previous":{"type":"boolean"}}}}`))
	var arguments, params string
	f.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		arguments, params = string(c.Arguments), string(c.Params)
		return upstream.TextResult("ok", false), nil
	}
	v, _ := start(t, aggregate.Options{}, member(f))
	for _, c := range []struct{ tool, given, want string }{
		{"crm_plain", `{"a":12345678901234567890,"wait_for_previous":true}`, `{"a":12345678901234567890}`},
		{"crm_plain", `{"wait_for_previous":false, "b": 1}`, `{"b": 1}`},
		{"crm_plain", `{"a":"wait_for_previous","b":{"wait_for_previous":true}}`, `{"a":"wait_for_previous","b":{"wait_for_previous":true}}`},
		{"crm_own", `{"wait_for_previous":true}`, `{"wait_for_previous":true}`},
	} {
		call(t, v, c.tool, c.given)
		if arguments != c.want || params != `{"name":"`+c.tool+`","arguments":`+c.want+`}` {
			t.Errorf("%s %s: %s in %s", c.tool, c.given, arguments, params)
		}
	}
}
