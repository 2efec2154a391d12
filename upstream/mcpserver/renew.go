package mcpserver

import (
	"context"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	subscribeTime  = 10 * time.Second // for one answer
	subscribeCount = 8                // requests at the same time
)

// renewer brings about on one connection to a legacy server what is wanted, by
// one request for each resource (MCP 2025-11-25, resources, §Subscriptions).
// One goroutine owns it.
type renewer struct {
	a       *Adapter
	c       *conn
	topics  map[upstream.Topic]*renewal
	queue   []upstream.Topic // to be looked at again
	running int
	done    chan outcome
	tries   int              // that failed for the time being
	again   <-chan time.Time // when what failed so is tried again; nil if nothing is
}

// renewal is how a topic stands on this connection.
type renewal struct {
	in   *interest // that was settled last
	on   bool      // the server has agreed to it
	busy bool      // in the queue, or a request is under way
}

// outcome is the outcome of one request.
type outcome struct {
	topic upstream.Topic
	in    *interest // nil: it was unsubscribed
	err   error
}

func newRenewer(a *Adapter, c *conn) *renewer {
	return &renewer{a: a, c: c, topics: map[upstream.Topic]*renewal{}, done: make(chan outcome)}
}

func (r *renewer) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for r.plan(); ; {
		for r.running < subscribeCount && len(r.queue) > 0 {
			t := r.queue[0]
			r.queue = r.queue[1:]
			r.next(ctx, &wg, t)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.a.subs.wake:
			r.plan()
		case <-r.again:
			r.again = nil
			r.plan()
		case out := <-r.done:
			r.running--
			if ctx.Err() == nil {
				r.finished(out)
			}
		}
	}
}

// plan queues every topic that is not as it is wanted.
func (r *renewer) plan() {
	wanted := r.a.subs.current()
	for t, in := range wanted {
		n := r.topics[t]
		if n == nil {
			n = &renewal{}
			r.topics[t] = n
		}
		if n.in != in && !n.busy {
			n.busy = true
			r.queue = append(r.queue, t)
		}
	}
	for t, n := range r.topics {
		if wanted[t] == nil && !n.busy {
			n.busy = true
			r.queue = append(r.queue, t)
		}
	}
}

// next brings one topic a step closer to what is wanted.
func (r *renewer) next(ctx context.Context, wg *sync.WaitGroup, t upstream.Topic) {
	n := r.topics[t]
	in := r.a.subs.of(t)
	switch {
	case in == nil && !n.on:
		delete(r.topics, t)
	case in == nil:
		r.send(ctx, wg, t, nil)
	case n.in == in:
		n.busy = false
	case n.on: // it was wanted again before it was given up
		n.in, n.busy = in, false
		r.a.subs.settled(t, in, nil)
	default:
		if err := r.c.peer.refuses(t); err != nil { // the server is another one by now
			n.in, n.busy = in, false
			r.a.subs.settled(t, in, err)
			return
		}
		r.send(ctx, wg, t, in)
	}
}

func (r *renewer) send(ctx context.Context, wg *sync.WaitGroup, t upstream.Topic, in *interest) {
	method := methodSubscribe
	if in == nil {
		method = methodUnsubscribe
	}
	req := request{method: method, params: ownParams(`"uri":`+string(rawjson.Quote(t.Key)), r.c.peer.meta)}
	r.running++
	wg.Go(func() {
		limited, cancel := context.WithTimeout(ctx, subscribeTime)
		defer cancel()
		ans, err := r.c.link.do(limited, r.c.peer, req)
		if err == nil && ans.rpc != nil {
			err = judge(r.c, method, ans.rpc)
		}
		select {
		case r.done <- outcome{t, in, err}:
		case <-ctx.Done():
		}
	})
}

func (r *renewer) finished(out outcome) {
	n := r.topics[out.topic]
	if brokenBy(out.err) != nil {
		r.a.board.report(r.c, out.err) // the next connection takes it up again
		return
	}
	n.on = out.in != nil && out.err == nil
	n.busy = false
	switch {
	case out.in == nil && out.err != nil:
		r.a.opt.Log.Debug("unsubscribing failed", "upstream", r.a.opt.ID, "error", out.err)
	case out.in == nil:
	case out.err != nil && passing(out.err) && r.a.subs.granted(out.in): // nobody waits for it
		r.a.opt.Log.Debug("renewing a subscription failed, it is tried again", "upstream", r.a.opt.ID, "error", out.err)
		if r.again == nil {
			r.tries++
			r.again = time.After(backoff(r.tries))
		}
	default:
		n.in = out.in
		r.a.subs.settled(out.topic, out.in, out.err)
	}
	if in := r.a.subs.of(out.topic); in != out.in || in == nil {
		n.busy = true
		r.queue = append(r.queue, out.topic)
	}
}
