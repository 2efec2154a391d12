package aggregate

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// incapable is the cause of a failure for which a client is missing something.
type incapable struct {
	// lacks returns what a client with these capabilities would be missing, in words
	// for the model; "" if nothing.
	lacks func(caps json.RawMessage) string
	cause error // nil if nothing but that
}

// all is what any client would need.
func (i *incapable) all() string { return "it needs " + i.lacks(nil) }

func (i *incapable) Error() string {
	if i.cause != nil {
		return i.cause.Error()
	}
	return i.all()
}

func (i *incapable) Unwrap() error { return i.cause }

// cannotDo is how it is said that a client cannot do something.
const cannotDo = ", which this client does not have"

// incapable is the failure of a call for which the client is missing what, and may
// be missing something with other capabilities.
func (t conversation) incapable(what string, lacks func(caps json.RawMessage) string) error {
	e := t.fault(upstream.Denied, "it needs "+what+cannotDo)
	e.Err = &incapable{lacks: lacks}
	return e
}

// missingCapability says in words what an upstream's -32021 says in data
// (MCP 2026-07-28, MissingRequiredClientCapabilityError).
func missingCapability(e *upstream.Error) *upstream.Error {
	required, _ := rawjson.Get(e.RPC.Data, "requiredCapabilities")
	need := &incapable{cause: e, lacks: func(caps json.RawMessage) string { return missing(required, caps) }}
	return &upstream.Error{Upstream: e.Upstream, Tool: e.Tool, Op: e.Op, Kind: upstream.Denied, Sent: e.Sent,
		Public: need.all() + cannotDo, Err: need}
}

// missing names those of the required ClientCapabilities that are not among caps. If
// nothing is required, nobody knows what is missing.
func missing(required, caps json.RawMessage) string {
	var names []string
	some := false
	for m := range rawjson.Members(required) {
		if m.Name != "extensions" {
			some = true
			if _, ok := rawjson.Get(caps, m.Name); !ok {
				names = append(names, m.Name)
			}
			continue
		}
		for x := range rawjson.Members(m.Value) {
			some = true
			if !declares(caps, x.Name) {
				names = append(names, "the extension "+x.Name)
			}
		}
	}
	if !some {
		return "a capability"
	}
	slices.Sort(names)
	return Printable(strings.Join(names, ", "), 200)
}
