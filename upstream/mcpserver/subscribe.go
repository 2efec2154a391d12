package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const maxTopics = 10_000 // subscribed at one upstream at the same time

// subscriptions are what is to be told by the upstream. They outlive every
// connection; whoever attends to one sees to it that the server knows them: a
// [renewer] in the legacy era, a [listener] in the modern one.
type subscriptions struct {
	opt  *Options
	news *news
	wake chan struct{} // capacity 1: wanted has changed
	// opening is the stream whose acknowledgement is awaited; nil if none.
	opening atomic.Pointer[stream]

	mu     sync.Mutex
	wanted map[upstream.Topic]*interest
}

// interest is one topic from Subscribe to Unsubscribe. What is in it is guarded
// by the mutex of the subscriptions, err also by settled.
type interest struct {
	waiters int
	granted bool
	settled chan struct{} // closed once the server has agreed or refused
	err     error
}

func newSubscriptions(o *Options, n *news) *subscriptions {
	return &subscriptions{opt: o, news: n, wake: make(chan struct{}, 1), wanted: map[upstream.Topic]*interest{}}
}

// Subscribe implements [upstream.Subscriber]. It waits for a connection like a
// call. What has been granted is renewed with every connection, and a resource
// whose updates may have been missed in between is told as updated.
func (a *Adapter) Subscribe(ctx context.Context, t upstream.Topic) error {
	if !a.enter() {
		return named(a, failure(upstream.Unavailable, false, "it is shut down", errStopped), "", methodSubscribe)
	}
	defer a.calls.Done()
	if err := a.subs.subscribe(ctx, a.board, t); err != nil {
		return named(a, err, "", methodSubscribe)
	}
	return nil
}

func (s *subscriptions) subscribe(ctx context.Context, b *board, t upstream.Topic) error {
	c, err := b.await(ctx)
	if err != nil {
		return err
	}
	if err := c.peer.refuses(t); err != nil {
		return err
	}
	in := s.want(t)
	if in == nil {
		return failure(upstream.Overloaded, false, "too many of its resources are subscribed to", nil)
	}
	defer s.leave(t, in)
	for {
		now := b.state.Load()
		select {
		case <-in.settled:
			return in.err
		case <-ctx.Done():
			return ended(ctx, true)
		case <-now.next: // the connection has come or gone
			if _, err := b.await(ctx); err != nil {
				return err
			}
		}
	}
}

// Unsubscribe implements [upstream.Subscriber].
func (a *Adapter) Unsubscribe(t upstream.Topic) { a.subs.forget(t) }

// refuses says why the changes of a topic cannot be told, as far as the server
// has declared it.
func (p *peer) refuses(t upstream.Topic) error {
	switch {
	case t.Note == upstream.NoteUpdated && p.offers.subscribe:
	case t.Note == upstream.NoteTask && p.modern && p.offers.extension(extTasks):
	case t.Note == upstream.NoteUpdated || t.Note == upstream.NoteTask:
		return failure(upstream.Denied, false, "it does not announce changes of the kind", nil)
	default:
		return failure(upstream.NotFound, false, "there is no such notification to subscribe to", nil)
	}
	return nil
}

// want notes that t is wanted; nil if too much is. Whoever waits for the answer
// calls leave afterwards.
func (s *subscriptions) want(t upstream.Topic) *interest {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.wanted[t]
	if in == nil {
		if len(s.wanted) >= maxTopics {
			return nil
		}
		in = &interest{settled: make(chan struct{})}
		s.wanted[t] = in
		wake(s.wake)
	}
	in.waiters++
	return in
}

// leave ends a wait: nobody wants what the last one has given up.
func (s *subscriptions) leave(t upstream.Topic, in *interest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.waiters--; in.waiters == 0 && !in.granted && s.wanted[t] == in {
		delete(s.wanted, t)
		wake(s.wake)
	}
}

func (s *subscriptions) forget(t upstream.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.wanted[t]
	if in == nil {
		return
	}
	delete(s.wanted, t)
	if !in.granted {
		in.settle(failure(upstream.Cancelled, true, "", errors.New("unsubscribed in the meantime")))
	}
	wake(s.wake)
}

// settle answers those who wait. It is called once.
func (in *interest) settle(err error) {
	in.granted, in.err = err == nil, err
	close(in.settled)
}

// current returns a copy of what is wanted.
func (s *subscriptions) current() map[upstream.Topic]*interest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.wanted)
}

// of returns what is wanted of t; nil if it is not.
func (s *subscriptions) of(t upstream.Topic) *interest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted[t]
}

// granted reports whether a server has agreed to in at some time.
func (s *subscriptions) granted(in *interest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return in.granted
}

// settle notes what a server said to a topic. It reports whether the topic had
// been granted before, by an earlier stream or connection.
func (s *subscriptions) settle(t upstream.Topic, in *interest, err error) (renewed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-in.settled:
		return in.granted
	default:
	}
	if in.settle(err); err != nil && s.wanted[t] == in {
		delete(s.wanted, t)
	}
	return false
}

// settled is settle with its consequences: a subscription that could not be
// renewed is logged, and of one that was, an update may have been missed.
func (s *subscriptions) settled(t upstream.Topic, in *interest, err error) {
	if !s.settle(t, in, err) {
		return
	}
	if err != nil {
		s.opt.Log.Warn("a subscription could not be renewed, its changes are not told",
			"upstream", s.opt.ID, "notification", t.Note, "of", escape(bounded(t.Key, 200)), "error", err)
		return
	}
	s.missed(t)
}

// missed tells a resource as updated.
func (s *subscriptions) missed(t upstream.Topic) {
	if tell := s.news.tell.Load(); tell != nil && tell.Note != nil && t.Note == upstream.NoteUpdated {
		tell.Note(t.Note, json.RawMessage(`{"uri":`+string(rawjson.Quote(t.Key))+`}`))
	}
}

// retell tells every resource as updated that a server has agreed to tell.
func (s *subscriptions) retell() {
	for t, in := range s.current() {
		if s.granted(in) {
			s.missed(t)
		}
	}
}

// acknowledged takes what a modern server says first on a stream.
func (s *subscriptions) acknowledged(msg []byte) {
	st := s.opening.Load()
	params, _ := rawjson.Get(msg, "params")
	if st == nil || rawjson.Check(params, rawjson.Limits{}) != nil {
		return
	}
	meta, _ := rawjson.Get(params, "_meta")
	// Some servers leave the id out; there is only one stream that can be meant.
	if raw, ok := rawjson.Get(meta, mcp.MetaKeySubscriptionID); ok {
		if id, ok := parseID(raw); !ok || id != st.id.Load() {
			return
		}
	}
	granted, _ := rawjson.Get(params, "notifications")
	select {
	case st.acked <- readFilter(granted):
	default: // it has said so before
	}
}
