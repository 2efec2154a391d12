package credentials

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// Held is what a [Holder] keeps.
type Held interface {
	// Busy reports whether it must not be closed now: work is under way whose
	// result would be lost. It returns at once.
	Busy() bool
	// Close releases it. It returns soon after ctx ends.
	Close(ctx context.Context)
}

// Ender is a [Held] that wants to know at once that it is to be closed: End is
// called before Close, and before whatever closes it returns. It must not wait.
type Ender interface{ End() }

// ErrFull is a [Holder] that can make room for nobody.
var ErrFull = errors.New("credentials: everything that is held is in use")

// Holder keeps one T for each of many identities, such as the source of tokens of
// each user. One is made when it is first needed, and closed when it has not been
// in use for a while, or to make room; never one that is in use or busy. What must
// outlive that is in a [Store].
type Holder[T Held] struct {
	most int
	idle time.Duration

	mu      sync.Mutex
	items   map[string]*list.Element
	recent  list.List            // of *holding[T]; in front what was used last
	retired map[*holding[T]]bool // taken out, to be closed when they are not used any more
	closed  bool
	closing sync.WaitGroup
}

type holding[T Held] struct {
	key  string
	it   T
	uses int
	last time.Time // when it was used last
}

// maxPassed is how many that cannot be closed are passed over to make room.
const maxPassed = 100

// NewHolder returns a holder of at most so many, each for idle after its last
// use. It starts nothing: see [Holder.Sweep].
func NewHolder[T Held](most int, idle time.Duration) *Holder[T] {
	return &Holder[T]{most: most, idle: idle, items: make(map[string]*list.Element), retired: make(map[*holding[T]]bool)}
}

// Use returns what is held under key, which is made if there is nothing. make is
// called with the holder locked: it must neither wait nor use the holder. release
// is to be called once, when it is not used any more. The error is [ErrFull], that
// the holder is closed, or make's.
func (h *Holder[T]) Use(ctx context.Context, key string, make func() (T, error)) (it T, release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return it, nil, errClosed
	}
	at := h.items[key]
	if at == nil {
		if len(h.items) >= h.most && !h.makeRoom(ctx) {
			return it, nil, ErrFull
		}
		if it, err = make(); err != nil {
			return it, nil, err
		}
		at = h.recent.PushFront(&holding[T]{key: key, it: it})
		h.items[key] = at
	}
	held := of[T](at)
	h.recent.MoveToFront(at)
	held.uses++
	held.last = time.Now()
	return held.it, func() { h.release(ctx, held) }, nil
}

func of[T Held](at *list.Element) *holding[T] {
	held, _ := at.Value.(*holding[T]) // nothing else is in the list
	return held
}

func (h *Holder[T]) release(ctx context.Context, held *holding[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held.uses--
	if h.retired[held] && held.uses == 0 {
		delete(h.retired, held)
		h.close(ctx, held)
		return
	}
	held.last = time.Now()
	if at := h.items[held.key]; at != nil && of[T](at) == held {
		h.recent.MoveToFront(at)
	}
}

// makeRoom closes the one that has not been used for the longest time. h.mu is
// held.
func (h *Holder[T]) makeRoom(ctx context.Context) bool {
	passed := 0
	for at := h.recent.Back(); at != nil && passed < maxPassed; at = at.Prev() {
		if held := of[T](at); held.uses == 0 && !held.it.Busy() {
			h.end(ctx, at)
			return true
		}
		passed++
	}
	return false
}

// end takes one out and has it closed. h.mu is held.
func (h *Holder[T]) end(ctx context.Context, at *list.Element) {
	held := of[T](at)
	h.recent.Remove(at)
	delete(h.items, held.key)
	h.close(ctx, held)
}

func (h *Holder[T]) close(ctx context.Context, held *holding[T]) {
	if e, ok := any(held.it).(Ender); ok {
		e.End()
	}
	ctx = context.WithoutCancel(ctx)
	h.closing.Go(func() { held.it.Close(ctx) })
}

// Sweep closes what has not been used for as long as it may be idle.
func (h *Holder[T]) Sweep(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := time.Now().Add(-h.idle)
	for at := h.recent.Back(); at != nil; {
		held, next := of[T](at), at.Prev()
		if held.last.After(before) && held.uses == 0 {
			return // all in front of it were used later, or are in use
		}
		if held.uses == 0 && !held.it.Busy() {
			h.end(ctx, at)
		}
		at = next
	}
}

// Peek returns what is held under key, without using it: it may be closed at any
// time.
func (h *Holder[T]) Peek(key string) (it T, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at := h.items[key]; at != nil {
		return of[T](at).it, true
	}
	return it, false
}

// Drop closes what is held under key, in use or not. It does not wait for it.
func (h *Holder[T]) Drop(ctx context.Context, key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at := h.items[key]; at != nil {
		h.end(ctx, at)
	}
}

// Retire takes out what is held under key, and closes it when it is not used any
// more: whoever comes next gets another one.
func (h *Holder[T]) Retire(ctx context.Context, key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.items[key]
	if at == nil {
		return
	}
	held := of[T](at)
	if held.uses == 0 {
		h.end(ctx, at)
		return
	}
	h.recent.Remove(at)
	delete(h.items, key)
	h.retired[held] = true
}

// Len returns how many are held.
func (h *Holder[T]) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.items)
}

// Close closes all and waits until they are. ctx is handed to each.
func (h *Holder[T]) Close(ctx context.Context) {
	h.mu.Lock()
	h.closed = true
	for at := h.recent.Front(); at != nil; at = h.recent.Front() {
		held := of[T](at)
		h.recent.Remove(at)
		delete(h.items, held.key)
		h.closing.Go(func() { held.it.Close(ctx) })
	}
	for held := range h.retired {
		delete(h.retired, held)
		h.closing.Go(func() { held.it.Close(ctx) })
	}
	h.mu.Unlock()
	h.closing.Wait()
}
