package aggregate

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	listTimeout  = 60 * time.Second       // one list, all pages
	settleEvery  = 20 * time.Millisecond  // how often a start looks whether an upstream is down
	changeDelay  = 100 * time.Millisecond // several changes within this time are one
	relistAfter  = time.Second            // first wait after a failed list; doubles
	relistAtMost = 30 * time.Second
)

// feed keeps one list of one member up to date. Each list has its own, so that
// one that fails or hangs holds up no other.
type feed struct {
	m       *member
	list    upstream.List
	read    func(context.Context) ([]thing, error) // nil if the adapter has no such list
	changed chan struct{}                          // capacity 1: the list may differ
	last    atomic.Pointer[listed]                 // nil until it is known
	err     atomic.Pointer[upstream.Error]         // why it was not read the last time; nil if it was
	isHeard atomic.Bool
}

func newFeed(m *member, l upstream.List) *feed {
	f := &feed{m: m, list: l, changed: make(chan struct{}, 1)}
	lister, more := m.Adapter.(upstream.Lister)
	switch {
	case l == upstream.Tools:
		f.read = m.tools
	case more:
		f.read = func(ctx context.Context) ([]thing, error) { return items(ctx, lister, l) }
	default:
		f.last.Store(&listed{contents: &contents{fresh: upstream.Announced}})
		f.isHeard.Store(true)
	}
	return f
}

func (m *member) tools(ctx context.Context) ([]thing, error) {
	tools, err := m.Adapter.Tools(ctx)
	things := make([]thing, len(tools))
	for i := range tools {
		things[i] = toolThing(&tools[i])
	}
	return things, err
}

func items(ctx context.Context, from upstream.Lister, l upstream.List) ([]thing, error) {
	items, err := from.Items(ctx, l)
	things := make([]thing, len(items))
	for i, it := range items {
		things[i] = itemThing(l, it)
	}
	return things, err
}

// contents returns what is on the list; nil if that is not known.
func (f *feed) contents() *contents {
	if l := f.last.Load(); l != nil {
		return l.contents
	}
	return nil
}

// signal notes that the list may differ. It never blocks.
func (f *feed) signal() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// hear notes that the list has been read, or cannot be, for the first time.
func (f *feed) hear() {
	if f.isHeard.CompareAndSwap(false, true) {
		f.m.agg.arrived.at(f.list).one()
	}
}

// reaskAfter is the least time between two readings of a list that nobody
// announces changes of.
const reaskAfter = 30 * time.Second

// wanted notes that a client has asked for the list. One that may have changed
// without a word is read again, for the next who asks.
func (f *feed) wanted() {
	if l := f.last.Load(); l != nil && !l.stale && l.fresh != upstream.Announced && time.Since(l.at) > max(l.fresh, reaskAfter) {
		f.signal()
	}
}

// missing reports whether nothing is known of the list but from an earlier run.
func (f *feed) missing() bool {
	l := f.last.Load()
	return l == nil || l.stale
}

// run reads the list whenever it may have changed, and again after a failure.
func (f *feed) run(ctx context.Context) {
	if f.read == nil || !f.awaitFirst(ctx) {
		return
	}
	wait := relistAfter
	for ctx.Err() == nil {
		if f.refresh(ctx) {
			wait = relistAfter
			if !sleepOrSignal(ctx, 0, f.changed) {
				return
			}
		} else {
			if !sleepOrSignal(ctx, wait+rand.N(wait/4), f.changed) {
				return
			}
			wait = min(2*wait, relistAtMost)
		}
	}
}

// awaitFirst waits for the first connection. An upstream that turns out to be
// down counts as heard of: nobody's first list waits for it any longer.
func (f *feed) awaitFirst(ctx context.Context) bool {
	reporter, _ := f.m.Adapter.(upstream.Reporter)
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-f.changed:
			return true
		case <-tick.C:
			if reporter != nil && reporter.Health().State == upstream.Down {
				f.hear()
				tick.Stop()
			}
		}
	}
}

// refresh drains the upstream's list. A failure leaves the last good one in
// place.
func (f *feed) refresh(ctx context.Context) bool {
	listing, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	things, err := f.read(listing)
	if ctx.Err() != nil {
		return false
	}
	defer f.hear()
	if err != nil {
		f.fail(upstream.AsError(f.m.ID, "", err))
		return false
	}
	f.err.Store(nil)
	old, fresh := f.last.Load(), &listed{contents: f.m.newContents(things), at: time.Now()}
	if d, ok := f.m.Adapter.(upstream.Dater); ok {
		fresh.fresh = d.Fresh(f.list)
	}
	same := old != nil && old.same(fresh.contents)
	if same { // the snapshot still holds, and so does what hangs on its tools
		fresh.contents = old.contents
	}
	f.last.Store(fresh)
	if !same && f.list == upstream.Tools && old != nil && !old.stale {
		f.m.drifts.relisted(old.contents, fresh.contents)
	}
	if !same {
		f.m.agg.build() // before hear: whoever waits for this upstream sees what it has
		f.m.agg.announce()
	}
	if !same || old.stale {
		f.m.save(f.list, old, fresh)
	}
	return true
}

func (f *feed) fail(e *upstream.Error) {
	old := f.err.Swap(e)
	if old != nil && old.Error() == e.Error() {
		return
	}
	warn := f.m.log.Warn
	if f.list != upstream.Tools && e.Kind == upstream.Unavailable || f.m.Users != nil && e.Kind == upstream.NeedsLogin {
		warn = f.m.log.Debug // that of tools says it already; that no user is there is no trouble
	}
	warn(string(f.list)+" not listed", "error", e)
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
