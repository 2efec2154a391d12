package gate

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Clock makes a time limit stand still while the client is asked something: how
// long a person thinks says nothing about the upstream. What bounds the wait
// for an answer is not its business.
type Clock struct {
	timer *time.Timer

	mu    sync.Mutex
	until time.Time     // when the timer fires, while it runs
	left  time.Duration // what it has left, while it stands still
	open  int           // questions without an answer
	over  bool          // it has fired or was stopped
}

// NewClock takes over a timer that was just started to fire after limit. Whoever
// started it stops it; one more firing may follow if a question is open then.
func NewClock(timer *time.Timer, limit time.Duration) *Clock {
	return &Clock{timer: timer, until: time.Now().Add(limit)}
}

// Restart gives the whole of limit again.
func (k *Clock) Restart(limit time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open > 0 {
		k.left = limit
		return
	}
	k.until = time.Now().Add(limit)
	k.timer.Reset(limit)
}

// Until returns when the timer fires; false while it stands still.
func (k *Clock) Until() (time.Time, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.until, k.open == 0
}

// Asking returns ask, during which the clock stands still: from the first of
// several questions until the last of them is answered.
func (k *Clock) Asking(ask func(context.Context, upstream.Question) (json.RawMessage, error)) func(context.Context, upstream.Question) (json.RawMessage, error) {
	return func(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
		k.pause()
		defer k.resume()
		return ask(ctx, q)
	}
}

func (k *Clock) pause() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open++; k.open == 1 {
		k.over = !k.timer.Stop()
		k.left = time.Until(k.until)
	}
}

func (k *Clock) resume() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open--; k.open == 0 && !k.over {
		k.until = time.Now().Add(k.left)
		k.timer.Reset(k.left)
	}
}
