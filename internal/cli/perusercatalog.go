package cli

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// userCatalog chooses the connection over which the lists of a source are read that
// each user has a connection to: the operator's, or else that of whoever was
// there first. Without any, what was read last stays.
type userCatalog struct {
	began time.Time

	mu      sync.Mutex
	tell    upstream.Events
	links   []*userLink // that have connected at least once, oldest first
	current *userLink
	reached bool // ever
}

func (c *userCatalog) listen(tell upstream.Events) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell = tell
}

// reading returns the connection that lists are read over; nil if there is none.
func (c *userCatalog) reading() *userLink {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// changed notes that something may have changed at a connection, and reports
// whether that is everybody's affair.
func (c *userCatalog) changed(l *userLink, list upstream.List) bool {
	c.mu.Lock()
	if !slices.Contains(c.links, l) {
		c.links = append(c.links, l)
	}
	c.reached = true
	if c.current == nil || l.operator && c.current != l {
		c.current, list = l, ""
	}
	tell, mine := c.tell, c.current == l
	c.mu.Unlock()
	if mine {
		tell.Change(list)
	}
	return mine
}

// gone notes that a connection is closed for good.
func (c *userCatalog) gone(l *userLink) {
	c.mu.Lock()
	c.links = slices.DeleteFunc(c.links, func(o *userLink) bool { return o == l })
	var tell upstream.Events
	if c.current == l {
		c.current = nil
		if len(c.links) > 0 {
			c.current, tell = c.links[0], c.tell
		}
	}
	c.mu.Unlock()
	tell.Change("")
}

// note hands on what is told over a connection beside any call: that somebody is
// done at an address goes to whoever was sent there, whosever connection it is;
// the rest is heard from the one connection only.
func (c *userCatalog) note(l *userLink, method string, params json.RawMessage) {
	c.mu.Lock()
	note := c.tell.Note
	if method != upstream.NoteElicited && l != c.current {
		note = nil
	}
	c.mu.Unlock()
	if note != nil {
		note(method, params)
	}
}

// looksAt is how many connections tell how the source is.
const looksAt = 8

// health is how the source is, as far as that is known: it is down only if every
// connection says so that was looked at, because one user's trouble may be his
// own. Without any connection it is as it was last seen, which is well.
func (c *userCatalog) health() upstream.Health {
	c.mu.Lock()
	var links []*userLink
	h := upstream.Health{State: upstream.Connecting, Since: c.began}
	if c.reached {
		h.State = upstream.Up
	}
	if c.current != nil {
		links = append([]*userLink{c.current}, c.links[max(len(c.links)-looksAt, 0):]...)
	}
	c.mu.Unlock()
	for i, l := range links {
		if now := l.adapter.Health(); i == 0 || now.State == upstream.Up {
			h = now
		}
		if h.State == upstream.Up {
			break
		}
	}
	return h
}
