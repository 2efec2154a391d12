// Package cache keeps answers for a while, and lets equal questions that are
// asked at the same time share one answer.
//
// Job: a store that is bounded in bytes, divided into partitions that cannot see
// each other, and whose entries expire; and flights, which carry out a question
// once for all who wait.
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
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Partition is whose answers belong together: of one source, got with one
// credential, for one principal. There is no key without a partition, so nobody
// is answered with what another may see.
type Partition struct {
	source string
	sum    [sha256.Size]byte
}

// NewPartition returns the partition of a source, the fingerprint of the
// credential it is asked with, and the key of the principal that asks; "" for
// the principal where the answers are the same for everybody.
func NewPartition(source, fingerprint, principal string) Partition {
	h := sha256.New()
	add(h, source)
	add(h, fingerprint)
	add(h, principal)
	p := Partition{source: source}
	h.Sum(p.sum[:0])
	return p
}

// Key is one question within a partition. The zero value is no key: nothing is
// ever found under it or kept.
type Key struct {
	source string
	sum    [sha256.Size]byte
}

// Key returns the key of a question, which consists of parts in order.
func (p Partition) Key(parts ...[]byte) Key {
	if p.source == "" {
		return Key{}
	}
	h := sha256.New()
	h.Write(p.sum[:])
	for _, part := range parts {
		add(h, string(part))
	}
	k := Key{source: p.source}
	h.Sum(k.sum[:0])
	return k
}

// add hashes s with its length, so that no two sequences look the same.
func add(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

// Store keeps values. It is safe for concurrent use.
type Store[V any] struct {
	max  int64
	size func(V) int

	mu     sync.Mutex
	lru    *simplelru.LRU[Key, *entry[V]]
	used   int64
	epochs map[string]uint64 // by source; counts purges
}

type entry[V any] struct {
	value V
	size  int64
	made  time.Time
	fresh time.Time // until then
	stale time.Time // until then it may be used for want of a better one
}

// overhead is what an entry costs beside its value, in bytes.
const overhead = 256

// New returns an empty store for values of at most max bytes in all, as size
// counts them.
func New[V any](max int64, size func(V) int) *Store[V] {
	s := &Store[V]{max: max, size: size, epochs: make(map[string]uint64)}
	// The number of entries is bounded by their bytes.
	lru, err := simplelru.NewLRU(math.MaxInt, func(_ Key, e *entry[V]) { s.used -= e.size })
	if err != nil { // the size is positive
		panic("cache: " + err.Error())
	}
	s.lru = lru
	return s
}

// Found is a value that was kept.
type Found[V any] struct {
	Value V
	Age   time.Duration
	Fresh bool // within its time; otherwise usable only for want of a better one
}

// Get returns what is kept under k and not too old for any use.
func (s *Store[V]) Get(k Key) (Found[V], bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.lru.Get(k)
	if !ok {
		return Found[V]{}, false
	}
	now := time.Now()
	if !now.Before(e.stale) {
		s.lru.Remove(k)
		return Found[V]{}, false
	}
	return Found[V]{Value: e.value, Age: now.Sub(e.made), Fresh: now.Before(e.fresh)}, true
}

// Epoch is a moment in the life of a source's entries. It is taken before a
// question is asked and handed in with the answer.
type Epoch uint64

// Epoch returns the present one of k's source.
func (s *Store[V]) Epoch(k Key) Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Epoch(s.epochs[k.source])
}

// Put keeps a value: fresh for ttl, and usable for want of a better one for
// stale beyond. An answer to a question of before the last [Store.Purge] of its
// source may be out of date already, and is not kept; nor is one that would take
// more than a quarter of the store.
func (s *Store[V]) Put(k Key, asked Epoch, v V, ttl, stale time.Duration) {
	size := int64(s.size(v)) + overhead
	if k.source == "" || ttl <= 0 || size > s.max/4 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if Epoch(s.epochs[k.source]) != asked {
		return
	}
	now := time.Now()
	s.lru.Remove(k) // for its size
	s.lru.Add(k, &entry[V]{v, size, now, now.Add(ttl), now.Add(ttl + max(stale, 0))})
	s.used += size
	for s.used > s.max {
		s.lru.RemoveOldest()
	}
}

// Purge drops everything of a source, and what is being asked of it now.
func (s *Store[V]) Purge(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epochs[source]++
	for _, k := range s.lru.Keys() {
		if k.source == source {
			s.lru.Remove(k)
		}
	}
}

// Used returns how many bytes are kept, and in how many entries.
func (s *Store[V]) Used() (bytes int64, entries int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, s.lru.Len()
}
