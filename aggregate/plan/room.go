package plan

import (
	"fmt"
	"sync"
)

// room is what is left of the calls that a plan may come to.
type room struct {
	mu   sync.Mutex
	left int
	asks []chan struct{} // of each call that is made for a list: closed when it has asked, or ended; nil for others
}

func roomOf(p *Plan) *room {
	m := &room{left: MaxCalls, asks: make([]chan struct{}, len(p.Nodes))}
	for i := range p.Nodes {
		if p.Nodes[i].Mapped() {
			m.asks[i] = make(chan struct{})
		} else {
			m.left--
		}
	}
	return m
}

// take returns why a list of n elements has no room; "" if it has, which is all of
// it then.
func (m *room) take(n int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.left {
		return fmt.Sprintf("map: there is no room for its %d calls: a plan may come to %d, and %d are left beside the others; "+
			"split the list, or send this call with what it refers to as a plan of its own", n, MaxCalls, m.left)
	}
	m.left -= n
	return ""
}

// takeRoom asks for room for the list of node i. Of lists that are there at the same time
// those that stand before it in the plan come first, so that the same plan has the
// same calls each time. None waits for one that is not there yet.
func (r *run[R]) takeRoom(i, n int) string {
	for j, asked := range r.room.asks[:i] {
		if asked != nil && r.ready(j) {
			<-asked // nothing else keeps it
		}
	}
	return r.room.take(n)
}

// ready reports whether what node i waits for has ended.
func (r *run[R]) ready(i int) bool {
	for _, before := range [][]int{r.plan.Nodes[i].needs, r.plan.Nodes[i].order} {
		for _, j := range before {
			select {
			case <-r.ended[j]:
			default:
				return false
			}
		}
	}
	return true
}
