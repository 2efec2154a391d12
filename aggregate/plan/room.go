package plan

import (
	"fmt"
	"sync"
)

// length is how many calls are made for a list.
type length struct {
	once  sync.Once
	known chan struct{} // closed when n is set
	n     int
}

// is says so, the first time that it is called.
func (l *length) is(n int) {
	if l != nil {
		l.once.Do(func() {
			l.n = n
			close(l.known)
		})
	}
}

// room returns why a list of n elements has no room among the calls that a plan may
// come to; "" if it has, which is all of it then. Lists are taken in the order of the
// plan, so that the same plan has the same calls each time: a list waits for the
// lengths of those before it, but only if it would not fit beside the longest.
func (r *run[R]) room(i, n int) string {
	single, longest := 0, 0
	var open []*length
	for j, l := range r.lists {
		switch {
		case l == nil:
			single++
		case j < i:
			open = append(open, l)
			longest += MaxItems
		}
	}
	left := MaxCalls - single
	for _, l := range open {
		if n+longest <= left {
			break
		}
		<-l.known // at the latest when its call ends, which does not need this one
		left -= l.n
		longest -= MaxItems
	}
	if n > left {
		return fmt.Sprintf("map: none of its %d calls was made: a plan may come to %d calls, and %d are left beside those before it; "+
			"split the list, or send this call with what it refers to as a plan of its own", n, MaxCalls, left)
	}
	r.lists[i].is(n)
	return ""
}
