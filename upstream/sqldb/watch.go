package sqldb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	lookTimeout = 30 * time.Second
	againFirst  = 5 * time.Second // doubles
	againAtMost = 2 * time.Minute
	maxDrift    = 50
)

// Watch implements [upstream.Watcher]. It looks once whether the database can be
// reached, whether its role may be used, and whether the statements fit; until
// then it tries again. It keeps no connection.
func (a *Adapter) Watch(ctx context.Context, tell upstream.Events) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ended, cancel)() //nolint:contextcheck // the adapter ends its watch
	tell.Change("")
	for wait := againFirst; ; wait = min(2*wait, againAtMost) {
		err := a.look(ctx)
		if err == nil || ctx.Err() != nil {
			break
		}
		a.board.down(err, wait)
		a.opt.Log.Warn("database cannot be used", "upstream", a.opt.ID, "error", err, "retry_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			continue
		}
		break
	}
	<-ctx.Done()
	return nil
}

// look connects, and has the server read every statement of the operator.
func (a *Adapter) look(ctx context.Context) *upstream.Error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if !a.begin() {
		return nil
	}
	defer a.calls.Done()
	conn, err := a.db.Conn(ctx)
	if err != nil {
		return a.understood(ctx, "", at(connecting, err))
	}
	defer conn.Close() //nolint:errcheck // back to the pool
	for _, name := range slices.Sorted(maps.Keys(a.actions)) {
		req := a.actions[name].statement
		if req == nil {
			continue
		}
		if err := a.dialect.prepare(ctx, conn, req); err != nil {
			e := a.understood(ctx, name, err)
			if e.Kind == upstream.Unavailable || ctx.Err() != nil {
				return e
			}
			a.opt.Log.Warn("statement does not fit the database", "upstream", a.opt.ID, "tool", name, "error", err)
			a.drift.note(name, "", "does not fit the database: "+e.Public)
		}
	}
	a.board.up() // when all that is to be said of it is known
	return nil
}

// understood is [Adapter.explain] where a result cannot be.
func (a *Adapter) understood(ctx context.Context, tool string, err error) *upstream.Error {
	_, err = a.explain(ctx, tool, false, err)
	e := upstream.AsError(a.opt.ID, tool, err)
	e.Op = "connect"
	return e
}

// board keeps how the database was when it was last asked.
type board struct {
	mu     sync.Mutex
	health upstream.Health
	next   time.Time
}

func newBoard() *board {
	return &board{health: upstream.Health{State: upstream.Connecting, Since: time.Now()}}
}

func (b *board) up() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.health.State != upstream.Up {
		b.health = upstream.Health{State: upstream.Up, Since: time.Now()}
	}
}

func (b *board) down(e *upstream.Error, retry time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.health.State != upstream.Down {
		b.health = upstream.Health{State: upstream.Down, Since: time.Now()}
	}
	b.health.Err, b.health.Detail = e.Public, e.Public
	if e.Err != nil {
		b.health.Detail = e.Err.Error()
	}
	if retry > 0 {
		b.next = time.Now().Add(retry)
	}
}

// Health implements [upstream.Reporter].
func (a *Adapter) Health() upstream.Health {
	a.board.mu.Lock()
	defer a.board.mu.Unlock()
	h := a.board.health
	if h.State == upstream.Down {
		h.RetryIn = max(time.Until(a.board.next), 0)
	}
	return h
}

// drifts notices columns that change, and statements that stop fitting.
type drifts struct {
	mu    sync.Mutex
	known map[string][]column
	notes []upstream.Drift
}

// compare holds the columns of an answer against those of the first.
func (d *drifts) compare(tool, key string, columns []column) {
	if key == "" || key != tool {
		return // what the model asks, and what we ask, is different each time
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string][]column{}
	}
	first, ok := d.known[tool]
	if !ok {
		d.known[tool] = slices.Clone(columns)
		return
	}
	if slices.Equal(first, columns) {
		return
	}
	for _, c := range first {
		i := slices.IndexFunc(columns, func(n column) bool { return n.name == c.name })
		switch {
		case i < 0:
			d.add(tool, c.name, "is gone")
		case columns[i].typ != c.typ:
			d.add(tool, c.name, fmt.Sprintf("is %s, not %s", columns[i].typ, c.typ))
		}
	}
	for _, c := range columns {
		if !slices.ContainsFunc(first, func(f column) bool { return f.name == c.name }) {
			d.add(tool, c.name, "is new")
		}
	}
}

func (d *drifts) note(tool, field, problem string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.add(tool, field, problem)
}

func (d *drifts) add(tool, field, problem string) {
	same := func(n upstream.Drift) bool { return n.Tool == tool && n.Field == field && n.Problem == problem }
	if len(d.notes) < maxDrift && !slices.ContainsFunc(d.notes, same) {
		d.notes = append(d.notes, upstream.Drift{Tool: tool, Field: field, Problem: problem, Since: time.Now()})
	}
}

// Drift implements [upstream.Drifter].
func (a *Adapter) Drift() []upstream.Drift {
	a.drift.mu.Lock()
	defer a.drift.mu.Unlock()
	return slices.Clone(a.drift.notes)
}
