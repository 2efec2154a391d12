package mcpserver

import (
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// target returns the member of the params that the target of an operation goes
// by; "" where it has none of its own. known is false for an operation that
// this package does not carry.
func target(op upstream.Op) (member string, known bool) {
	switch op {
	case upstream.CallTool, upstream.GetPrompt:
		return "name", true
	case upstream.ReadResource, upstream.GetSkill, upstream.ReadDir:
		return "uri", true
	case upstream.GetTask, upstream.UpdateTask, upstream.CancelTask:
		return "taskId", true
	case upstream.Complete:
		return "", true
	}
	return "", false
}

// callRequest makes the request of a call, whose _meta gains the members meta.
func callRequest(call *upstream.Call, p *peer, meta []byte) (request, error) {
	member, known := target(call.Op)
	if !known {
		return request{}, failure(upstream.NotFound, false, "it is not asked "+bounded(string(call.Op), 64),
			fmt.Errorf("unknown operation %.64q", call.Op))
	}
	// The one request that must not be tried (extension skills, §Capability
	// Negotiation).
	if call.Op == upstream.ReadDir && !isTrue(p.offers.extensions[extSkills], "directoryRead") {
		return request{}, failure(upstream.NotFound, false, "it has no directories to read", nil)
	}
	r := request{method: string(call.Op), params: callParams(call, meta), tool: call.Tool}
	if member != "" {
		r.name = call.Name
	}
	return r, nil
}

// toolOf returns the name of the tool that is called, "" for anything else.
func toolOf(call *upstream.Call) string {
	if call.Op == upstream.CallTool {
		return call.Name
	}
	return ""
}
