package cli

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// source is a small adapter that is up while it is watched.
type source struct{ closed, watched atomic.Bool }

func (s *source) Tools(context.Context) ([]upstream.Tool, error) {
	return []upstream.Tool{{Name: "x"}}, nil
}

func (s *source) Call(context.Context, *upstream.Call) (*upstream.Result, error) {
	return upstream.TextResult("hello", false), nil
}

func (s *source) Watch(ctx context.Context, changed func()) error {
	s.watched.Store(true)
	changed()
	<-ctx.Done()
	return nil
}

func (s *source) Health() upstream.Health { return upstream.Health{State: upstream.Up, Server: "s"} }
func (s *source) Held() []upstream.Held   { return []upstream.Held{{Tool: "odd"}} }
func (s *source) Close() error            { s.closed.Store(true); return nil }

func TestASecretThatIsLateCostsOnlyItsUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &source{}
		tries := 0
		d := newDeferred("crm", slog.New(slog.DiscardHandler), func(context.Context) (upstream.Adapter, error) {
			time.Sleep(time.Second) // the keyring asks somebody
			if tries++; tries < 3 {
				return nil, errors.New("canary: /path/of/the/secret")
			}
			return inner, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		var changed atomic.Int32
		done := make(chan error, 1)
		go func() { done <- d.Watch(ctx, upstream.Events{Changed: func(upstream.List) { changed.Add(1) }}) }()

		short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		defer stop()
		if _, err := d.Tools(short); upstream.AsError("", "", err).Kind != upstream.Timeout {
			t.Errorf("while it is being fetched: %v", err)
		}
		if h := d.Health(); h.State != upstream.Connecting {
			t.Errorf("%+v", h)
		}
		time.Sleep(time.Second)
		_, err := d.Call(ctx, &upstream.Call{})
		e := upstream.AsError("", "", err)
		if e.Kind != upstream.Unavailable || e.Sent || e.RetryAfter <= 0 || e.RetryAfter > retryFirst || strings.Contains(e.Public, "canary") {
			t.Errorf("after it could not be fetched: %+v", e)
		}
		if h := d.Health(); h.State != upstream.Down || h.Err != secretMissing || !strings.Contains(h.Detail, "canary") || h.RetryIn <= 0 || d.Held() != nil {
			t.Errorf("%+v", h)
		}
		time.Sleep(time.Minute)
		if tools, err := d.Tools(ctx); err != nil || len(tools) != 1 || changed.Load() != 1 {
			t.Errorf("after it came: %v, %v, changed %d", tools, err, changed.Load())
		}
		if res, err := d.Call(ctx, &upstream.Call{}); err != nil || res == nil || d.Health().Server != "s" || len(d.Held()) != 1 {
			t.Errorf("%v, %v, %+v", res, err, d.Health())
		}
		cancel()
		if err := <-done; err != nil || d.Close() != nil || !inner.closed.Load() {
			t.Errorf("%v, closed %v", err, inner.closed.Load())
		}
	})
}

// TestDeferredSaysWhatItMay tells that what a failure has to say for the model
// reaches it.
func TestDeferredSaysWhatItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeferred("crm", slog.New(slog.DiscardHandler), func(context.Context) (upstream.Adapter, error) {
			return nil, &upstream.Error{Kind: upstream.Unavailable, Public: "for everybody", Err: errors.New("canary")}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := d.Watch(ctx, upstream.Events{}); err != nil {
			t.Error(err)
		}
		_, err := d.Tools(t.Context())
		if e := upstream.AsError("", "", err); e.Public != "for everybody" || d.Health().Err != "for everybody" || !strings.Contains(d.Health().Detail, "canary") {
			t.Errorf("%+v, %+v", e, d.Health())
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestDeferredEndsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeferred("crm", slog.New(slog.DiscardHandler), func(context.Context) (upstream.Adapter, error) { return nil, errors.New("no") })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := d.Watch(ctx, upstream.Events{}); err != nil || d.Close() != nil {
			t.Error(err)
		}
	})
}
