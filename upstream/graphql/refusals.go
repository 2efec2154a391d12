package graphql

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// refusals are the operations that the service does not take any more.
type refusals struct {
	log   *slog.Logger
	mu    sync.Mutex
	known []upstream.Drift     // one for each tool at most, the oldest first
	said  map[string]time.Time // when it was last logged, by tool
}

// sayAgain is how long nothing is logged of an operation that is taken and refused
// in turn.
const sayAgain = time.Hour

const refusesIt = "the service refuses the operation"

// add remembers why an operation is refused. The log has no word of the service.
func (r *refusals) add(tool, why string) {
	if r.isNew(tool, why) {
		r.log.Warn("source has changed", "tool", tool, "problem", refusesIt)
	}
}

// isNew reports whether the refusal is to be logged.
func (r *refusals) isNew(tool, why string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.known, func(d upstream.Drift) bool { return d.Tool == tool }) {
		return false
	}
	now := time.Now()
	r.known = append(r.known, upstream.Drift{Tool: tool, Problem: refusesIt + ": " + why, Since: now})
	last, said := r.said[tool]
	if said && now.Sub(last) < sayAgain {
		return false
	}
	if r.said == nil {
		r.said = make(map[string]time.Time)
	}
	r.said[tool] = now
	return true
}

// drop forgets it: the operation was taken.
func (r *refusals) drop(tool string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = slices.DeleteFunc(r.known, func(d upstream.Drift) bool { return d.Tool == tool })
}

func (r *refusals) list() []upstream.Drift {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.known)
}
