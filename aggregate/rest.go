package aggregate

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	maxRests    = 128 << 20        // bytes kept altogether; the oldest go first
	maxRest     = maxRests / 2     // of these, of one answer
	restsExpire = 15 * time.Minute // how long a rest can be read
)

// What is kept costs besides the bytes in it, roughly.
const (
	itemCost = 40  // its header, and what memory is rounded up by
	pageCost = 112 // its own, the list of its items and what it says
	restCost = 320 // its handle and its place among the others
)

// restStore keeps what did not fit into an answer until it is read or expires.
// A rest can be read only by whom it was held back from.
type restStore struct {
	mu    sync.Mutex
	rests map[string]*rest
	order []string // handles, oldest first
	size  int
	timer bool // one is set
}

type rest struct {
	owner   restOwner
	pages   []restPage
	size    int // bytes, and what they cost
	expires time.Time
}

// restPage is what is read at once.
type restPage struct {
	items []json.RawMessage // of content, within the result limit
	what  string            // they are, such as "rows 51 to 100 of 120"; "" for a part of a text
}

func (p *restPage) size() int { return pageCost + sizeOf(p.items) }

// restOwner is who may read a rest.
type restOwner struct {
	principal upstream.Principal
	source    upstream.ID
}

func owner(c *upstream.Call) restOwner { return restOwner{c.Principal, c.Upstream} }

func newRestStore() *restStore { return &restStore{rests: make(map[string]*rest)} }

// put keeps items in pages of at most limit bytes and returns the handle to
// read them with, "" if they are too large to keep.
func (s *restStore) put(o restOwner, items []json.RawMessage, limit int) string {
	if sizeOf(items) > maxRest {
		return ""
	}
	var pages []restPage
	for _, items := range paginate(items, limit) {
		pages = append(pages, restPage{items: items})
	}
	return s.keep(o, pages)
}

// keep keeps pages and returns the handle to read them with, "" if they are too
// large to keep. Reading leaves them in place, so that a repeated read answers the
// same.
func (s *restStore) keep(o restOwner, pages []restPage) string {
	size := restCost
	for i := range pages {
		size += pages[i].size()
	}
	if size > maxRest {
		return ""
	}
	handle := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.shrink(maxRests-size, now)
	s.rests[handle] = &rest{owner: o, pages: pages, size: size, expires: now.Add(restsExpire)}
	s.order = append(s.order, handle)
	s.size += size
	s.wake(now)
	return handle
}

func sizeOf(items []json.RawMessage) int {
	size := 0
	for _, item := range items {
		size += itemCost + len(item)
	}
	return size
}

// wake has memory let go even if nobody asks again. It is one timer for all: one for
// each would outlive what goes sooner for want of room. s.mu is held.
func (s *restStore) wake(now time.Time) {
	if s.timer || len(s.order) == 0 {
		return
	}
	s.timer = true
	time.AfterFunc(s.rests[s.order[0]].expires.Sub(now), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.timer = false
		now := time.Now()
		s.shrink(maxRests, now)
		s.wake(now)
	})
}

// shrink deletes what has expired, and the oldest until at most size bytes are
// left. s.mu is held.
func (s *restStore) shrink(size int, now time.Time) {
	for len(s.order) > 0 {
		oldest := s.rests[s.order[0]]
		if s.size <= size && oldest.expires.After(now) {
			break
		}
		delete(s.rests, s.order[0])
		s.size -= oldest.size
		s.order = s.order[1:]
	}
}

// get returns the rest behind a handle, if the principal may read it.
func (s *restStore) get(handle string, p upstream.Principal) (*rest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.rests[handle]
	if !ok || r.owner.principal != p || !r.expires.After(time.Now()) {
		return nil, false
	}
	return r, true
}

// paginate splits items into pages of at most limit bytes. Only an item that
// cannot be cut, such as an image, makes a longer page, of its own. The work is
// linear in the size of the items, however small the pages are.
func paginate(items []json.RawMessage, limit int) [][]json.RawMessage {
	b := &pageBuilder{limit: limit, room: limit}
	for _, item := range items {
		if len(item) > b.room && isText(item) {
			text, _ := rawjson.GetString(item, "text")
			b.addText(text)
			continue
		}
		b.add(slices.Clone(item)) // the items are slices of the whole result; a copy lets that go
	}
	b.turn()
	return b.pages
}

// pageBuilder fills one page after the other.
type pageBuilder struct {
	pages       [][]json.RawMessage
	page        []json.RawMessage
	limit, room int // bytes of a page, and what is left of this one
}

func (b *pageBuilder) turn() {
	if len(b.page) > 0 {
		b.pages = append(b.pages, b.page)
	}
	b.page, b.room = nil, b.limit
}

func (b *pageBuilder) add(item json.RawMessage) {
	if len(item) > b.room {
		b.turn()
	}
	b.page, b.room = append(b.page, item), b.room-len(item)
}

func (b *pageBuilder) addText(text string) {
	for text != "" {
		at := 0
		if b.room >= minCut {
			at = fitting(text, b.room)
		}
		if at == 0 && len(b.page) > 0 {
			b.turn()
			continue
		}
		if at == 0 { // the limit is too small to cut at all
			at = len(text)
		}
		b.add(textPart(text[:at]))
		text = text[at:]
	}
}
