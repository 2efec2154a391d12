package graphql

import (
	"log/slog"

	"github.com/bulkhead-mcp/bulkhead/upstream/drift"
)

// refusals are the operations that the service does not take any more: one
// difference for each tool at most.
type refusals struct {
	log   *slog.Logger
	known *drift.Known
}

const refusesIt = "the service refuses the operation"

// add remembers why an operation is refused. The log has no word of the service.
func (r *refusals) add(tool, why string) {
	if r.known.Note(drift.Difference{Tool: tool, Problem: refusesIt, Why: why}) {
		r.log.Warn("source has changed", "tool", tool, "problem", refusesIt)
	}
}

// drop forgets it: the operation was taken.
func (r *refusals) drop(tool string) {
	r.known.End(func(d drift.Difference) bool { return d.Tool == tool })
}
