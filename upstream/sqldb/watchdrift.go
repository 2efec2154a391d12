package sqldb

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// maxDrift is how many differences are remembered, and driftLasts for how long
// after they were seen last. No more than maxLogged are logged in that time.
const (
	maxDrift   = 20
	maxLogged  = 100
	driftLasts = time.Hour
)

// drifts notices columns that change, and statements that stop fitting. It forgets
// them when the statement answers as it did at first.
type drifts struct {
	log *slog.Logger

	mu    sync.Mutex
	known map[string][]column // of the first answer, by tool
	notes []*note             // the oldest first
	// logged is when each was logged last, within driftLasts; none has a time in it.
	logged map[upstream.Drift]time.Time
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
func (d *drifts) unfit(tool, why string) {
	d.set(tool, []upstream.Drift{{Tool: tool, Problem: "does not fit the database: " + why}})
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

// set takes all that is different in a tool now, and logs what begins, each at most
// once an hour however often it comes and goes.
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
			if d.tell(f, now) {
				begun = append(begun, f)
			}
			f.Since = now
			d.notes = append(d.notes, &note{f, now})
		}
	}
	return begun
}

// tell reports whether a difference is to be logged, which has no time in it.
func (d *drifts) tell(f upstream.Drift, now time.Time) bool {
	maps.DeleteFunc(d.logged, func(_ upstream.Drift, at time.Time) bool { return now.Sub(at) >= driftLasts })
	if _, lately := d.logged[f]; lately || len(d.logged) >= maxLogged {
		return false
	}
	if d.logged == nil {
		d.logged = map[upstream.Drift]time.Time{}
	}
	d.logged[f] = now
	return true
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

// unfit says why the database does not take the statement, whatever the arguments;
// "" if that is not what failed. Only what fails before it runs says so: a function
// or a policy that refuses a row may use any code, and any words.
func (a *Adapter) unfit(err error) string {
	f, ok := errors.AsType[*failure](err)
	if _, ours := errors.AsType[*refusal](err); !ok || ours || f.stage != preparing {
		return ""
	}
	code, missing := missed(err)
	why := "it cannot be prepared"
	switch c, _ := a.dialect.meaning(err); c {
	case misshapen, faulty, unfit: // no argument was sent yet
		if missing != "" {
			return a.clean(brief(missing))
		}
	case forbidden:
		why = "the role may not run it"
	default:
		return ""
	}
	return why + " (" + code + ")"
}

// missed returns the server's code, and its words if they are but the names that a
// statement uses and the database does not have. Everybody reads them, so that no
// other words are taken.
func missed(err error) (code, names string) {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		if slices.Contains([]string{"42P01", "42703", "42883"}, e.Code) {
			names = e.Message
		}
		return "SQLSTATE " + e.Code, names
	}
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		if slices.Contains([]uint16{1054, 1146, 1305}, e.Number) {
			names = e.Message
		}
		return fmt.Sprintf("error %d", e.Number), names
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return "no code", ""
	}
	for _, what := range []string{"no such table: ", "no such column: ", "no such function: "} {
		if i := strings.Index(e.Error(), what); i >= 0 {
			names = e.Error()[i:]
		}
	}
	return fmt.Sprintf("error %d", e.Code()), names
}
