package inbound

import (
	"sync"
	"time"
)

// group counts what is under way and can be closed. Unlike a WaitGroup it may
// be entered while somebody waits, and the wait can be given up. Its goroutines
// wait a moment for the next thing to do: their stacks have grown by then.
type group struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // made by close; closed when closed and n is 0
	work   chan func()   // made by the first run; taken by goroutines that wait
	over   chan struct{} // made with work; closed by close
}

// lull is how long a goroutine waits for the next thing to do, at least.
const lull = time.Second

// enter reports false if the group is closed.
func (g *group) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.n++
	return true
}

func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	if g.closed && g.n == 0 {
		close(g.idle)
	}
}

// close lets nobody in any more and returns a channel that is closed when all
// have left.
func (g *group) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		g.idle = make(chan struct{})
		if g.over != nil {
			close(g.over)
		}
		if g.n == 0 {
			close(g.idle)
		}
	}
	return g.idle
}

// run has f run in a goroutine of the group, if the group is open.
func (g *group) run(f func()) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	if g.work == nil {
		g.work, g.over = make(chan func()), make(chan struct{})
	}
	g.n++
	g.mu.Unlock()
	select {
	case g.work <- f:
	default:
		go g.serve(f)
	}
}

// serve runs f, and what comes until nothing has come for a while. The timer is
// left running meanwhile: setting it for each thing would cost more than some of
// them do.
func (g *group) serve(f func()) {
	timer := time.NewTimer(lull)
	defer timer.Stop()
	for busy := true; ; {
		if f != nil {
			g.do(f)
			busy = true
		}
		select {
		case f = <-g.work:
		case <-g.over:
			return
		case <-timer.C:
			if !busy {
				return
			}
			f, busy = nil, false
			timer.Reset(lull)
		}
	}
}

func (g *group) do(f func()) {
	defer g.leave()
	f()
}
