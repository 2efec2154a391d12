package rest

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/drift"
)

// watch notes which declared fields the answers of one action lack. What has
// another type than it should is seen by whoever holds results to the schema of
// the tool. A difference is forgotten when an answer is as declared again.
type watch struct {
	log    *slog.Logger
	tool   string
	prefix string
	fields []*shape // the declared ones, by their numbers
	known  *drift.Known
}

// maxDrift is how many differences of one action are kept.
const maxDrift = 20

func newWatch(a *action, log *slog.Logger) *watch {
	w := &watch{log: log, tool: a.def.Name, known: drift.New(maxDrift, 0)}
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
	if seen == nil || records == 0 || !slices.Contains(seen, false) && !w.known.Any() {
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

const isGone = "is gone"

// gone notes that there is nothing at a path.
func (w *watch) gone(path string) {
	if w.known.Note(drift.Difference{Tool: w.tool, Field: path, Problem: isGone}) {
		w.log.Warn("source has changed", "tool", w.tool, "field", path, "problem", isGone)
	}
}

func (w *watch) forget(path string) {
	w.known.End(func(d drift.Difference) bool { return d.Field == path })
}
