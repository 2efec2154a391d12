package gate

import (
	"container/list"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// crew is the calls of one plan at a bulkhead. One of them at a time waits in the
// queue; when it leaves that, the next of the plan takes its place at the end of
// their flow. So a plan is no more in the way of others than a client that makes
// its calls one after the other, and still has one there whenever a place is free.
type crew struct {
	running int       // have a place
	head    *waiter   // stands in the queue; nil if none has to wait
	behind  list.List // of *waiter
}

// waiter is a call that waits for a place. Its fields are guarded by the bulkhead's
// mu, but for the channels.
type waiter struct {
	plan    *upstream.Plan
	flow    string
	granted chan struct{}    // closed when it has a place
	first   chan struct{}    // closed when it stands in the queue; nil if it did from the beginning
	place   *list.Element    // behind others of its plan; nil when it stands in the queue
	ticket  *ticket[*waiter] // nil before that
	late    bool             // who stood before it has waited too long, and so has it; set before first is closed
}

// crew returns the crew of a plan, which is made if there is none. b.mu is held.
func (b *Bulkhead) crew(p *upstream.Plan) *crew {
	own := b.crews[p]
	if own == nil {
		own = &crew{}
		if b.crews == nil {
			b.crews = make(map[*upstream.Plan]*crew)
		}
		b.crews[p] = own
	}
	return own
}

// count notes that so many more calls of a plan have a place. b.mu is held.
func (b *Bulkhead) count(p *upstream.Plan, more int) {
	if p != nil {
		b.crew(p).running += more
		b.tidy(p)
	}
}

// tidy forgets a crew of which nothing is left. b.mu is held.
func (b *Bulkhead) tidy(p *upstream.Plan) {
	if own := b.crews[p]; own != nil && own.running == 0 && own.head == nil {
		delete(b.crews, p)
	}
}

// stand puts a waiter into the queue. b.mu is held.
func (b *Bulkhead) stand(w *waiter) {
	w.ticket = b.waiting.push(w.flow, w, 1)
	if w.plan != nil {
		b.crew(w.plan).head = w
	}
}

// tooLate has all leave that stand behind others of a plan of which nothing is under
// way, because one of them has waited too long: none has waited for less. b.mu is held.
func (b *Bulkhead) tooLate(own *crew) {
	b.behind -= own.behind.Len()
	for e := own.behind.Front(); e != nil; e = own.behind.Front() {
		w := own.behind.Remove(e).(*waiter)
		w.place, w.late = nil, true
		close(w.first)
	}
}

// succeed has the next of its plan stand in the queue behind who is about to leave
// that, so that their flow does not come anew. b.mu is held.
func (b *Bulkhead) succeed(w *waiter) {
	own := b.crews[w.plan]
	if own == nil || own.head != w {
		return
	}
	own.head = nil
	if e := own.behind.Front(); e != nil {
		next := own.behind.Remove(e).(*waiter)
		b.behind--
		next.place = nil
		b.stand(next)
		close(next.first)
	}
	b.tidy(w.plan)
}
