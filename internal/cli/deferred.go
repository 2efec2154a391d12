package cli

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	retryFirst  = 5 * time.Second // after secrets could not be fetched; doubles
	retryAtMost = 2 * time.Minute
)

// secretMissing is what the model may know: not where a secret is kept.
const secretMissing = "its credential could not be fetched; the operator has to see to it" //nolint:gosec // no credential

// deferred is an adapter that can only be built once its secrets are there, or
// whatever else it is made of. Fetching them may take seconds or fail; that costs
// this upstream alone, and is tried again.
type deferred struct {
	id    upstream.ID
	build func(context.Context) (upstream.Adapter, error)
	inner atomic.Pointer[upstream.Adapter]
	tried chan struct{} // closed after the first attempt: inner or fail is set
	fail  atomic.Pointer[buildFailure]
	began time.Time
	log   *slog.Logger
}

type buildFailure struct {
	err   error
	since time.Time
	next  time.Time
}

// public is what the model may know of the failure.
func (f *buildFailure) public() string {
	if e, ok := errors.AsType[*upstream.Error](f.err); ok && e.Public != "" {
		return e.Public
	}
	return secretMissing
}

// detail is what the operator reads: the cause, whose place is known.
func (f *buildFailure) detail() string {
	if e, ok := errors.AsType[*upstream.Error](f.err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return f.err.Error()
}

func newDeferred(id upstream.ID, log *slog.Logger, build func(context.Context) (upstream.Adapter, error)) *deferred {
	return &deferred{id: id, build: build, tried: make(chan struct{}), began: time.Now(), log: log}
}

// Watch builds the adapter and then watches it.
func (d *deferred) Watch(ctx context.Context, tell upstream.Events) error {
	tried := sync.OnceFunc(func() { close(d.tried) })
	for wait := retryFirst; ; wait = min(2*wait, retryAtMost) {
		a, err := d.build(ctx)
		if err == nil {
			d.inner.Store(&a)
			tried()
			if w, ok := a.(upstream.Watcher); ok {
				return w.Watch(ctx, tell)
			}
			tell.Change("")
			<-ctx.Done() // it keeps no connection that could end
			return nil
		}
		f := &buildFailure{err: err, since: time.Now(), next: time.Now().Add(wait)}
		if old := d.fail.Load(); old != nil {
			f.since = old.since
		}
		d.fail.Store(f)
		tried()
		d.log.Warn("upstream not built", "upstream", d.id, "error", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// ready returns the adapter. It waits for the first attempt to build it, and
// for no later one.
func (d *deferred) ready(ctx context.Context) (upstream.Adapter, error) {
	select {
	case <-d.tried:
	case <-ctx.Done():
		e := upstream.AsError(d.id, "", context.Cause(ctx))
		e.Op, e.Sent = "connect", false
		return nil, e
	}
	if a := d.inner.Load(); a != nil {
		return *a, nil
	}
	f := d.fail.Load()
	return nil, &upstream.Error{Upstream: d.id, Op: "connect", Kind: upstream.Unavailable,
		Public: f.public(), RetryAfter: max(time.Until(f.next), 0), Err: f.err}
}

// Tools implements upstream.Adapter.
func (d *deferred) Tools(ctx context.Context) ([]upstream.Tool, error) {
	a, err := d.ready(ctx)
	if err != nil {
		return nil, err
	}
	return a.Tools(ctx)
}

// Call implements upstream.Adapter.
func (d *deferred) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	a, err := d.ready(ctx)
	if err != nil {
		return nil, err
	}
	return a.Call(ctx, c)
}

// Health implements upstream.Reporter.
func (d *deferred) Health() upstream.Health {
	if a := d.inner.Load(); a != nil {
		if r, ok := (*a).(upstream.Reporter); ok {
			return r.Health()
		}
		return upstream.Health{State: upstream.Up}
	}
	if f := d.fail.Load(); f != nil {
		return upstream.Health{State: upstream.Down, Since: f.since, Err: f.public(), Detail: f.detail(), RetryIn: max(time.Until(f.next), 0)}
	}
	return upstream.Health{State: upstream.Connecting, Since: d.began}
}

// Held implements upstream.Holder.
func (d *deferred) Held() []upstream.Held {
	if h, ok := as[upstream.Holder](d); ok {
		return h.Held()
	}
	return nil
}

// as returns the adapter as a T; false while it is not built, and where it is
// none.
func as[T any](d *deferred) (T, bool) {
	if a := d.inner.Load(); a != nil {
		t, ok := (*a).(T)
		return t, ok
	}
	var none T
	return none, false
}

// Drift implements upstream.Drifter.
func (d *deferred) Drift() []upstream.Drift {
	if r, ok := as[upstream.Drifter](d); ok {
		return r.Drift()
	}
	return nil
}

// Items implements upstream.Lister.
func (d *deferred) Items(ctx context.Context, list upstream.List) ([]upstream.Item, error) {
	if _, err := d.ready(ctx); err != nil {
		return nil, err
	}
	if l, ok := as[upstream.Lister](d); ok {
		return l.Items(ctx, list)
	}
	return nil, nil
}

// Subscribe implements upstream.Subscriber.
func (d *deferred) Subscribe(ctx context.Context, t upstream.Topic) error {
	if _, err := d.ready(ctx); err != nil {
		return err
	}
	if s, ok := as[upstream.Subscriber](d); ok {
		return s.Subscribe(ctx, t)
	}
	return &upstream.Error{Upstream: d.id, Op: "subscribe", Kind: upstream.Denied, Public: "it does not announce changes"}
}

// Unsubscribe implements upstream.Subscriber.
func (d *deferred) Unsubscribe(t upstream.Topic) {
	if s, ok := as[upstream.Subscriber](d); ok {
		s.Unsubscribe(t)
	}
}

// Extensions implements upstream.Extender.
func (d *deferred) Extensions() map[string]json.RawMessage {
	if e, ok := as[upstream.Extender](d); ok {
		return e.Extensions()
	}
	return nil
}

// Fresh implements upstream.Dater.
func (d *deferred) Fresh(l upstream.List) time.Duration {
	if t, ok := as[upstream.Dater](d); ok {
		return t.Fresh(l)
	}
	return upstream.Announced
}

// Hidden implements upstream.Hider.
func (d *deferred) Hidden() int {
	if h, ok := as[upstream.Hider](d); ok {
		return h.Hidden()
	}
	return 0
}

// Close implements upstream.Adapter.
func (d *deferred) Close() error {
	if a := d.inner.Load(); a != nil {
		return (*a).Close()
	}
	return nil
}
