package mcpserver

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// conn is one handshake on one link. It is replaced when it is lost.
type conn struct {
	link link
	peer *peer
	logs loudness
	once sync.Once
	lost chan struct{} // closed by the first call that finds it unusable
	why  error         // set before lost is closed
}

func newConn(l link, p *peer) *conn { return &conn{link: l, peer: p, lost: make(chan struct{})} }

func (c *conn) lose(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.lost)
	})
}

// status is the state of an adapter at one moment. It never changes; it is
// replaced, and next is closed when that happens.
type status struct {
	state    upstream.State
	since    time.Time
	conn     *conn           // Up
	failure  *upstream.Error // Down
	failedAt time.Time       // Down: when the last attempt ended
	retryAt  time.Time       // Down: when the next one begins; zero if never
	trying   bool            // Down: an attempt is under way
	restarts int
	next     chan struct{}
}

// board is where the supervisor posts the status and calls read it.
type board struct {
	state atomic.Pointer[status]
	poke  chan struct{} // wakes the supervisor before its backoff is over
	// eager is whether a call while the server is down may bring the next
	// attempt forward: cheap for HTTP, not for a child that crashes.
	eager bool
	mu    sync.Mutex // held while state is replaced
}

func newBoard() *board {
	b := &board{poke: make(chan struct{}, 1)}
	b.state.Store(&status{state: upstream.Connecting, since: time.Now(), next: make(chan struct{})})
	return b
}

// down is the failure that a call gets while there is no connection. What a
// handshake was answered is no answer to the call.
func (s *status) down() *upstream.Error {
	e := *s.failure
	e.Sent, e.RPC = false, nil
	if !s.retryAt.IsZero() {
		e.RetryAfter = max(e.RetryAfter, time.Until(s.retryAt), 0)
	}
	return &e
}

// update replaces the status by what change makes of a copy; change returns
// false to leave it.
func (b *board) update(change func(*status) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.state.Load()
	s := *old
	if !change(&s) {
		return
	}
	if s.state != old.state {
		s.since = time.Now()
	}
	s.next = make(chan struct{})
	b.state.Store(&s)
	close(old.next)
}

func (b *board) setUp(c *conn, restart bool) {
	b.update(func(s *status) bool {
		*s = status{state: upstream.Up, since: s.since, conn: c, restarts: s.restarts}
		if restart {
			s.restarts++
		}
		return true
	})
}

func (b *board) setConnecting() {
	b.update(func(s *status) bool {
		*s = status{state: upstream.Connecting, since: s.since, restarts: s.restarts}
		return true
	})
}

func (b *board) setDown(e *upstream.Error, delay time.Duration) {
	now := time.Now()
	b.update(func(s *status) bool {
		*s = status{state: upstream.Down, since: s.since, failure: e, failedAt: now, restarts: s.restarts}
		if delay > 0 {
			s.retryAt = now.Add(delay)
		}
		return true
	})
}

// setTrying says that an attempt has begun while the state stays Down.
func (b *board) setTrying() {
	b.update(func(s *status) bool {
		s.trying = true
		return s.state == upstream.Down
	})
}

// report tells the supervisor that c is unusable, and sees to it that no other
// call takes it.
func (b *board) report(c *conn, why error) {
	b.update(func(s *status) bool {
		if s.conn != c {
			return false
		}
		*s = status{state: upstream.Connecting, since: s.since, restarts: s.restarts}
		return true
	})
	c.lose(why)
}

const (
	eagerGap  = 500 * time.Millisecond // at least between attempts that calls bring forward
	eagerWait = time.Second            // how long such a call waits for the attempt
)

// await returns the connection. It waits while the first attempt or an
// immediate reconnect is under way, at most until ctx ends; while the server is
// down it fails at once. Where attempts are cheap, a call while the server is
// down brings the next one forward and waits a moment for it, so that a server
// that is back is used at once.
func (b *board) await(ctx context.Context) (*conn, error) {
	var patience <-chan time.Time
	for {
		s := b.state.Load()
		switch s.state {
		case upstream.Up:
			return s.conn, nil
		case upstream.Down:
			if patience == nil && b.eager && s.mayHurry() {
				t := time.NewTimer(eagerWait)
				defer t.Stop()
				patience = t.C
				select {
				case b.poke <- struct{}{}:
				default:
				}
			} else if patience == nil || !s.trying {
				return nil, s.down()
			}
		}
		select {
		case <-s.next:
		case <-patience:
			return nil, b.state.Load().orUnavailable()
		case <-ctx.Done():
			return nil, ended(ctx, false)
		}
	}
}

// mayHurry reports whether an attempt is under way or may be brought forward.
func (s *status) mayHurry() bool {
	if s.retryAt.IsZero() || s.failure.Kind == upstream.RateLimited {
		return false
	}
	return s.trying || time.Since(s.failedAt) >= eagerGap
}

func (s *status) orUnavailable() *upstream.Error {
	if s.failure != nil {
		return s.down()
	}
	return failure(upstream.Unavailable, false, "it is reconnecting", nil)
}

// Health implements [upstream.Reporter]. Err holds no address and no secret.
func (a *Adapter) Health() upstream.Health {
	s := a.board.state.Load()
	h := upstream.Health{State: s.state, Since: s.since, Restarts: s.restarts}
	switch {
	case s.conn != nil:
		h.Server, h.Protocol = s.conn.peer.server, s.conn.peer.version
	case s.failure != nil:
		h.Why = s.failure.Kind
		if h.Err = s.failure.Public; h.Err == "" {
			h.Err = s.failure.Kind.Code()
		}
		if s.failure.Err != nil {
			h.Detail = s.failure.Err.Error()
		}
		if !s.retryAt.IsZero() {
			h.RetryIn = max(time.Until(s.retryAt), 0)
		}
	}
	return h
}

// brokenBy returns what err says about the connection; nil if nothing.
func brokenBy(err error) *broken {
	b, _ := errors.AsType[*broken](err)
	return b
}
