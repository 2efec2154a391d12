package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Flights lets equal questions that are asked at the same time share one answer.
// The zero value is ready for use; it is safe for concurrent use.
type Flights[V any] struct {
	mu   sync.Mutex
	live map[Key]*flight[V]
}

// flight is one question under way. It belongs to nobody who waits for it: it
// ends early only when all have left.
type flight[V any] struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	value   V // set, like err, before done is closed
	err     error
}

// errPanic is what the waiters of a flight get whose work panicked.
var errPanic = errors.New("cache: the shared work panicked")

// Do returns what work returns. If the same question is under way already, it
// waits for that answer instead, and shared is true. work runs on a context of
// its own with the values of the first asker's, which ends when the last one who
// waits has left. Do returns when ctx ends, with its cause.
func (f *Flights[V]) Do(ctx context.Context, k Key, work func(context.Context) (V, error)) (v V, shared bool, err error) {
	f.mu.Lock()
	l, shared := f.live[k]
	if !shared {
		if f.live == nil {
			f.live = make(map[Key]*flight[V])
		}
		l = &flight[V]{done: make(chan struct{})}
		own, cancel := context.WithCancel(context.WithoutCancel(ctx)) //nolint:gosec // G118: run calls it, or the last to leave
		l.cancel = cancel
		f.live[k] = l
		go f.run(own, k, l, work)
	}
	l.waiting++
	f.mu.Unlock()
	select {
	case <-l.done:
		return l.value, shared, l.err
	case <-ctx.Done():
		f.leave(k, l)
		return v, shared, context.Cause(ctx)
	}
}

// leave takes one who waited off. When nobody is left, who asks from now on
// starts anew.
func (f *Flights[V]) leave(k Key, l *flight[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.waiting--
	if l.waiting > 0 {
		return
	}
	l.cancel()
	if f.live[k] == l {
		delete(f.live, k)
	}
}

func (f *Flights[V]) run(ctx context.Context, k Key, l *flight[V], work func(context.Context) (V, error)) {
	defer func() {
		if p := recover(); p != nil { // its value may hold anything
			l.err = fmt.Errorf("%w: %T", errPanic, p)
		}
		f.mu.Lock()
		if f.live[k] == l {
			delete(f.live, k)
		}
		f.mu.Unlock()
		l.cancel()
		close(l.done)
	}()
	l.value, l.err = work(ctx)
}
