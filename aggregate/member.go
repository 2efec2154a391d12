package aggregate

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// member is a Member at work.
type member struct {
	Member
	agg       *Aggregate
	log       *slog.Logger
	gates     *gates
	memory    *memory
	handler   upstream.Handler
	names     perList[*namer] // where it stands alone
	feeds     perList[*feed]
	hub       *hub // shared with the member that it replaced, if that had the same source
	elicitees elicitees
	consents  consents
	saving    sync.Mutex              // one write of its catalog to disk at a time
	failed    atomic.Pointer[failure] // the last failed call
	active    atomic.Int64            // calls in flight
	presence  *presence
	drifts    *drifts
	own       []*entry           // our own tools where it is offered alone; none if Plain
	cancel    context.CancelFunc // ends what runs; nil before it starts
}

// failure is when a call failed last and how.
type failure struct {
	at    time.Time
	err   *upstream.Error
	reads bool // see account
}

// newMember returns a member that counts on where others do.
func (a *Aggregate) newMember(cfg Member, others []*member) *member {
	m := &member{
		Member: cfg, agg: a, log: a.log.With("upstream", string(cfg.ID)),
		names: newNamers(), hub: newHub(cfg.Adapter), gates: newGates(cfg, others),
	}
	if !a.opt.Plain {
		m.own = ownToolsOf(a, m.ID).entries()
	}
	m.memory = newMemory(m)
	m.presence = &presence{m: m}
	m.drifts = newDrifts(m.log, &m.presence.answered)
	for _, l := range lists {
		*m.feeds.of(l) = newFeed(m, l)
	}
	m.loadCatalog()
	return m
}

// memberCalled returns the member with an ID; nil if there is none.
func memberCalled(sorted []*member, id upstream.ID) *member {
	i, ok := slices.BinarySearchFunc(sorted, id, func(m *member, id upstream.ID) int {
		return strings.Compare(string(m.ID), string(id))
	})
	if !ok {
		return nil
	}
	return sorted[i]
}

// inherit takes over what the same source listed under other settings, so that
// nothing of it vanishes until it has listed it again, and who wants to be told
// of its changes.
func (m *member) inherit(old []*member) {
	for _, o := range old {
		if o.ID != m.ID || o.Identity != m.Identity {
			continue
		}
		m.hub = o.hub
		for i, f := range m.feeds {
			if l := o.feeds[i].last.Load(); l != nil && f.read != nil {
				f.last.Store(&listed{contents: m.newContents(slices.Clone(l.all)), at: l.at, stale: true})
			}
		}
	}
}

// run keeps the adapter connected and what it offers up to date until ctx ends.
func (m *member) run(ctx context.Context) {
	defer m.presence.outages.stop()
	var w sync.WaitGroup
	w.Go(func() { m.watch(ctx) })
	w.Go(func() { m.hub.resume(ctx) })
	w.Go(func() { m.memory.run(ctx) })
	for _, f := range m.feeds {
		if f.read != nil {
			w.Go(func() { f.run(ctx) })
		}
	}
	w.Wait()
	<-ctx.Done() // an adapter that watches nothing is still in use
}

// watch keeps the adapter connected until ctx ends.
func (m *member) watch(ctx context.Context) {
	w, ok := m.Adapter.(upstream.Watcher)
	if !ok {
		m.signal("")
		return
	}
	err := w.Watch(ctx, upstream.Events{Changed: m.signal, Note: m.note})
	if ctx.Err() != nil {
		return
	}
	// The connection is given up for good; the others go on without it.
	if err == nil {
		err = errors.New("the connection ended")
	}
	m.log.Error("upstream given up", "error", err)
	m.feeds.at(upstream.Tools).fail(upstream.AsError(m.ID, "", err))
	m.hear()
}

// signal notes that a list may differ, all of them for "". The notification for
// resources stands for everything that goes by a URI. What was answered before
// may differ as well.
func (m *member) signal(changed upstream.List) {
	m.forget()
	if changed == "" { // it was just reached, which the breaker need not wait to find out
		m.gates.breaker.Reset()
		m.presence.connected()
	}
	for _, f := range m.feeds {
		if changed == "" || changed == f.list ||
			changed == upstream.Resources && (f.list == upstream.Templates || f.list == upstream.Skills) {
			f.signal()
		}
	}
}

// hear has nobody wait for the member any longer.
func (m *member) hear() {
	for _, f := range m.feeds {
		f.hear()
	}
}

// contents returns what is on a list; nil if that is not known.
func (m *member) contents(l upstream.List) *contents { return m.feeds.at(l).contents() }

// latecomer has no first list wait for the member.
func (m *member) latecomer() {
	for _, f := range m.feeds {
		f.isHeard.Store(true)
	}
}
