package aggregate

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/drift"
)

const (
	// driftEach is how many of the first answers of a tool are looked at, and
	// driftEvery the least time between two later ones: looking costs as much as
	// a walk through the answer.
	driftEach  = 3
	driftEvery = time.Second
	// driftLongest is how long an answer may be that is looked at, in bytes.
	driftLongest = 1 << 20
	// maxDrifts is how many differences are remembered of one source, and
	// driftLasts for how long after they were seen last.
	maxDrifts  = 20
	driftLasts = time.Hour
)

// drifts notices that a source does not answer what its tools were declared to
// answer. It changes nothing of what it sees.
type drifts struct {
	log      *slog.Logger
	answered *atomic.Int64 // when the source has answered last, in ns since the epoch; saves a look at the clock
	tools    sync.Map      // name → *watchedTool
	known    *drift.Known
}

func newDrifts(log *slog.Logger, answered *atomic.Int64) *drifts {
	return &drifts{log: log, answered: answered, known: drift.New(maxDrifts, driftLasts)}
}

// watchedTool is one tool, and when its next answer is looked at.
type watchedTool struct {
	tool    *upstream.Tool
	promise *promise // nil if it has declared nothing
	looked  atomic.Int32
	next    atomic.Int64 // ns since the epoch
}

// Layer looks at some answers on their way.
func (d *drifts) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		res, err := next(ctx, c)
		if err == nil && c.Tool != nil && !res.IsError && res.Type == upstream.Final {
			if w := d.watched(c.Tool); w.promise != nil && w.due(d.answered.Load()) {
				d.look(w, res)
			}
		}
		return res, err
	}
}

func (d *drifts) watched(t *upstream.Tool) *watchedTool {
	if v, ok := d.tools.Load(t.Name); ok {
		if w := v.(*watchedTool); w.tool == t { //nolint:errcheck // nothing else is stored
			return w
		}
	}
	w := &watchedTool{tool: t, promise: promised(t)}
	d.tools.Store(t.Name, w)
	return w
}

// due reports whether an answer that comes now is looked at.
func (w *watchedTool) due(now int64) bool {
	if w.looked.Load() < driftEach {
		return w.looked.Add(1) <= driftEach
	}
	next := w.next.Load()
	return now >= next && w.next.CompareAndSwap(next, now+int64(driftEvery))
}

func (d *drifts) look(w *watchedTool, res *upstream.Result) {
	structured, ok := res.Get("structuredContent")
	switch {
	case !ok:
		d.note(w.tool.Name, []breach{{"", "has declared an output schema and answers nothing structured"}})
	case len(structured) <= driftLongest:
		d.note(w.tool.Name, w.promise.kept(structured, "", nil))
	}
}

// relisted compares the tools of a source with what they were before.
func (d *drifts) relisted(before, after *contents) {
	was := make(map[string]*upstream.Tool, len(before.all))
	for i := range before.all {
		was[before.all[i].key] = before.all[i].tool
	}
	for i := range after.all {
		now := after.all[i].tool
		if old := was[after.all[i].key]; old != nil && now != nil {
			d.note(now.Name, changed(promised(old), promised(now)))
		}
	}
}

// note remembers what was found in a tool, and logs what is new.
func (d *drifts) note(tool string, found []breach) {
	for _, b := range found {
		if d.known.Note(drift.Difference{Tool: tool, Field: b.field, Problem: b.problem}) {
			d.log.Warn("source has changed", "tool", tool, "field", b.field, "problem", b.problem)
		}
	}
}

// DriftStatus is a difference between what a tool was declared to answer and
// what it answers. Its calls are answered all the same.
type DriftStatus struct {
	Tool    string `json:"tool"`
	Field   string `json:"field,omitempty"` // a path, e.g. "records[].owner"
	Problem string `json:"problem"`
	Since   string `json:"since"`
}

// driftOf returns what was noticed of a source, here and by its adapter, and how
// much more there is than is named.
func driftOf(m *member) (named []DriftStatus, more int) {
	all := m.drifts.known.List()
	if d, ok := m.Adapter.(upstream.Drifter); ok {
		all = append(all, d.Drift()...)
	}
	slices.SortStableFunc(all, func(a, b upstream.Drift) int { return a.Since.Compare(b.Since) })
	for _, d := range all[:min(len(all), maxDrifts)] {
		named = append(named, DriftStatus{Printable(d.Tool, 200), Printable(d.Field, 200), Printable(d.Problem, 300), stamp(d.Since)})
	}
	return named, len(all) - len(named)
}
