package rest

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// watch notes which declared fields the answers of one action lack. What has
// another type than it should is seen by whoever holds results to the schema of
// the tool. A difference is forgotten when an answer is as declared again.
type watch struct {
	log    *slog.Logger
	tool   string
	prefix string
	fields []*shape // the declared ones, by their numbers
	noted  atomic.Int32

	mu    sync.Mutex
	drift []upstream.Drift
	said  map[string]time.Time // when a field was last said to be gone
}

const (
	// maxDrift is how many differences of one action are kept.
	maxDrift = 20
	// sayAgain is how long nothing is logged of a field that comes and goes.
	sayAgain = time.Hour
)

func newWatch(a *action, log *slog.Logger) *watch {
	w := &watch{log: log, tool: a.def.Name}
	if a.list {
		w.prefix = "records[]."
	}
	if a.shape != nil {
		w.fields = a.shape.fieldsOf()
	}
	return w
}

// tally returns where to note which fields an answer has; nil if none are
// declared.
func (w *watch) tally() []bool {
	if len(w.fields) == 0 {
		return nil
	}
	return make([]bool, len(w.fields)) // which are numbered without a gap
}

// check takes what one answer with so many records had. A field below one that
// is not there says nothing of its own.
func (w *watch) check(seen []bool, records int) {
	if seen == nil || records == 0 || !slices.Contains(seen, false) && w.noted.Load() == 0 {
		return
	}
	for i, f := range w.fields {
		parent := f.path[:max(strings.LastIndexByte(f.path, '.'), 0)]
		there := slices.ContainsFunc(w.fields, func(p *shape) bool { return p.path == parent && !seen[p.seen] })
		switch {
		case seen[i]:
			w.forget(w.prefix + f.path)
		case !there:
			w.gone(w.prefix + f.path)
		}
	}
}

// gone notes that there is nothing at a path.
func (w *watch) gone(path string) {
	if w.add(path) {
		w.log.Warn("source has changed", "tool", w.tool, "field", path, "problem", isGone)
	}
}

const isGone = "is gone"

// add reports whether the difference is to be logged.
func (w *watch) add(field string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.drift) >= maxDrift || slices.ContainsFunc(w.drift, func(d upstream.Drift) bool { return d.Field == field }) {
		return false
	}
	now := time.Now()
	w.drift = append(w.drift, upstream.Drift{Tool: w.tool, Field: field, Problem: isGone, Since: now})
	w.noted.Store(int32(len(w.drift))) //nolint:gosec // at most maxDrift
	last, said := w.said[field]
	if said && now.Sub(last) < sayAgain {
		return false
	}
	if w.said == nil {
		w.said = make(map[string]time.Time)
	}
	w.said[field] = now
	return true
}

func (w *watch) forget(field string) {
	if w.noted.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drift = slices.DeleteFunc(w.drift, func(d upstream.Drift) bool { return d.Field == field })
	w.noted.Store(int32(len(w.drift))) //nolint:gosec // at most maxDrift
}

func (w *watch) told() []upstream.Drift {
	if w.noted.Load() == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.drift)
}
