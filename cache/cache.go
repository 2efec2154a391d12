// Package cache keeps answers for a while, and lets equal questions that are
// asked at the same time share one answer.
//
// Job: a store that is bounded in bytes, with a shelf for each source that no
// other can empty, divided into partitions that cannot see each other, and whose
// entries expire; and flights, which carry out a question once for all who wait.
//
// It owns expiry, eviction and the partitions. It must not know what is asked,
// who may ask it, or what may be kept: whoever uses it decides that. It imports
// no package of ours.
package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Partition is whose answers belong together: of one source, got with one
// credential, for one principal. There is no key without a partition, so nobody
// is answered with what another may see. The zero value is none.
type Partition struct {
	sum [sha256.Size]byte
}

// NewPartition returns the partition of a source, which must have a name, the
// fingerprint of the credential it is asked with, and the key of the principal
// that asks; "" for the principal where the answers are the same for everybody.
func NewPartition(source, fingerprint, principal string) Partition {
	var p Partition
	if source == "" {
		return p
	}
	h := sha256.New()
	add(h, []byte(source))
	add(h, []byte(fingerprint))
	add(h, []byte(principal))
	h.Sum(p.sum[:0])
	return p
}

// Key is one question within a partition. The zero value is no key: nothing is
// ever found under it or kept.
type Key struct {
	sum [sha256.Size]byte
}

// Key returns the key of a question, which consists of parts in order.
func (p Partition) Key(parts ...[]byte) Key {
	var k Key
	if p == (Partition{}) {
		return k
	}
	var room [1024]byte
	text := append(room[:0], p.sum[:]...)
	for _, part := range parts {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	k.sum = sha256.Sum256(text)
	return k
}

// add hashes b with its length, so that no two sequences look the same.
func add(h hash.Hash, b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}

// Store keeps values on shelves. When it is full, the oldest goes of the shelf
// that holds most. So a source that has no more than its equal share loses
// nothing to another, however much that one is asked, and what some do not need
// is there for the others. It is safe for concurrent use.
type Store[V any] struct {
	max  int64
	size func(V) int

	mu      sync.Mutex
	used    int64
	shelves []*Shelf[V]
	timer   bool // one is set
}

// Shelf is what a store keeps of one source.
type Shelf[V any] struct {
	store *Store[V]
	epoch atomic.Uint64 // counts purges
	count atomic.Int64  // entries, for who holds no lock

	lru    *simplelru.LRU[Key, *entry[V]] // guarded, like what follows, by the store's mu
	used   int64
	listed bool // in the store, from the first value on
	closed bool
}

type entry[V any] struct {
	value V
	size  int64
	epoch Epoch
	made  time.Time
	fresh time.Time // until then
	stale time.Time // until then it may be used for want of a better one
}

const (
	overhead   = 256         // bytes that an entry costs beside its value
	sweepEvery = time.Minute // how long something may stay that is too old for any use
)

// New returns a store without shelves, for values of at most max bytes in all,
// as size counts them.
func New[V any](max int64, size func(V) int) *Store[V] {
	return &Store[V]{max: max, size: size}
}

// Shelf returns a new, empty shelf. Once something was put on it the store holds
// on to it until it is closed.
func (s *Store[V]) Shelf() *Shelf[V] {
	h := &Shelf[V]{store: s}
	// The number of entries is bounded by their bytes.
	lru, err := simplelru.NewLRU(math.MaxInt, func(_ Key, e *entry[V]) {
		h.used -= e.size
		s.used -= e.size
		h.count.Add(-1)
	})
	if err != nil { // the size is positive
		panic("cache: " + err.Error())
	}
	h.lru = lru
	return h
}

// Close empties the shelf for good: nothing is kept on it any more.
func (h *Shelf[V]) Close() {
	h.epoch.Add(1)
	s := h.store
	s.mu.Lock()
	defer s.mu.Unlock()
	h.closed = true
	h.lru.Purge()
	s.shelves = slices.DeleteFunc(s.shelves, func(o *Shelf[V]) bool { return o == h })
}

// Found is a value that was kept.
type Found[V any] struct {
	Value V
	Age   time.Duration
	Fresh bool // within its time; otherwise usable only for want of a better one
}

// Get returns what is kept under k and not too old for any use.
func (h *Shelf[V]) Get(k Key) (Found[V], bool) {
	if h.count.Load() == 0 {
		return Found[V]{}, false
	}
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	e, ok := h.lru.Get(k)
	if !ok {
		return Found[V]{}, false
	}
	now := time.Now()
	if !h.usable(e, now) {
		h.lru.Remove(k)
		return Found[V]{}, false
	}
	return Found[V]{Value: e.value, Age: now.Sub(e.made), Fresh: now.Before(e.fresh)}, true
}

// Epoch is a moment in the life of a shelf. It is taken before a question is
// asked and handed in with the answer.
type Epoch uint64

// Epoch returns the present one.
func (h *Shelf[V]) Epoch() Epoch { return Epoch(h.epoch.Load()) }

// Put keeps a value: fresh for ttl, and usable for want of a better one for
// stale beyond. An answer to a question of before the last [Shelf.Purge] may be
// out of date already, and is not kept; nor is one that would take more than a
// quarter of the store.
func (h *Shelf[V]) Put(k Key, asked Epoch, v V, ttl, stale time.Duration) {
	s := h.store
	size := int64(s.size(v)) + overhead
	if k == (Key{}) || ttl <= 0 || size > s.max/4 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.closed || h.Epoch() != asked {
		return
	}
	if !h.listed {
		h.listed = true
		s.shelves = append(s.shelves, h)
	}
	now := time.Now()
	h.lru.Remove(k) // for its size
	h.lru.Add(k, &entry[V]{v, size, asked, now, now.Add(ttl), now.Add(ttl + max(stale, 0))})
	h.used += size
	s.used += size
	h.count.Add(1)
	for s.used > s.max {
		s.fullest().lru.RemoveOldest()
	}
	s.wake()
}

// wake has memory let go even if nobody asks again. s.mu is held.
func (s *Store[V]) wake() {
	if s.timer || s.used == 0 {
		return
	}
	s.timer = true
	time.AfterFunc(sweepEvery, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.timer = false
		now := time.Now()
		for _, h := range s.shelves {
			h.sweep(now)
		}
		s.wake()
	})
}

// sweep removes what is of no use any more. The store's mu is held.
func (h *Shelf[V]) sweep(now time.Time) {
	for _, k := range h.lru.Keys() {
		if e, ok := h.lru.Peek(k); ok && !h.usable(e, now) {
			h.lru.Remove(k)
		}
	}
}

func (h *Shelf[V]) usable(e *entry[V], now time.Time) bool {
	return e.epoch == h.Epoch() && now.Before(e.stale)
}

// fullest returns the shelf that holds most. s.mu is held, and there is one.
func (s *Store[V]) fullest() *Shelf[V] {
	most := s.shelves[0]
	for _, h := range s.shelves[1:] {
		if h.used > most.used {
			most = h
		}
	}
	return most
}

// Drop drops what is kept under k.
func (h *Shelf[V]) Drop(k Key) {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.lru.Remove(k)
}

// Purge drops everything on the shelf, and what is being asked now. It costs
// next to nothing where nothing is kept.
func (h *Shelf[V]) Purge() {
	h.epoch.Add(1) // from here on nothing of before is found, even if it is put just now
	if h.count.Load() == 0 {
		return
	}
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.lru.Purge()
}

// Used returns how many bytes are kept on the shelf, and in how many entries.
func (h *Shelf[V]) Used() (bytes int64, entries int) {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	return h.used, h.lru.Len()
}
