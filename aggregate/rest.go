package aggregate

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	maxRests    = 128 << 20        // bytes kept altogether; the oldest go first
	restsExpire = 15 * time.Minute // how long a rest can be read
)

// restStore keeps what did not fit into an answer until it is read or expires.
// A rest can be read only by whom it was held back from.
type restStore struct {
	mu    sync.Mutex
	rests map[string]*rest
	order []string // handles, oldest first
	size  int
}

type rest struct {
	owner   restOwner
	pages   [][]json.RawMessage // content items, each page within the result limit
	size    int                 // bytes
	expires time.Time
}

// restOwner is who may read a rest.
type restOwner struct {
	principal upstream.Principal
	source    upstream.ID
}

func owner(c *upstream.Call) restOwner { return restOwner{c.Principal, c.Tool.Upstream} }

func newRestStore() *restStore { return &restStore{rests: make(map[string]*rest)} }

// put keeps items in pages of at most limit bytes and returns the handle to
// read them with, "" if they are too large to keep. Reading leaves them in
// place, so that a repeated read answers the same.
func (s *restStore) put(o restOwner, items []json.RawMessage, limit int) string {
	size := 0
	for _, item := range items {
		size += len(item)
	}
	if size > maxRests/2 {
		return ""
	}
	pages := paginate(items, limit)
	handle := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.order) > 0 {
		oldest := s.rests[s.order[0]]
		if s.size+size <= maxRests && oldest.expires.After(now) {
			break
		}
		delete(s.rests, s.order[0])
		s.size -= oldest.size
		s.order = s.order[1:]
	}
	s.rests[handle] = &rest{owner: o, pages: pages, size: size, expires: now.Add(restsExpire)}
	s.order = append(s.order, handle)
	s.size += size
	return handle
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
// cannot be cut, such as an image, makes a longer page, of its own.
func paginate(items []json.RawMessage, limit int) [][]json.RawMessage {
	// The items are slices of the whole result; a copy lets that go.
	items = slices.Clone(items)
	for i := range items {
		items[i] = slices.Clone(items[i])
	}
	var pages [][]json.RawMessage
	for len(items) > 0 {
		page, left := split(items, limit)
		if len(page) == 0 {
			page, left = items[:1], items[1:]
		}
		pages, items = append(pages, page), left
	}
	return pages
}
