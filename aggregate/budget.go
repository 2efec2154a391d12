package aggregate

import (
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// budgeted returns the entries that a list of at most budget tools holds, and
// how many are left out: our own are always in it, because one of them tells
// what is missing. 0 is no budget. The order stays.
func budgeted(entries, own []*entry, budget int) (listed []*entry, left int) {
	room := max(budget-len(own), 0)
	if budget <= 0 || len(entries) <= room {
		return append(entries, own...), 0
	}
	return append(entries[:room:room], own...), len(entries) - room
}

// leftOut says to the model and to the operator what a budget has done; "" if
// it has done nothing.
func leftOut(left, budget int) string {
	if left == 0 {
		return ""
	}
	tools := "tools are"
	if left == 1 {
		tools = "tool is"
	}
	return fmt.Sprintf("%d %s left out, because the configuration lists %d at most (server.list_budget)", left, tools, budget)
}

// note says what a budget keeps from the list of tools; "" if it keeps nothing.
func (o *offer) note(budget int) string {
	if o == nil { // of an upstream that has been taken out
		return ""
	}
	return leftOut(o.list(upstream.Tools).left, budget)
}
