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
	tools          []byte // the JSON array
	legacy, modern json.RawMessage
}

// snapshot is the catalog at one moment. It is never changed, only replaced.
type snapshot struct {
	all      *pages
	alone    map[upstream.ID]*pages // each upstream by itself, under its own names
	complete bool                   // every upstream has a list, fresh or stale
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
	s := &snapshot{alone: make(map[upstream.ID]*pages, len(a.members())), complete: true}
	names := newNamer()
	var own []*entry
	if !a.opt.Plain {
		own = ownTools{a}.entries()
	}
	var entries []*entry
	for _, m := range a.members() {
		l := m.list.Load()
		s.complete = s.complete && l != nil
		lone := newNamer()
		var loneEntries []*entry
		for _, t := range m.offered(l) {
			entries = append(entries, &entry{names.name(m.ID, m.Prefix, t.Name), t, m.handler})
			loneEntries = append(loneEntries, &entry{lone.name(m.ID, "", t.Name), t, m.handler})
		}
		s.alone[m.ID] = serialise(append(loneEntries, own...), l != nil)
	}
	s.all = serialise(append(entries, own...), s.complete)
	a.snap.Store(s)
}

// offered returns the tools of a list that the filter keeps, in a fixed order:
// an upstream that shuffles its list must not spoil the host's prompt cache.
func (m *member) offered(l *toolList) []*upstream.Tool {
	if l == nil {
		return nil
	}
	var out []*upstream.Tool
	for i := range l.tools {
		if m.Keep == nil || m.Keep(l.tools[i].Name) {
			out = append(out, &l.tools[i])
		}
	}
	slices.SortStableFunc(out, func(x, y *upstream.Tool) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

func serialise(entries []*entry, complete bool) *pages {
	p := &pages{index: make(map[string]*entry, len(entries))}
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
	p.tools = append(buf, ']')
	ttl := 0
	if complete {
		ttl = freshFor
	}
	p.legacy, p.modern = listPage(p.tools, false, 0), listPage(p.tools, true, ttl)
	return p
}

// sameTools reports whether a client would see the same list.
func sameTools(x, y *pages) bool {
	if x == nil || y == nil {
		return x == y
	}
	return bytes.Equal(x.tools, y.tools)
}

// toolList is what one upstream listed last.
type toolList struct {
	tools []upstream.Tool
	at    time.Time
	stale bool // read from disk; the upstream itself has not answered yet
}
