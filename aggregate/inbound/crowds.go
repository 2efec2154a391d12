package inbound

import (
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// crowds admits modern requests over HTTP, which belong to no session: those of
// each principal apart, so that one cannot take the places of another.
type crowds struct {
	max int // of one principal

	mu sync.Mutex
	by map[upstream.Principal]*crowd // that have something under way
}

// crowd is what is under way for one principal.
type crowd struct {
	users          int // guarded by the mutex of the crowds
	calls, listens *session
}

func newCrowds(most int) *crowds {
	return &crowds{max: most, by: make(map[upstream.Principal]*crowd)}
}

// enter returns where the requests of p are admitted: calls, and subscriptions,
// which must not crowd out calls; leave must follow.
func (t *crowds) enter(p upstream.Principal) *crowd {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.by[p]
	if c == nil {
		c = &crowd{calls: &session{max: t.max, shared: true}, listens: &session{max: t.max, shared: true}}
		t.by[p] = c
	}
	c.users++
	return c
}

func (t *crowds) leave(p upstream.Principal, c *crowd) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.users--; c.users == 0 {
		delete(t.by, p)
	}
}
