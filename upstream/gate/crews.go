package gate

import (
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// crews are the calls of plans that wait for one queue, by plan, oldest first. The
// first of a plan stands in the queue; when it leaves that, the next takes its place
// at the end. So a plan is no more in the way of others than a client that makes its
// calls one after the other, and still has one there whenever its turn comes. Calls of
// no plan stand in the queue each by itself, and are not noted.
//
// The queue itself is the caller's. T is what waits in it. It is not safe for
// concurrent use.
type crews[T any] map[*upstream.Plan][]*T

// join notes who begins to wait, and reports whether it stands in the queue at once.
func (c crews[T]) join(p *upstream.Plan, w *T) bool {
	if p == nil {
		return true
	}
	c[p] = append(c[p], w)
	return len(c[p]) == 1
}

// leave forgets who waits no more, wherever it stood. If that was in the queue it
// returns who stands there from now on; nil if nobody does, or if it was not noted.
func (c crews[T]) leave(p *upstream.Plan, w *T) *T {
	i := slices.Index(c[p], w)
	switch {
	case i < 0:
		return nil
	case len(c[p]) == 1:
		delete(c, p)
		return nil
	}
	c[p] = slices.Delete(c[p], i, i+1)
	if i > 0 {
		return nil
	}
	return c[p][0]
}

// behind returns how many wait that do not stand in the queue.
func (c crews[T]) behind() (n int) {
	for _, own := range c {
		n += len(own) - 1
	}
	return n
}

// tally counts calls by plan. Those of no plan are not counted.
type tally map[*upstream.Plan]int

func (t tally) add(p *upstream.Plan, more int) {
	if p == nil {
		return
	}
	if t[p] += more; t[p] == 0 {
		delete(t, p)
	}
}
