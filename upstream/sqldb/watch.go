package sqldb

import (
	"context"
	"errors"
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
	lookAgain   = 5 * time.Minute // at statements that do not fit
)

// Watch implements [upstream.Watcher]. It looks whether the database can be
// reached, whether its role may be used, and whether the statements fit; until
// then it tries again. While a statement does not fit it looks once in a while
// whether it does again. It keeps no connection.
func (a *Adapter) Watch(ctx context.Context, tell upstream.Events) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ended, cancel)() //nolint:contextcheck // the adapter ends its watch
	tell.Change("")
	for wait, due := againFirst, true; ; {
		pause := lookAgain
		if due {
			all, err := a.look(ctx)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				a.board.down(err, wait)
				a.opt.Log.Warn("database cannot be used", "upstream", a.opt.ID, "error", err, "retry_in", wait)
				pause, wait = wait, min(2*wait, againAtMost)
			case !all:
				pause, wait = wait, min(2*wait, againAtMost)
			default:
				due, wait = false, againFirst
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
			due = due || a.drift.anyUnfit()
		}
	}
}

// look connects, and has the server read every statement of the operator. all is
// false if of some it cannot be said now whether they fit, such as those whose table
// is locked. The error is why the database cannot be used: that it cannot be
// reached, or did not answer at all.
func (a *Adapter) look(ctx context.Context) (all bool, failed *upstream.Error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if !a.begin() {
		return true, nil
	}
	defer a.calls.Done()
	conn, err := a.db.Conn(ctx)
	if err != nil {
		return false, a.understood(ctx, "", at(connecting, err))
	}
	defer conn.Close() //nolint:errcheck // back to the pool
	all, answered := true, false
	for _, name := range slices.Sorted(maps.Keys(a.actions)) {
		req := a.actions[name].statement
		if req == nil {
			continue
		}
		err := a.dialect.prepare(ctx, conn, req)
		why := a.unfit(err)
		switch {
		case err == nil:
			a.drift.fits(name)
		case why != "":
			a.drift.unfit(name, why)
		case a.silent(err, answered) && !(answered && ctx.Err() != nil): // there was no time left for it
			return false, a.understood(ctx, name, err)
		default:
			all = false
			a.opt.Log.Info("cannot tell now whether a statement fits", "upstream", a.opt.ID, "tool", name, "error", err)
		}
		answered = true
	}
	a.board.up() // when all that is to be said of it is known
	return all, nil
}

// silent reports whether a failure is not the answer of a database that works;
// answered says that it has given one.
func (a *Adapter) silent(err error, answered bool) bool {
	f, ok := errors.AsType[*failure](err)
	c, _ := a.dialect.meaning(err)
	return !ok || f.stage == connecting || c == lost || c == away && !answered
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
