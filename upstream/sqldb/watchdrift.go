package sqldb

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// maxDrift is how many differences are remembered, and driftLasts for how long
// after they were seen last.
const (
	maxDrift   = 20
	driftLasts = time.Hour
)

// drifts notices columns that change, and statements that stop fitting. It forgets
// them when the statement answers as it did at first.
type drifts struct {
	log *slog.Logger

	mu    sync.Mutex
	known map[string][]column // of the first answer, by tool
	notes []*note             // the oldest first
}

// note is one difference.
type note struct {
	upstream.Drift
	seen time.Time // the last time
}

// compare holds the columns of an answer against those of the first.
func (d *drifts) compare(tool string, columns []column) {
	d.mu.Lock()
	first, ok := d.known[tool]
	if !ok {
		if d.known == nil {
			d.known = map[string][]column{}
		}
		d.known[tool] = slices.Clone(columns)
	}
	quiet := len(d.notes) == 0
	d.mu.Unlock()
	if !ok {
		first = columns
	}
	same := slices.Equal(first, columns)
	if same && quiet {
		return
	}
	var found []upstream.Drift
	if !same {
		found = differences(tool, first, columns)
	}
	d.set(tool, found)
}

func differences(tool string, first, columns []column) (found []upstream.Drift) {
	for _, c := range first {
		i := slices.IndexFunc(columns, func(n column) bool { return n.name == c.name })
		switch {
		case i < 0:
			found = append(found, upstream.Drift{Tool: tool, Field: c.name, Problem: "is gone"})
		case columns[i].typ != c.typ:
			found = append(found, upstream.Drift{Tool: tool, Field: c.name, Problem: fmt.Sprintf("is %s, not %s", columns[i].typ, c.typ)})
		}
	}
	for _, c := range columns {
		if !slices.ContainsFunc(first, func(f column) bool { return f.name == c.name }) {
			found = append(found, upstream.Drift{Tool: tool, Field: c.name, Problem: "is new"})
		}
	}
	return found
}

// unfit notes that the database does not take the statement of a tool, and why.
func (d *drifts) unfit(tool string, why error) {
	problem := "does not fit the database"
	if e, ok := errors.AsType[*upstream.Error](why); ok {
		problem += ": " + e.Public
	}
	d.set(tool, []upstream.Drift{{Tool: tool, Problem: problem}})
}

// fits forgets that the database did not take the statement of a tool.
func (d *drifts) fits(tool string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = slices.DeleteFunc(d.notes, func(n *note) bool { return n.Tool == tool && n.Field == "" })
}

// anyUnfit reports whether there is a statement that the database does not take.
func (d *drifts) anyUnfit() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.notes, func(n *note) bool { return n.Field == "" })
}

// set takes all that is different in a tool now, and logs what begins.
func (d *drifts) set(tool string, found []upstream.Drift) {
	for _, n := range d.merge(tool, found) {
		d.log.Warn("source has changed", "tool", n.Tool, "field", n.Field, "problem", n.Problem)
	}
}

// merge returns what is new.
func (d *drifts) merge(tool string, found []upstream.Drift) (begun []upstream.Drift) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = slices.DeleteFunc(d.notes, func(n *note) bool {
		return n.Tool == tool && !slices.ContainsFunc(found, n.is) || now.Sub(n.seen) > driftLasts
	})
	for _, f := range found {
		i := slices.IndexFunc(d.notes, func(n *note) bool { return n.is(f) })
		switch {
		case i >= 0:
			d.notes[i].seen = now
		case len(d.notes) < maxDrift:
			f.Since = now
			d.notes = append(d.notes, &note{f, now})
			begun = append(begun, f)
		}
	}
	return begun
}

func (n *note) is(d upstream.Drift) bool {
	return n.Tool == d.Tool && n.Field == d.Field && n.Problem == d.Problem
}

// Drift implements [upstream.Drifter]: what was seen within the last hour.
func (a *Adapter) Drift() []upstream.Drift {
	a.drift.mu.Lock()
	defer a.drift.mu.Unlock()
	var out []upstream.Drift
	for _, n := range a.drift.notes {
		if time.Since(n.seen) <= driftLasts {
			out = append(out, n.Drift)
		}
	}
	return out
}

// unfit reports whether the failure says that the database does not take the
// statement, whatever the arguments.
func (a *Adapter) unfit(err error) bool {
	f, ok := errors.AsType[*failure](err)
	if _, ours := errors.AsType[*refusal](err); !ok || ours {
		return false
	}
	c, _ := a.dialect.meaning(err)
	return c == misshapen || c == forbidden || c == faulty && f.stage < running
}
