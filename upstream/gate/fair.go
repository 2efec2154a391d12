package gate

import "container/list"

// fair is a queue that takes turns between flows: deficit round robin
// (Shreedhar and Varghese, 1995) over whoever is waiting. A flow that leaves
// many waiters behind delays another's single waiter by one turn, not by all of
// them. It is not safe for concurrent use. The zero value is ready for use.
type fair[T any] struct {
	flows map[string]*flow[T]
	ring  list.List // of *flow[T] with waiters, the one whose turn it is first
	size  int
	cost  float64 // of all waiters
}

// flow is the waiters of one session, oldest first.
type flow[T any] struct {
	key     string
	waiters list.List // of *ticket[T]
	deficit float64   // what it may spend in its turn
	turn    *list.Element
}

// ticket is one waiter's place.
type ticket[T any] struct {
	value T
	cost  float64
	flow  *flow[T]
	place *list.Element // nil once it has left the queue
}

// quantum is what a flow may spend in one turn. Costs are counted in calls, so
// it is the cost of an ordinary one.
const quantum = 1

// push adds a waiter at the end of its flow.
func (q *fair[T]) push(key string, value T, cost float64) *ticket[T] {
	f := q.flows[key]
	if f == nil {
		if q.flows == nil {
			q.flows = make(map[string]*flow[T])
		}
		f = &flow[T]{key: key}
		q.flows[key] = f
		f.turn = q.ring.PushBack(f)
	}
	t := &ticket[T]{value: value, cost: cost, flow: f}
	t.place = f.waiters.PushBack(t)
	q.size++
	q.cost += cost
	return t
}

// next returns the waiter whose turn it is, which stays in the queue; nil if
// there is none.
func (q *fair[T]) next() *ticket[T] {
	for {
		front := q.ring.Front()
		if front == nil {
			return nil
		}
		f := front.Value.(*flow[T])
		t := f.waiters.Front().Value.(*ticket[T])
		if f.deficit >= t.cost || q.ring.Len() == 1 {
			return t
		}
		f.deficit += quantum
		if f.deficit >= t.cost {
			return t
		}
		q.ring.MoveToBack(front)
	}
}

// take removes the waiter that next has returned, at the expense of its flow.
func (q *fair[T]) take(t *ticket[T]) {
	f := t.flow
	f.deficit = max(f.deficit-t.cost, 0)
	turn := f.turn
	q.remove(t)
	if f.turn != nil && f.deficit < f.waiters.Front().Value.(*ticket[T]).cost {
		q.ring.MoveToBack(turn)
	}
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
	if f.waiters.Len() == 0 { // an idle flow saves nothing up
		q.ring.Remove(f.turn)
		f.turn = nil
		delete(q.flows, f.key)
	}
	if q.size == 0 {
		q.cost = 0 // sums of fractions do not come out even
	}
	return true
}

// ahead returns an upper bound of the cost that is spent before t is taken, t's
// own not included: each other flow spends at most what t's flow does, and a
// turn.
func (q *fair[T]) ahead(t *ticket[T]) float64 {
	own := 0.0
	for e := t.flow.waiters.Front(); e != nil; e = e.Next() {
		w := e.Value.(*ticket[T])
		if w == t {
			break
		}
		own += w.cost
	}
	others := q.cost - t.flow.total()
	share := float64(q.ring.Len()-1) * (own + t.cost + quantum)
	return own + min(others, share)
}

func (f *flow[T]) total() float64 {
	sum := 0.0
	for e := f.waiters.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*ticket[T]).cost
	}
	return sum
}
