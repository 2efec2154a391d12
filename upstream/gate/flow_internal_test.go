package gate

import (
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Whoever opens more sessions gets no more turns, unless it cannot be told from
// others on this machine.
func TestFlowIsThePrincipals(t *testing.T) {
	call := func(p upstream.Principal, session string) string {
		return flowOf(&upstream.Call{Principal: p, Session: session})
	}
	ann, bob := upstream.NewPrincipal("i", "ann"), upstream.NewPrincipal("i", "bob")
	if call(ann, "1") != call(ann, "2") || call(ann, "1") != call(ann, "") {
		t.Error("one principal has several turns")
	}
	if call(ann, "1") == call(bob, "1") {
		t.Error("two principals share a turn")
	}
	if call(upstream.Local(), "1") == call(upstream.Local(), "2") || call(upstream.Local(), "1") == call(upstream.Local(), "") {
		t.Error("two local sessions share a turn")
	}
}
