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

// TestControlArgumentsInside: nor does it get there by way of a plan or of
// bulkhead_call, into which hosts and models put it as into any other call.
func TestControlArgumentsInside(t *testing.T) {
	f := newFake(t, "crm")
	f.tools = []upstream.Tool{parse(t, "crm", `{"name":"get","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object","properties":{"x":{"type":"integer"}},"additionalProperties":false}}`)}
	var seen []string
	f.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		seen = append(seen, string(c.Arguments)+string(c.Params))
		return upstream.TextResult("ok", false), nil
	}
	m := member(f)
	m.CheckSchema = true
	v := withOwn(t, aggregate.Options{}, m)
	const child = `{"task_progress":"- [ ] all","x":1,"wait_for_previous":true}`
	for _, c := range []struct{ tool, arguments string }{
		{"crm_get", child},
		{"bulkhead_call", `{"wait_for_previous":true,"tool":"crm_get","arguments":` + child + `}`},
		{"bulkhead_batch", `{"wait_for_previous":true,"calls":[{"id":"a","tool":"crm_get","arguments":` + child + `}]}`},
		{"bulkhead_batch_read", `{"calls":[{"id":"a","tool":"crm_get","arguments":` + child + `}],"task_progress":"x"}`},
		{"bulkhead_call", `{"tool":"bulkhead_batch","arguments":{"toolCallId":"1","fresh":true,"calls":[{"id":"a","tool":"crm_get","arguments":` + child + `}]}}`},
	} {
		seen = nil
		a := call(t, v, c.tool, c.arguments)
		if a.IsError || len(seen) != 1 || seen[0] != `{"x":1}{"name":"crm_get","arguments":{"x":1}}` {
			t.Errorf("%s %s: %q, %.300s", c.tool, c.arguments, seen, a.text())
		}
	}
}
