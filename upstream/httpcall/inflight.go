package httpcall

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is the cause with which calls end whose adapter is closed.
var ErrClosed = errors.New("the adapter is closed")

// InFlight is the calls of one adapter that are under way. The zero value has none
// and takes some.
type InFlight struct {
	mu      sync.Mutex // guards what follows, and the adding to running
	closed  bool
	ends    map[*context.CancelCauseFunc]struct{}
	running sync.WaitGroup
}

// Enter counts a call in, and returns a context that ends with the call's own and,
// by [ErrClosed], at Close; leave counts it out. It reports false after Close.
func (f *InFlight) Enter(ctx context.Context) (_ context.Context, leave func(), ok bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		cancel(ErrClosed)
		return ctx, nil, false
	}
	if f.ends == nil {
		f.ends = make(map[*context.CancelCauseFunc]struct{})
	}
	f.ends[&cancel] = struct{}{}
	f.running.Add(1)
	return ctx, func() {
		f.mu.Lock()
		delete(f.ends, &cancel)
		f.mu.Unlock()
		cancel(nil)
		f.running.Done()
	}, true
}

// Close ends all calls and waits for them.
func (f *InFlight) Close() {
	f.mu.Lock()
	f.closed = true
	for cancel := range f.ends {
		(*cancel)(ErrClosed)
	}
	f.mu.Unlock()
	f.running.Wait()
}

// Closed reports whether it takes no calls any more.
func (f *InFlight) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}
