package aggregate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// freshFor is how long a modern client may keep a complete list at most (caching
// §ttlMs): as long as the least of the upstreams in it allows. A list that
// upstreams are still missing from may not be kept at all. The scope is private,
// because what is on a list may come to depend on who asks.
const freshFor = time.Minute

// entry is one offered thing: where a request of its name goes.
type entry struct {
	name string // as exposed: a name or a URI
	*thing
	m       *member          // nil for a tool of our own
	handler upstream.Handler // of a tool of our own
	needs   []string         // the names of tools whose output it needs, see requiring
}

// listing is one list of one view, serialised once for each era.
type listing struct {
	index          map[string]*entry
	names          func() []string // all of index, sorted when somebody asks
	entries        []*entry        // in the order of the list
	legacy, modern listText
	left           int           // how many entries a budget keeps from it
	searcher       *searcher     // of the tools of all upstreams; nil where it is not one of those
	found          bool          // it shows only some of them
	short          *listing      // for a host that does not take so many; nil if there is none
	complete       bool          // every upstream in it has been read, now or in an earlier run
	fresh          time.Duration // how long a client may keep it
	from           []*contents   // what it was made from
	clash          *clash
}

// listText is a list as it is answered whole.
type listText struct {
	whole json.RawMessage
	ends  []int // where in it each entry ends
}

// entries returns the text to where the last entry ends.
func (t listText) entries() json.RawMessage {
	if len(t.ends) == 0 {
		return nil
	}
	return t.whole[:t.ends[len(t.ends)-1]]
}

// of returns the entries from one to before another, as they stand in the text.
func (t listText) of(l upstream.List, from, to int) json.RawMessage {
	if from == to {
		return nil
	}
	begin := len(listHead(l))
	if from > 0 {
		begin = t.ends[from-1] + 1
	}
	return t.whole[begin:t.ends[to-1]]
}

// host returns the list as this client takes it.
func (s *listing) host(client string) *listing {
	if s.short == nil {
		return s
	}
	if h, known := HostOf(client); known && h.refuses(len(s.entries)) {
		return s.short
	}
	return s
}

// serialise makes a list of entries.
func serialise(l upstream.List, entries []*entry, from []*contents, clash *clash) *listing {
	s := &listing{index: make(map[string]*entry, len(entries)), from: from, clash: clash, complete: !slices.Contains(from, nil)}
	s.fresh = freshness(from)
	s.names = sync.OnceValue(func() []string { return slices.Sorted(maps.Keys(s.index)) })
	legacy, modern := listHead(l), listHead(l)
	for _, e := range entries {
		raw, err := e.definition(l, clash)
		if err != nil { // the definition has been seen to be an object
			continue
		}
		if len(s.entries) > 0 {
			legacy, modern = append(legacy, ','), append(modern, ',')
		}
		// A message over stdio is one line, so a pretty-printed definition
		// must lose its line breaks. They are white space: nothing is lost.
		raw = rawjson.OneLine(raw)
		modern = append(modern, raw...)
		s.modern.ends = append(s.modern.ends, len(modern))
		if l == upstream.Tools {
			raw = olderTool(raw)
		}
		legacy = append(legacy, raw...)
		s.legacy.ends = append(s.legacy.ends, len(legacy))
		s.entries = append(s.entries, e)
		if _, taken := s.index[e.name]; !taken {
			s.index[e.name] = e
		}
	}
	s.modern.whole = s.close(modern, true, "")
	s.legacy.whole = s.close(legacy, false, "")
	return s
}

// freshness returns how long a client may keep a list made from these.
func freshness(from []*contents) time.Duration {
	fresh := freshFor
	for _, c := range from {
		if c == nil {
			return 0
		}
		fresh = min(fresh, c.fresh)
	}
	return fresh
}

// definition returns the definition under the exposed name.
func (e *entry) definition(l upstream.List, clash *clash) ([]byte, error) {
	raw, err := []byte(e.raw), error(nil)
	if e.name != e.key {
		raw, err = rawjson.Set(raw, keyOf(l), rawjson.Quote(e.name))
	}
	if err == nil && e.tool != nil && e.uri != "" && e.m != nil {
		if uri := clash.expose(e.m.ID, e.uri); uri != e.uri {
			raw, err = setUIResource(raw, uri)
		}
	}
	return raw, err
}

func setUIResource(raw []byte, uri string) ([]byte, error) {
	meta, _ := rawjson.Get(raw, "_meta")
	ui, _ := rawjson.Get(meta, "ui")
	after, err := rawjson.Set(ui, "resourceUri", rawjson.Quote(uri))
	if err == nil {
		after, err = rawjson.Set(meta, "ui", after)
	}
	if err != nil {
		return nil, err
	}
	return rawjson.Set(raw, "_meta", after)
}

func listHead(l upstream.List) []byte { return fmt.Appendf(nil, `{%q:[`, string(l)) }

// close ends a page that begins with listHead and holds entries.
func (s *listing) close(page []byte, modern bool, next string) json.RawMessage {
	page = append(page, ']')
	if next != "" {
		page = fmt.Appendf(page, `,"nextCursor":%q`, next)
	}
	if modern {
		page = fmt.Appendf(page, `,%q:"complete",%q:%d,%q:"private"`, memberResultType, memberTTL, s.fresh.Milliseconds(), memberScope)
	}
	return append(page, '}')
}

// page returns the entries that stand behind a mark, all for nil, but at most
// size of them where that is not 0. If more follow, the page ends with a cursor
// that seal makes.
func (s *listing) page(l upstream.List, modern bool, behind *mark, size int, seal func(mark) string) json.RawMessage {
	from, to := 0, len(s.entries)
	if behind != nil {
		from, _ = slices.BinarySearchFunc(s.entries, *behind, func(e *entry, m mark) int {
			if e.mark().compare(m) > 0 {
				return 1
			}
			return -1
		})
	}
	next := ""
	if size > 0 && to-from > size {
		to = from + size
		next = seal(s.entries[to-1].mark())
	}
	text := s.legacy
	if modern {
		text = s.modern
	}
	if from == 0 && to == len(s.entries) {
		return text.whole
	}
	return s.close(append(listHead(l), text.of(l, from, to)...), modern, next)
}

// same reports whether a client would see the same list, however long it may
// keep it.
func (s *listing) same(o *listing) bool {
	return s == o || slices.Equal(s.modern.ends, o.modern.ends) &&
		bytes.Equal(s.modern.entries(), o.modern.entries())
}

// mark is a place in the order of a list, which is that of upstreams and, in
// each, of its own keys; our own things come last. It means the same in any
// version of the list.
type mark struct {
	own    bool
	source upstream.ID
	key    string
}

func (e *entry) mark() mark {
	if e.m == nil {
		return mark{own: true, key: e.key}
	}
	return mark{source: e.m.ID, key: e.key}
}

func (m mark) compare(o mark) int {
	if m.own != o.own {
		if m.own {
			return 1
		}
		return -1
	}
	return cmp.Or(strings.Compare(string(m.source), string(o.source)), strings.Compare(m.key, o.key))
}
