package sqldb

import (
	"context"
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
			err := a.look(ctx)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				a.board.down(err, wait)
				a.opt.Log.Warn("database cannot be used", "upstream", a.opt.ID, "error", err, "retry_in", wait)
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
			if why := a.unfit(err); why != "" {
				a.drift.unfit(name, why)
			}
			continue
		}
		a.drift.fits(name)
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
