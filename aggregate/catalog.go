package aggregate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// freshFor is how long a modern client may keep a complete list, in
// milliseconds (caching §ttlMs). A list that upstreams are still missing from
// may not be kept at all.
const freshFor = 60_000

// entry is one offered tool: where a call of its name goes.
type entry struct {
	name    string // as exposed
	tool    *upstream.Tool
	handler upstream.Handler
}

// pages is one list of tools, serialised once for each era.
type pages struct {
	index          map[string]*entry
	legacy, modern json.RawMessage
	complete       bool      // every upstream in it has a list, fresh or stale
	from           *toolList // of the one upstream in it; nil if it has no list, or in the list of all
}

// snapshot is the catalog at one moment. It is never changed, only replaced.
type snapshot struct {
	all   *pages
	alone map[upstream.ID]*pages // each upstream by itself, under its own names
}

func (s *snapshot) pages(id upstream.ID) *pages {
	if id == "" {
		return s.all
	}
	return s.alone[id]
}

// build makes a new snapshot from what the members last listed and puts it in
// place.
func (a *Aggregate) build() {
	a.building.Lock()
	defer a.building.Unlock()
	members, old := a.members(), a.snap.Load()
	s := &snapshot{alone: make(map[upstream.ID]*pages, len(members))}
	complete := true
	a.names.trim()
	var entries []*entry
	for _, m := range members {
		l := m.list.Load()
		complete = complete && l != nil
		for _, t := range l.offer() {
			entries = append(entries, &entry{a.names.name(m.ID, m.Prefix, t.Name), t, m.handler})
		}
		if old != nil && l != nil && old.alone[m.ID] != nil && old.alone[m.ID].from == l {
			s.alone[m.ID] = old.alone[m.ID]
			continue
		}
		m.names.trim()
		var loneEntries []*entry
		for _, t := range l.offer() {
			loneEntries = append(loneEntries, &entry{m.names.name(m.ID, "", t.Name), t, m.handler})
		}
		s.alone[m.ID] = serialise(append(loneEntries, a.own...), l != nil)
		s.alone[m.ID].from = l
	}
	s.all = serialise(append(entries, a.own...), complete)
	a.snap.Store(s)
}

func serialise(entries []*entry, complete bool) *pages {
	p := &pages{index: make(map[string]*entry, len(entries)), complete: complete}
	buf := []byte{'['}
	for _, e := range entries {
		raw := []byte(e.tool.Raw)
		if e.name != e.tool.Name {
			renamed, err := rawjson.Set(raw, "name", rawjson.Quote(e.name))
			if err != nil { // ParseTool has seen that it is an object
				continue
			}
			raw = renamed
		}
		if len(buf) > 1 {
			buf = append(buf, ',')
		}
		// A message over stdio is one line, so a pretty-printed definition
		// must lose its line breaks. They are white space: nothing is lost.
		buf = append(buf, rawjson.OneLine(raw)...)
		p.index[e.name] = e
	}
	buf = append(buf, ']')
	ttl := 0
	if complete {
		ttl = freshFor
	}
	p.legacy, p.modern = listPage(buf, false, 0), listPage(buf, true, ttl)
	return p
}

// sameTools reports whether a client would see the same list.
func sameTools(x, y *pages) bool {
	if x == nil || y == nil {
		return x == y
	}
	return bytes.Equal(x.legacy, y.legacy)
}

// toolList is what one upstream listed last. It never changes; it is replaced.
type toolList struct {
	tools   []upstream.Tool  // sorted by name
	offered []*upstream.Tool // those of tools that the filter keeps
	at      time.Time
	stale   bool // read from disk; the upstream itself has not answered yet
}

// newToolList sorts tools, which it takes over: an upstream that shuffles its
// list must not spoil the host's prompt cache.
func newToolList(tools []upstream.Tool, keep func(string) bool, at time.Time, stale bool) *toolList {
	slices.SortStableFunc(tools, func(x, y upstream.Tool) int { return cmp.Compare(x.Name, y.Name) })
	l := &toolList{tools: tools, at: at, stale: stale}
	for i := range tools {
		if keep == nil || keep(tools[i].Name) {
			l.offered = append(l.offered, &tools[i])
		}
	}
	return l
}

// offer returns the tools that clients see; none where there is no list.
func (l *toolList) offer() []*upstream.Tool {
	if l == nil {
		return nil
	}
	return l.offered
}

// same reports whether both have the same tools.
func (l *toolList) same(o *toolList) bool {
	return slices.EqualFunc(l.tools, o.tools, func(x, y upstream.Tool) bool {
		return x.Name == y.Name && bytes.Equal(x.Raw, y.Raw)
	})
}
