package mcpserver

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	lingerTime  = 500 * time.Millisecond // for what is still on its way on a stream that was replaced
	lingerCount = 8                      // streams that may linger; more replacements wait
)

var errUnconfirmed = errors.New("the server did not confirm the subscription in time")

// stream is one subscriptions/listen (MCP 2026-07-28, subscriptions).
type stream struct {
	id     atomic.Int64 // of the request; 0 until it is made
	acked  chan map[upstream.Topic]bool
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // why; set before ended is closed, nil if the server ended it as it should
	topics map[upstream.Topic]*interest
	opened time.Time
}

// listener keeps one stream open on a connection to a modern server, for the
// lists that the server announces and for every topic that is wanted. A filter
// cannot be changed, so another stream takes its place when the topics change:
// it is confirmed before the old one is closed, and what is still under way on
// that one arrives. One goroutine owns it.
type listener struct {
	a       *Adapter
	c       *conn
	wg      sync.WaitGroup
	current *stream // nil if none is open
	// refused are the topics that this connection does not get.
	refused map[upstream.Topic]*interest
	// alone: what is new is asked for piece by piece, because together it was
	// refused.
	alone   bool
	quiet   bool      // the server refuses even a stream for its lists
	tries   int       // in a row that led to no steady stream
	retryAt time.Time // no sooner, unless somebody waits
	behind  bool      // something may have been missed
	missed  missed
	linger  chan struct{} // one for each stream that does
	// gap: a stream that was replaced has ended by itself, perhaps before the
	// other one began; capacity 1.
	gap chan struct{}
}

func newListener(a *Adapter, c *conn) *listener {
	return &listener{
		a: a, c: c, refused: map[upstream.Topic]*interest{},
		missed: missed{time.Now()}, linger: make(chan struct{}, lingerCount), gap: make(chan struct{}, 1),
	}
}

// plan is the stream that ought to be open.
type plan struct {
	topics map[upstream.Topic]*interest
	fresh  map[upstream.Topic]*interest // those of them that the present stream lacks
	change bool                         // the present stream will not do
	urgent bool                         // somebody waits for the answer
}

// run listens until ctx ends or the connection turns out to be unusable.
func (l *listener) run(ctx context.Context) {
	defer l.wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		p := l.plan()
		if p.change && (p.urgent || time.Now().After(l.retryAt)) {
			if err := l.change(ctx, p); brokenBy(err) != nil && ctx.Err() == nil {
				l.a.board.report(l.c, err) // it cannot even be reached
				return
			}
			if ctx.Err() != nil {
				return
			}
			continue
		}
		if !l.wait(ctx, p.change) {
			return
		}
	}
}

func (l *listener) plan() plan {
	wanted := l.a.subs.current()
	maps.DeleteFunc(l.refused, func(t upstream.Topic, in *interest) bool { return wanted[t] != in })
	p := plan{topics: map[upstream.Topic]*interest{}, fresh: map[upstream.Topic]*interest{}}
	kept := 0
	for t, in := range wanted {
		if l.refused[t] != nil {
			continue
		}
		if l.current != nil && l.current.topics[t] != nil {
			kept++
			p.topics[t] = in
			if l.current.topics[t] != in { // it was wanted again before it was given up
				l.current.topics[t] = in
				l.a.subs.settled(t, in, nil)
			}
			continue
		}
		if err := l.c.peer.refuses(t); err != nil { // the server is another one by now
			l.refuse(t, in, err)
		} else if !l.alone || len(p.fresh) == 0 {
			p.topics[t], p.fresh[t] = in, in
			p.urgent = p.urgent || !l.a.subs.granted(in)
		}
	}
	lists := l.c.peer.offers.announced() != nil
	switch {
	case len(p.fresh) > 0:
		p.change = true
	case l.current != nil:
		p.change = kept < len(l.current.topics)
	default:
		p.change = lists && !l.quiet
	}
	l.alone = l.alone && len(p.fresh) > 0
	return p
}

func (l *listener) refuse(t upstream.Topic, in *interest, err error) {
	l.refused[t] = in
	l.a.subs.settled(t, in, err)
}

// change replaces the present stream by the planned one, or finds out what of
// it is refused, which leads to another plan. Its error is for the log, unless it
// says something about the connection.
func (l *listener) change(ctx context.Context, p plan) error {
	if len(p.topics) == 0 && l.c.peer.offers.announced() == nil {
		l.retire(ctx)
		return nil
	}
	s := l.open(ctx, p.topics)
	granted, err := l.confirmed(ctx, s, l.current == nil && len(p.topics) == 0)
	if err != nil {
		s.cancel()
		<-s.ended
		if brokenBy(err) == nil && ctx.Err() == nil {
			l.failed(p, err)
		}
		return err
	}
	for t, in := range p.topics {
		switch {
		case !granted[t]:
			delete(s.topics, t)
			l.refuse(t, in, failure(upstream.Denied, true, "it does not announce changes of this one", nil))
		case p.fresh[t] != nil:
			l.a.subs.settled(t, in, nil)
		}
	}
	l.retire(ctx)
	l.current = s
	l.caughtUp()
	return nil
}

// failed draws the conclusions from a stream that did not come about.
func (l *listener) failed(p plan, err error) {
	l.a.opt.Log.Debug("no stream of notifications", "upstream", l.a.opt.ID, "error", err)
	switch {
	case passing(err):
		for t, in := range p.fresh {
			if !l.a.subs.granted(in) { // the others are tried again
				l.a.subs.settled(t, in, err)
			}
		}
		l.later()
		l.caughtUp()
	case len(p.fresh) > 1 && !errors.Is(err, errUnconfirmed):
		l.alone = true
	case len(p.fresh) > 0:
		for t, in := range p.fresh {
			l.refuse(t, in, err)
		}
	case l.current != nil: // it keeps telling more than is wanted
		l.current.topics = p.topics
	default:
		l.quiet, l.behind = true, false
	}
}

func (l *listener) later() {
	l.tries++
	l.retryAt = time.Now().Add(backoff(l.tries))
}

// open asks for a stream.
func (l *listener) open(ctx context.Context, topics map[upstream.Topic]*interest) *stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{
		acked: make(chan map[upstream.Topic]bool, 1), ended: make(chan struct{}),
		cancel: cancel, topics: maps.Clone(topics), opened: time.Now(),
	}
	l.a.subs.opening.Store(s)
	r := request{method: methodListen, params: listenParams(l.c.peer, topics), started: s.id.Store}
	l.wg.Go(func() {
		defer close(s.ended)
		ans, err := l.c.link.do(ctx, l.c.peer, r)
		if err == nil && ans.rpc != nil {
			err = judge(l.c, methodListen, ans.rpc)
		}
		s.err = err
	})
	return s
}

// confirmed waits for the acknowledgement and returns the topics it grants.
// Where nothing hangs on it, a server may do without.
func (l *listener) confirmed(ctx context.Context, s *stream, lenient bool) (map[upstream.Topic]bool, error) {
	defer l.a.subs.opening.Store(nil)
	t := time.NewTimer(subscribeTime)
	defer t.Stop()
	select {
	case granted := <-s.acked:
		return granted, nil
	case <-t.C:
		if lenient {
			return nil, nil
		}
		return nil, failure(upstream.UpstreamError, true, "it did not confirm the subscription", errUnconfirmed)
	case <-ctx.Done():
		return nil, ended(ctx, true)
	case <-s.ended:
	}
	select {
	case granted := <-s.acked: // the end is the next thing to be found out
		return granted, nil
	default:
	}
	if s.err != nil {
		return nil, s.err
	}
	return nil, failure(upstream.Unavailable, true, "it ended the stream of notifications", nil)
}

// retire closes the present stream once everything that was sent on it before
// the new one was confirmed must have come.
func (l *listener) retire(ctx context.Context) {
	s := l.current
	if s == nil {
		return
	}
	l.current = nil
	select {
	case l.linger <- struct{}{}:
	case <-ctx.Done():
	}
	l.wg.Go(func() {
		t := time.NewTimer(lingerTime)
		defer t.Stop()
		select {
		case <-s.ended:
			wake(l.gap)
		case <-t.C:
		case <-ctx.Done():
		}
		s.cancel()
		<-s.ended
		select {
		case <-l.linger:
		default:
		}
	})
}

// wait waits until there may be another plan. It returns false when there is
// nothing more to do.
func (l *listener) wait(ctx context.Context, change bool) bool {
	var at time.Time
	if l.behind {
		at = l.missed.last.Add(relistGap)
	}
	if change && (at.IsZero() || l.retryAt.Before(at)) {
		at = l.retryAt
	}
	var alarm <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(max(time.Until(at), time.Millisecond))
		defer t.Stop()
		alarm = t.C
	}
	var ended <-chan struct{}
	if l.current != nil {
		ended = l.current.ended
	}
	select {
	case <-ctx.Done():
		return false
	case <-l.a.subs.wake:
	case <-alarm:
		l.caughtUp()
	case <-l.gap:
		l.bridge()
	case <-ended:
		return l.lost(ctx)
	}
	return true
}

// bridge tells what may have been missed while one stream took the place of
// another.
func (l *listener) bridge() {
	l.behind = true
	l.caughtUp()
	if l.current != nil {
		for t, in := range l.current.topics {
			l.a.subs.settled(t, in, nil)
		}
	}
}

// lost takes notice that the present stream has ended by itself.
func (l *listener) lost(ctx context.Context) bool {
	s := l.current
	l.current = nil
	s.cancel()
	if ctx.Err() != nil {
		return false
	}
	if b := brokenBy(s.err); b != nil {
		l.a.board.report(l.c, s.err)
		return false
	}
	l.behind = true
	if time.Since(s.opened) >= steadyAfter {
		l.tries = 0
	}
	l.later()
	return true
}

// caughtUp has the lists read again that may have changed while no stream was
// open, but not too often.
func (l *listener) caughtUp() {
	if l.behind && l.missed.due() {
		l.a.news.changed(l.c.peer.offers.announced()...)
		l.behind = l.current == nil
	}
}
