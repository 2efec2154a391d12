package aggregate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// retireGrace is how long a member that was taken out goes on at least, for
// calls that had found it but not yet reached it.
const retireGrace = 100 * time.Millisecond

// assemble makes members of their descriptions, sorted by ID. One whose
// adapter is already at work in old stays as it is.
func (a *Aggregate) assemble(descriptions []Member, old []*member) ([]*member, error) {
	var list []*member
	for _, d := range descriptions {
		if d.ID == "" || d.Adapter == nil {
			return nil, errors.New("aggregate: a member needs an ID and an adapter")
		}
		i := slices.IndexFunc(old, func(m *member) bool { return m.Adapter == d.Adapter })
		if i >= 0 {
			list = append(list, old[i])
		} else {
			m := a.newMember(d, slices.Concat(old, list))
			m.inherit(old)
			m.handler = a.pipeline(m)
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(x, y *member) int { return strings.Compare(string(x.ID), string(y.ID)) })
	for i := 1; i < len(list); i++ {
		if list[i].ID == list[i-1].ID {
			return nil, fmt.Errorf("aggregate: two members are called %q", list[i].ID)
		}
	}
	return list, nil
}

// Run keeps the catalog up to date until ctx ends, then closes the adapters.
// It returns when everything it started has ended.
func (a *Aggregate) Run(ctx context.Context) error {
	announced := a.snap.Load() // before the members start: clients may have seen this one
	a.mu.Lock()
	a.running = ctx
	a.tidy()
	for _, m := range a.members() {
		a.start(m) //nolint:contextcheck // members live as long as Run, not as its caller's call
	}
	a.mu.Unlock()
	a.publish(ctx, announced)
	a.mu.Lock()
	a.running = nil
	a.mu.Unlock()
	a.working.Wait()
	return a.closeErr
}

// Swap replaces the members. One with the same adapter as before goes on
// undisturbed; calls in flight on one that is left out finish before it is
// closed. It may be called while Run runs.
func (a *Aggregate) Swap(descriptions []Member) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.members()
	list, err := a.assemble(descriptions, old)
	if err != nil {
		return err
	}
	for _, m := range list {
		if before := memberCalled(old, m.ID); before != nil && before != m {
			m.presence.outages.succeed(&before.presence.outages)
		}
	}
	a.current.Store(&list)
	for _, m := range list {
		if !slices.Contains(old, m) {
			m.latecomer()
			m.hub.attach(m.Adapter)
			a.start(m)
		}
	}
	a.build()
	a.announce()
	for _, m := range old {
		if slices.Contains(list, m) {
			continue
		}
		m.memory.shelf.Close()
		if !slices.ContainsFunc(list, func(n *member) bool { return n.hub == m.hub }) {
			m.hub.drop()
		}
		a.retire(m)
	}
	a.tidy()
	return nil
}

// tidy deletes the catalogs of upstreams that are no longer there. a.mu is
// held.
func (a *Aggregate) tidy() {
	known := make(map[upstream.ID]bool)
	for _, m := range a.members() {
		known[m.ID] = true
	}
	if err := a.store.prune(known); err != nil {
		a.log.Warn("old catalogs not deleted", "error", err)
	}
}

// start puts a member to work, if Run runs. a.mu is held.
func (a *Aggregate) start(m *member) {
	if a.running == nil {
		return
	}
	running := a.running
	ctx, cancel := context.WithCancel(running)
	m.cancel = cancel
	a.working.Go(func() {
		defer cancel()
		m.run(ctx)
		err := m.Adapter.Close()
		switch {
		case err == nil:
		case running.Err() == nil: // taken out: that is no failure of the whole
			m.log.Warn("upstream not closed cleanly", "error", err)
		default:
			a.mu.Lock()
			a.closeErr = errors.Join(a.closeErr, fmt.Errorf("upstream %s: %w", m.ID, err))
			a.mu.Unlock()
		}
	})
}

// retire ends a member when its calls have finished. a.mu is held.
func (a *Aggregate) retire(m *member) {
	m.hear() // whoever waits for it need not any longer
	if m.cancel == nil {
		return
	}
	ctx := a.running
	if ctx == nil {
		return
	}
	began := time.Now()
	a.working.Go(func() {
		defer m.cancel()
		tick := time.NewTicker(retireGrace)
		defer tick.Stop()
		for m.active.Load() > 0 || time.Since(began) < retireGrace {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}
