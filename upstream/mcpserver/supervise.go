package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	backoffMin  = time.Second
	backoffMax  = 30 * time.Second
	steadyAfter = time.Minute            // a connection that lived this long resets the backoff
	coalesce    = 100 * time.Millisecond // between two reports of a changed list
)

// Watch implements [upstream.Watcher]: it connects, reconnects and reports
// changes of the list until ctx ends or Close is called, and then returns nil
// after everything it started is gone. Only one Watch may run at a time.
func (a *Adapter) Watch(ctx context.Context, tell upstream.Events) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errStopped)
	a.mu.Lock()
	if a.closed || a.cancel != nil {
		a.mu.Unlock()
		return fmt.Errorf("mcpserver: %s is closed or already watched", a.opt.ID)
	}
	a.cancel = func() { cancel(errStopped) }
	a.watching.Add(1)
	a.mu.Unlock()
	defer a.watching.Done()

	a.news.tell.Store(&tell)
	defer a.news.tell.Store(nil)
	a.board.setConnecting()
	var wg sync.WaitGroup
	for range errandCount {
		wg.Go(func() { a.post.run(ctx) })
	}
	a.supervise(ctx, tell)
	cancel(errStopped)
	wg.Wait()

	a.board.setDown(failure(upstream.Unavailable, false, "it is shut down", errStopped), 0)
	a.mu.Lock()
	a.cancel = nil
	a.mu.Unlock()
	return nil
}

// Close implements [upstream.Adapter]: it ends Watch and every call, and waits
// for them.
func (a *Adapter) Close() error {
	a.mu.Lock()
	a.closed = true
	cancel := a.cancel
	a.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	a.watching.Wait()
	a.board.setDown(failure(upstream.Unavailable, false, "it is shut down", errStopped), 0)
	a.calls.Wait()
	return nil
}

// enter counts a call in, so that Close can wait for it.
func (a *Adapter) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.calls.Add(1)
	return true
}

// supervise is the life of the connection. A connection that was lost is
// replaced at once the first time; from then on attempts back off, until one
// has held for a while.
func (a *Adapter) supervise(ctx context.Context, tell upstream.Events) {
	var l link
	connected, failures := false, 0
	for ctx.Err() == nil {
		c, err := a.connect(ctx, &l)
		if err == nil {
			a.board.setUp(c, connected)
			connected = true
			up := time.Now()
			tell.Change("")
			err = a.attend(ctx, c, tell)
			if ctx.Err() != nil || isDone(l) || !reusable(l) {
				l.close(ctx, c.peer)
				l = nil
			}
			if lived := time.Since(up); lived >= steadyAfter || quick(err, lived) {
				failures = 0
			}
			b := brokenBy(err)
			if failures++; failures == 1 && ctx.Err() == nil && (b == nil || !b.hung) {
				a.opt.Log.Warn("upstream connection lost, reconnecting", "upstream", a.opt.ID, "error", err)
				a.board.setConnecting()
				continue
			}
			down(ctx, &a.opt, a.board, err, backoff(failures-1))
			continue
		}
		failures++
		down(ctx, &a.opt, a.board, err, backoff(failures))
	}
	if l != nil {
		l.close(ctx, nil)
	}
}

// quick reports whether a loss is of the harmless kind that a server's restart
// brings, be it by another version of it, after a life that shows that it is no
// loop.
func quick(err error, lived time.Duration) bool {
	b := brokenBy(err)
	return b != nil && (b.session || b.forget) && lived >= backoffMin
}

// down records a failure and waits until the next attempt is due or wanted.
func down(ctx context.Context, o *Options, b *board, err error, delay time.Duration) {
	if ctx.Err() != nil {
		return
	}
	e := *upstream.AsError(o.ID, "", err)
	delay = max(delay, min(e.RetryAfter, 5*time.Minute))
	e.RetryAfter = 0 // from now on it is the time to the next attempt
	o.Log.Warn("upstream is down", "upstream", o.ID, "error", err, "retry_in", delay)
	select { // a wish from before this failure has been granted
	case <-b.poke:
	default:
	}
	b.setDown(&e, delay)
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.poke:
	case <-ctx.Done():
	}
	b.setTrying()
}

// backoff returns the delay before attempt n (from 1) after a failure: doubling
// from backoffMin to backoffMax, with up to half of it taken off at random.
func backoff(n int) time.Duration {
	d := backoffMax
	if n < 6 {
		d = backoffMin << max(n-1, 0)
	}
	return min(d, backoffMax) - rand.N(min(d, backoffMax)/2)
}

// connect brings a handshake about within ConnectTimeout: on the link that is
// still there, or on a new one.
func (a *Adapter) connect(ctx context.Context, l *link) (*conn, error) {
	limited, cancel := context.WithTimeoutCause(ctx, a.opt.ConnectTimeout, errors.Join(errConnectTime, context.DeadlineExceeded))
	defer cancel()
	if *l == nil {
		fresh, err := a.dial(ctx)
		if err != nil {
			return nil, err
		}
		*l = fresh
	}
	a.mu.Lock()
	hint := a.era
	a.mu.Unlock()
	p, err := a.greet.handshake(limited, *l, hint)
	if err != nil && a.other != nil && noEndpoint(err) {
		p, err = a.fallBack(ctx, limited, l, err)
	}
	if err != nil {
		silent := errors.Is(context.Cause(limited), errConnectTime) && !noEndpoint(err)
		// Some servers end, or never speak again, on a method they do not know.
		// Only a child can show that; over HTTP silence has other reasons, and
		// merely ends the trust in a memory.
		if isDone(*l) || (silent && ((*l).done() != nil || hint == Legacy)) {
			a.setEra(opposite(hint))
		}
		(*l).close(ctx, nil)
		*l = nil
		if silent {
			err = failure(upstream.Unavailable, false,
				fmt.Sprintf("it did not answer the handshake within %s", a.opt.ConnectTimeout), errConnectTime)
		}
		return nil, err
	}
	a.learned(p)
	if a.doubted == p.era() {
		p.settled = time.Now()
	}
	a.doubted = ""
	return newConn(*l, p), nil
}

// fallBack tries the other HTTP transport where the one that was tried first is
// not served, and replaces l (MCP 2025-11-25, transports, §Backwards
// Compatibility). What works is tried first from then on. why is the failure so
// far; it stays that where the other transport is not served either.
func (a *Adapter) fallBack(ctx, limited context.Context, l *link, why error) (*peer, error) {
	(*l).close(ctx, nil)
	fresh, err := a.other(ctx)
	if err != nil {
		return nil, err
	}
	*l = fresh
	p, err := a.greet.handshake(limited, fresh, Legacy)
	switch {
	case err == nil:
		a.dial, a.other = a.other, a.dial
	case noEndpoint(err), limited.Err() != nil && !upstream.AsError("", "", err).Sent:
		err = why // it is no such server, or a stream that never said where to send anything
	}
	return p, err
}

// opposite returns the hint for the next handshake after one that went badly:
// initialize first where it was a probe, and the other way round.
func opposite(hint Era) Era {
	if hint == Legacy {
		return ""
	}
	return Legacy
}

// setEra keeps what is known about the era, unless it is configured.
func (a *Adapter) setEra(e Era) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.opt.Era == Auto {
		a.era = e
	}
}

// learned keeps the era for the next connection and, if it is news, for the
// next run.
func (a *Adapter) learned(p *peer) {
	a.setEra(p.era())
	a.extensions.Store(&p.offers.extensions)
	a.opt.Log.Info("upstream connected", "upstream", a.opt.ID, "server", p.server, "protocol", p.version)
	if era := string(p.era()); a.opt.Era == Auto && a.opt.Remember != nil && era != a.opt.Remembered {
		a.opt.Remembered = era // only this goroutine looks at it
		a.opt.Remember(era)
	}
}

// attend stays with a connection until it is lost or ctx ends, passes changes
// of the lists on, and returns why it was lost.
func (a *Adapter) attend(ctx context.Context, c *conn, tell upstream.Events) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if c.peer.modern {
		wg.Go(func() { newListener(a, c).run(ctx) })
	} else {
		wg.Go(func() { newRenewer(a, c).run(ctx) })
	}
	switch l := c.link.(type) {
	case *httpLink:
		wg.Go(func() { l.verify(ctx, c) })
		if listens(c.peer) {
			wg.Go(func() { l.listen(ctx, c) })
		}
	case *sseLink:
		wg.Go(func() { l.posts.verify(ctx, c) })
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.link.done():
			_, err := c.link.do(ctx, c.peer, request{method: methodPing}) // says why
			a.board.report(c, err)
			return err
		case <-c.lost:
			if b := brokenBy(c.why); b != nil && b.forget {
				a.setEra("")
				a.doubted = c.peer.era()
			}
			return c.why
		case <-a.news.wake:
			for _, l := range a.news.take() {
				tell.Change(l)
			}
			pause(ctx, coalesce)
		}
	}
}

// reusable reports whether there can be another handshake on a link that is not
// done: not where the stream is the session.
func reusable(l link) bool {
	_, sse := l.(*sseLink)
	return !sse
}

func isDone(l link) bool {
	select {
	case <-l.done():
		return true
	default:
		return false
	}
}

// pause waits and reports whether it did so to the end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
