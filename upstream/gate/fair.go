package gate

import (
	"container/heap"
	"container/list"
)

// fair is a queue that takes turns between flows: start-time fair queueing
// (Goyal, Vin and Cheng, 1996) over whoever is waiting. A flow that leaves many
// waiters behind delays another's single waiter by what is being served, not by
// all of them. It is not safe for concurrent use. The zero value is ready for
// use.
//
// Time is counted in the cost that each flow has been served. A waiter has a
// start: where its flow stands once those before it are served; who has the
// least is next. A flow that comes anew starts a little after the present, which
// is before those that have just had their turn, so that whoever asks seldom
// hardly waits.
type fair[T any] struct {
	flows  map[string]*flow[T]
	turns  turns[T]  // the flows with waiters
	idle   list.List // of *flow[T] without, the one that left the queue first in front
	now    float64   // the start of who was taken last
	pushes uint64
	size   int
	cost   float64 // of all waiters
}

// flow is the waiters of one session, oldest first.
type flow[T any] struct {
	key     string
	waiters list.List // of *ticket[T]
	start   float64   // of the first waiter, or of the next one to come
	cost    float64   // of its waiters
	since   uint64    // orders flows of the same start
	turn    int       // in turns; -1 without waiters
	idle    *list.Element
}

// ticket is one waiter's place.
type ticket[T any] struct {
	value T
	cost  float64
	flow  *flow[T]
	place *list.Element // nil once it has left the queue
}

// newcomer is how far after the present a flow starts that comes anew: less
// than the cost of an ordinary call, so that it comes before a flow that had its
// turn; more than nothing, so that one newcomer after the other keeps nobody
// waiting for ever.
const newcomer = 0.5

// push adds a waiter at the end of its flow.
func (q *fair[T]) push(key string, value T, cost float64) *ticket[T] {
	f := q.flows[key]
	if f == nil {
		if q.flows == nil {
			q.flows = make(map[string]*flow[T])
		}
		f = &flow[T]{key: key, turn: -1}
		q.flows[key] = f
	}
	t := &ticket[T]{value: value, cost: cost, flow: f}
	t.place = f.waiters.PushBack(t)
	q.size++
	q.cost += cost
	f.cost += cost
	if f.turn < 0 {
		if f.idle != nil {
			q.idle.Remove(f.idle)
			f.idle = nil
		}
		f.start = max(f.start, q.now+newcomer)
		q.stamp(f)
		heap.Push(&q.turns, f)
	}
	return t
}

// stamp puts a flow behind the others of its start.
func (q *fair[T]) stamp(f *flow[T]) {
	q.pushes++
	f.since = q.pushes
}

// next returns the waiter whose turn it is, which stays in the queue; nil if
// there is none.
func (q *fair[T]) next() *ticket[T] {
	if len(q.turns) == 0 {
		return nil
	}
	return q.turns[0].first()
}

// take removes the waiter that next has returned, at the expense of its flow.
func (q *fair[T]) take(t *ticket[T]) {
	f := t.flow
	q.now = max(q.now, f.start)
	f.start += t.cost
	q.stamp(f)
	q.remove(t)
}

// remove takes a waiter out wherever it stands. It reports false if it has left
// the queue before.
func (q *fair[T]) remove(t *ticket[T]) bool {
	if t.place == nil {
		return false
	}
	f := t.flow
	f.waiters.Remove(t.place)
	t.place = nil
	q.size--
	q.cost -= t.cost
	f.cost -= t.cost
	if f.waiters.Len() > 0 {
		heap.Fix(&q.turns, f.turn)
		return true
	}
	f.cost = 0 // sums of fractions do not come out even
	heap.Remove(&q.turns, f.turn)
	f.idle = q.idle.PushBack(f)
	q.forget()
	return true
}

// forget drops the flows whose past makes no difference any more.
func (q *fair[T]) forget() {
	if q.size == 0 {
		*q = fair[T]{}
		return
	}
	for e := q.idle.Front(); e != nil; e = q.idle.Front() {
		f := e.Value.(*flow[T])
		if f.start > q.now+newcomer {
			return
		}
		q.idle.Remove(e)
		delete(q.flows, f.key)
	}
}

// ahead returns about the cost that is spent before t is taken, t's own not
// included, if nobody else comes or leaves.
func (q *fair[T]) ahead(t *ticket[T]) float64 {
	own := 0.0
	for e := t.flow.waiters.Front(); e != nil && e != t.place; e = e.Next() {
		own += e.Value.(*ticket[T]).cost
	}
	start := t.flow.start + own
	sum := own
	for _, f := range q.turns {
		if f != t.flow && f.start <= start {
			sum += min(f.cost, start-f.start+f.first().cost)
		}
	}
	return sum
}

func (f *flow[T]) first() *ticket[T] { return f.waiters.Front().Value.(*ticket[T]) }

// turns is a heap of flows, the one whose turn it is first.
type turns[T any] []*flow[T]

// Len implements heap.Interface.
func (h turns[T]) Len() int { return len(h) }

// Less implements heap.Interface.
func (h turns[T]) Less(i, j int) bool {
	if h[i].start != h[j].start {
		return h[i].start < h[j].start
	}
	return h[i].since < h[j].since
}

// Swap implements heap.Interface.
func (h turns[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].turn, h[j].turn = i, j
}

// Push implements heap.Interface.
func (h *turns[T]) Push(x any) {
	f := x.(*flow[T])
	f.turn = len(*h)
	*h = append(*h, f)
}

// Pop implements heap.Interface.
func (h *turns[T]) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	f.turn = -1
	return f
}
