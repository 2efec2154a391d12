package sqldb

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/drift"
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
	log   *slog.Logger
	known *drift.Known

	mu    sync.Mutex
	first map[string][]column // of the first answer, by tool
}

func newDrifts(log *slog.Logger) *drifts {
	return &drifts{log: log, known: drift.New(maxDrift, driftLasts), first: map[string][]column{}}
}

// compare holds the columns of an answer against those of the first.
func (d *drifts) compare(tool string, columns []column) {
	first := d.firstOf(tool, columns)
	if same := slices.Equal(first, columns); !same || d.known.Any() {
		d.set(tool, differences(tool, first, columns))
	}
}

// firstOf returns the columns of the first answer of a tool, which these may be.
func (d *drifts) firstOf(tool string, columns []column) []column {
	d.mu.Lock()
	defer d.mu.Unlock()
	first, ok := d.first[tool]
	if !ok {
		first = slices.Clone(columns)
		d.first[tool] = first
	}
	return first
}

func differences(tool string, first, columns []column) (found []drift.Difference) {
	for _, c := range first {
		i := slices.IndexFunc(columns, func(n column) bool { return n.name == c.name })
		switch {
		case i < 0:
			found = append(found, drift.Difference{Tool: tool, Field: c.name, Problem: "is gone"})
		case columns[i].typ != c.typ:
			found = append(found, drift.Difference{Tool: tool, Field: c.name, Problem: fmt.Sprintf("is %s, not %s", columns[i].typ, c.typ)})
		}
	}
	for _, c := range columns {
		if !slices.ContainsFunc(first, func(f column) bool { return f.name == c.name }) {
			found = append(found, drift.Difference{Tool: tool, Field: c.name, Problem: "is new"})
		}
	}
	return found
}

// unfit notes that the database does not take the statement of a tool, and why.
func (d *drifts) unfit(tool, why string) {
	d.set(tool, []drift.Difference{{Tool: tool, Problem: "does not fit the database: " + why}})
}

// fits forgets that the database did not take the statement of a tool.
func (d *drifts) fits(tool string) {
	d.known.End(func(k drift.Difference) bool { return k.Tool == tool && k.Field == "" })
}

// anyUnfit reports whether there is a statement that the database does not take.
func (d *drifts) anyUnfit() bool {
	return slices.ContainsFunc(d.known.List(), func(k upstream.Drift) bool { return k.Field == "" })
}

// set takes all that is different in a tool now, and logs what begins.
func (d *drifts) set(tool string, found []drift.Difference) {
	for _, n := range d.known.Set(tool, found) {
		d.log.Warn("source has changed", "tool", n.Tool, "field", n.Field, "problem", n.Problem)
	}
}

// Drift implements [upstream.Drifter]: what was seen within the last hour.
func (a *Adapter) Drift() []upstream.Drift { return a.drift.known.List() }

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
