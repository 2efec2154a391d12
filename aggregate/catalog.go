package aggregate

import (
	"context"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// snapshot is the catalog at one moment. It is never changed, only replaced.
type snapshot struct {
	all   *offer
	alone map[upstream.ID]*offer // each upstream by itself, under its own names
}

// offer returns what the view of an upstream offers, of everything for ""; nil
// if there is no such upstream.
func (s *snapshot) offer(id upstream.ID) *offer {
	if id == "" {
		return s.all
	}
	return s.alone[id]
}

// offer is what one view offers.
type offer struct {
	members []*member // in it, sorted by ID
	lists   perList[*listing]
	uris    *uris
}

func (o *offer) list(l upstream.List) *listing { return o.lists.at(l) }

// build makes a new snapshot from what the members last listed and puts it in
// place. What has not changed is taken over from the one before.
func (a *Aggregate) build() {
	a.building.Lock()
	defer a.building.Unlock()
	members, old := a.members(), a.snap.Load()
	if old == nil {
		old = &snapshot{}
	}
	s := &snapshot{alone: make(map[upstream.ID]*offer, len(members))}
	for _, m := range members {
		d := draft{members: []*member{m}, own: m.own, budget: a.opt.ListBudget, names: &m.names, alone: true}
		s.alone[m.ID] = d.offer(old.alone[m.ID])
	}
	d := draft{
		members: members, own: a.own, finders: a.finders, budget: a.opt.ListBudget, names: &a.names,
		discovery: a.opt.Discovery, pinned: a.opt.Pinned,
	}
	if a.opt.Plain { // nothing could be found
		d.discovery = DiscoverList
	}
	s.all = d.offer(old.all)
	a.snap.Store(s)
	if now := s.all.list(upstream.Tools).left; now > 0 && (old.all == nil || old.all.list(upstream.Tools).left != now) {
		a.log.Warn("tools left out of the list", "tools", now, "budget", d.budget)
	}
}

// draft is an offer in the making.
type draft struct {
	members   []*member
	own       []*entry
	finders   []*entry // where not all tools are listed
	budget    int      // how many tools are listed at most; 0 is all
	discovery Discovery
	pinned    []string
	names     *perList[*namer]
	alone     bool // one upstream by itself: its names need no prefix
}

// offer makes the offer, from the one before where there is one.
func (d *draft) offer(old *offer) *offer {
	if old == nil {
		old = &offer{}
	}
	o := &offer{members: d.members, uris: newURIs(d.members, old.uris)}
	for _, l := range lists {
		*o.lists.of(l) = d.list(l, o.uris.clash, old.list(l))
	}
	return o
}

// list makes one list, unless the one before still holds.
func (d *draft) list(l upstream.List, clash *clash, old *listing) *listing {
	from := make([]*contents, len(d.members))
	for i, m := range d.members {
		from[i] = m.contents(l)
	}
	if old != nil && old.clash == clash && slices.Equal(old.from, from) {
		return old
	}
	names := d.names.at(l)
	names.trim()
	var entries []*entry
	for i, m := range d.members {
		if from[i] == nil {
			continue
		}
		for j := range from[i].offered {
			t := &from[i].offered[j]
			entries = append(entries, &entry{name: d.name(names, m, l, t.key, clash), thing: t, m: m})
		}
	}
	if l != upstream.Tools {
		return serialise(l, entries, from, clash)
	}
	if !d.alone && d.discovery.searched(len(entries)+len(d.own), d.budget) {
		requiring(entries)
		return d.found(entries, from, clash)
	}
	_, left := budgeted(entries, d.own, d.budget)
	requiring(entries[:len(entries)-left]) // what is left out cannot be called
	if d.alone {
		return d.whole(entries, from, clash)
	}
	made := d.whole(entries, from, clash)
	made.searcher = newSearcher(entries)
	for _, e := range d.finders {
		made.index[e.name] = e
	}
	if d.discovery != DiscoverList {
		made.short = d.found(entries, from, clash)
	}
	return made
}

// whole makes a list of tools that shows all, as far as the budget goes.
func (d *draft) whole(entries []*entry, from []*contents, clash *clash) *listing {
	entries, left := budgeted(entries, d.own, d.budget)
	made := serialise(upstream.Tools, entries, from, clash)
	made.left = left
	return made
}

// found makes a list of tools that shows ours and those that are pinned, and
// knows all.
func (d *draft) found(entries []*entry, from []*contents, clash *clash) *listing {
	shown := slices.DeleteFunc(slices.Clone(entries), func(e *entry) bool {
		return !slices.ContainsFunc(d.pinned, func(p string) bool { return Match(p, e.name) })
	})
	shown, left := budgeted(shown, slices.Concat(d.own, d.finders), d.budget)
	made := serialise(upstream.Tools, shown, from, clash)
	for _, e := range entries {
		if _, taken := made.index[e.name]; !taken {
			made.index[e.name] = e
		}
	}
	made.left, made.searcher, made.found = left, newSearcher(entries), true
	return made
}

// name returns the name or URI by which clients know a thing.
func (d *draft) name(names *namer, m *member, l upstream.List, key string, clash *clash) string {
	if l != upstream.Tools && l != upstream.Prompts {
		return clash.expose(m.ID, key)
	}
	if d.alone {
		return names.name(m.ID, "", key)
	}
	return names.name(m.ID, m.Prefix, key)
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
		changed := make(map[change]bool) // subscribers are many, views and lists few
		a.subs.tell(func(c change) bool {
			is, known := changed[c]
			if !known {
				is = !announced.offer(c.upstream).same(now.offer(c.upstream), c.list)
				changed[c] = is
			}
			return is
		})
		announced = now
	}
}

// same reports whether a client would see the same list in both; that of
// resources has its templates with it.
func (o *offer) same(p *offer, l upstream.List) bool {
	if o == nil || p == nil {
		return o == p
	}
	return o.list(l).same(p.list(l)) &&
		(l != upstream.Resources || o.list(upstream.Templates).same(p.list(upstream.Templates)))
}
