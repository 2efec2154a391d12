package upstream

import (
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Lacks returns the capability that q needs and caps, a ClientCapabilities
// object, does not have; "" if a client with caps may be asked (MCP 2025-11-25,
// elicitation, sampling and roots, §Capabilities). It may be of the upstream's
// making, and is short. A question of no known method needs one of its name.
func (q Question) Lacks(caps json.RawMessage) string {
	switch q.Method {
	case AskRoots:
		return without(caps, "roots")
	case AskSampling:
		if missing := without(caps, "sampling"); missing != "" {
			return missing
		}
		sampling, _ := rawjson.Get(caps, "sampling")
		if without(q.Params, "tools") == "" || without(q.Params, "toolChoice") == "" {
			return in("sampling", without(sampling, "tools"))
		}
		return ""
	case AskElicitation:
		if missing := without(caps, "elicitation"); missing != "" {
			return missing
		}
		elicitation, _ := rawjson.Get(caps, "elicitation")
		mode, _ := rawjson.GetString(q.Params, "mode")
		if mode == "" || mode == "form" {
			if without(elicitation, "url") != "" {
				return "" // one that declares no mode is that of forms
			}
			mode = "form"
		}
		return in("elicitation", without(elicitation, mode))
	}
	return q.Method
}

// without returns name if obj has no such member, or null there.
func without(obj json.RawMessage, name string) string {
	if v, ok := rawjson.Get(obj, name); ok && !rawjson.IsNull(v) {
		return ""
	}
	return name
}

// in returns where a capability is missing; "" if none is.
func in(capability, missing string) string {
	const most = 20
	if missing == "" {
		return ""
	}
	if r := []rune(missing); len(r) > most {
		missing = string(r[:most]) + "…"
	}
	return capability + "." + missing
}
