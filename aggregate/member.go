package aggregate

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	listTimeout  = 60 * time.Second       // one tools/list, all pages
	settleEvery  = 20 * time.Millisecond  // how often a start looks whether an upstream is down
	changeDelay  = 100 * time.Millisecond // several changes within this time are one
	relistAfter  = time.Second            // first wait after a failed list; doubles
	relistAtMost = 30 * time.Second
)

// member is a Member at work.
type member struct {
	Member
	agg     *Aggregate
	log     *slog.Logger
	handler upstream.Handler
	names   *namer        // of its tools where it stands alone
	changed chan struct{} // capacity 1: the list may differ
	list    atomic.Pointer[toolList]
	listErr atomic.Pointer[upstream.Error] // why the last list failed; nil if it did not
	failed  atomic.Pointer[failure]        // the last failed call
	active  atomic.Int64                   // calls in flight
	cancel  context.CancelFunc             // ends watch and refresh; nil before they start
	isHeard atomic.Bool
}

// failure is when a call failed last and how.
type failure struct {
	at  time.Time
	err *upstream.Error
}

func (a *Aggregate) newMember(cfg Member) *member {
	m := &member{
		Member: cfg, agg: a, log: a.log.With("upstream", string(cfg.ID)),
		changed: make(chan struct{}, 1), names: newNamer(),
	}
	m.handler = a.pipeline(m)
	m.loadCatalog()
	return m
}

// inherit takes over what the same source listed under other settings, so that
// its tools do not vanish until it has listed them again.
func (m *member) inherit(old []*member) {
	for _, o := range old {
		l := o.list.Load()
		if o.ID == m.ID && o.Identity == m.Identity && l != nil {
			m.list.Store(newToolList(slices.Clone(l.tools), m.Keep, l.at, true))
		}
	}
}

// watch keeps the adapter connected until ctx ends.
func (m *member) watch(ctx context.Context) {
	w, ok := m.Adapter.(upstream.Watcher)
	if !ok {
		m.signal()
		return
	}
	err := w.Watch(ctx, upstream.Events{Changed: func(upstream.List) { m.signal() }})
	if ctx.Err() != nil {
		return
	}
	// The connection is given up for good; the others go on without it.
	if err == nil {
		err = errors.New("the connection ended")
	}
	m.log.Error("upstream given up", "error", err)
	m.setListErr(upstream.AsError(m.ID, "", err))
	m.hear()
}

// signal notes that the list may differ. It never blocks.
func (m *member) signal() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

func (m *member) hear() {
	if m.isHeard.CompareAndSwap(false, true) {
		m.agg.heard()
	}
}

// refresh lists the upstream's tools whenever they may have changed, and again
// after a failure.
func (m *member) refresh(ctx context.Context) {
	if !m.awaitFirst(ctx) {
		return
	}
	wait := relistAfter
	for ctx.Err() == nil {
		if m.relist(ctx) {
			wait = relistAfter
			if !sleepOrSignal(ctx, 0, m.changed) {
				return
			}
		} else {
			if !sleepOrSignal(ctx, wait+rand.N(wait/4), m.changed) {
				return
			}
			wait = min(2*wait, relistAtMost)
		}
	}
}

// awaitFirst waits for the first connection. An upstream that turns out to be
// down counts as heard of: nobody's first list waits for it any longer.
func (m *member) awaitFirst(ctx context.Context) bool {
	reporter, _ := m.Adapter.(upstream.Reporter)
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-m.changed:
			return true
		case <-tick.C:
			if reporter != nil && reporter.Health().State == upstream.Down {
				m.hear()
				tick.Stop()
			}
		}
	}
}

// sleepOrSignal waits for a change, at most d where d is not 0; a change is
// given a moment to be followed by others. It reports false when ctx ends.
func sleepOrSignal(ctx context.Context, d time.Duration, changed <-chan struct{}) bool {
	var timer <-chan time.Time
	if d > 0 {
		timer = time.After(d)
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer:
		return true
	case <-changed:
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(changeDelay):
	}
	select {
	case <-changed:
	default:
	}
	return true
}

// relist drains the upstream's tools. A failure leaves the last good list in
// place.
func (m *member) relist(ctx context.Context) bool {
	listing, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	tools, err := m.Adapter.Tools(listing)
	if ctx.Err() != nil {
		return false
	}
	defer m.hear()
	if err != nil {
		m.setListErr(upstream.AsError(m.ID, "", err))
		return false
	}
	m.listErr.Store(nil)
	old, fresh := m.list.Load(), newToolList(tools, m.Keep, time.Now(), false)
	same := old != nil && old.same(fresh)
	if same { // the snapshot still holds, and so does what hangs on its tools
		fresh.tools, fresh.offered = old.tools, old.offered
	}
	m.list.Store(fresh)
	if !same || old.stale {
		m.log.Info("tools listed", "tools", len(tools))
		if err := m.agg.store.save(m.ID, m.Identity, fresh.tools); err != nil {
			m.log.Warn("catalog not kept on disk", "error", err)
		}
	}
	if !same {
		m.agg.build() // before hear: whoever waits for this upstream sees its tools
		m.agg.announce()
	}
	return true
}

func (m *member) setListErr(e *upstream.Error) {
	if old := m.listErr.Swap(e); old == nil || old.Error() != e.Error() {
		m.log.Warn("tools not listed", "error", e)
	}
}

// announce notes that the catalog was built anew. It never blocks.
func (a *Aggregate) announce() {
	select {
	case a.built <- struct{}{}:
	default:
	}
}

// publish tells the subscribers of a new catalog once things are quiet, and
// only those whose list really differs from the one announced last.
func (a *Aggregate) publish(ctx context.Context, announced *snapshot) {
	for sleepOrSignal(ctx, 0, a.built) {
		now := a.snap.Load()
		changed := make(map[upstream.ID]bool) // subscribers are many, views few
		a.subs.tell(func(id upstream.ID) bool {
			is, known := changed[id]
			if !known {
				is = !sameTools(announced.pages(id), now.pages(id))
				changed[id] = is
			}
			return is
		})
		announced = now
	}
}
