package mcpserver

import (
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// shelf is what is known of each list beside its entries: what is held back,
// and how long it stays good. The zero value is ready for use.
type shelf struct {
	mu    sync.Mutex
	held  map[upstream.List][]upstream.Held
	fresh map[upstream.List]time.Duration
}

// date notes how long l stays good.
func (s *shelf) date(l upstream.List, fresh time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fresh == nil {
		s.fresh = map[upstream.List]time.Duration{}
	}
	s.fresh[l] = fresh
}

// Fresh implements [upstream.Dater].
func (a *Adapter) Fresh(l upstream.List) time.Duration {
	a.shelf.mu.Lock()
	defer a.shelf.mu.Unlock()
	return a.shelf.fresh[l]
}

// put replaces what is held back from l and reports whether that is news.
func (s *shelf) put(l upstream.List, held []upstream.Held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(s.held[l], held) {
		return false
	}
	if s.held == nil {
		s.held = map[upstream.List][]upstream.Held{}
	}
	s.held[l] = held
	return true
}

// all returns everything, in a stable order.
func (s *shelf) all() []upstream.Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []upstream.Held
	for _, l := range []upstream.List{upstream.Tools, upstream.Prompts, upstream.Resources, upstream.Templates, upstream.Skills} {
		all = append(all, s.held[l]...)
	}
	return all
}

// Held returns what is not offered of the last lists, with reasons. Of an entry
// that is no tool the reason begins with the list.
func (a *Adapter) Held() []upstream.Held { return a.shelf.all() }

// hold puts what is held back from l on the shelf and warns where that is news.
func (s *shelf) hold(o *Options, l upstream.List, held []upstream.Held) {
	if !s.put(l, held) {
		return
	}
	for i, h := range held {
		if i == 10 {
			o.Log.Warn("more held back", "upstream", o.ID, "list", l, "count", len(held)-i)
			break
		}
		o.Log.Warn("held back", "upstream", o.ID, "list", l, "name", escape(bounded(h.Tool, 128)), "reason", h.Reason)
	}
}
