package aggregate

import (
	"slices"
	"sync"
)

// maxClients is how many names of hosts are remembered.
const maxClients = 8

// clients remembers which hosts have asked for a list last, as every one does
// first. The zero value is ready for use.
type clients struct {
	mu    sync.Mutex
	names []string // the latest is last
}

func (c *clients) seen(name string) {
	if name == "" {
		return
	}
	name = Printable(name, 100)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.names); n > 0 && c.names[n-1] == name {
		return
	}
	c.names = slices.DeleteFunc(c.names, func(known string) bool { return known == name })
	if len(c.names) == maxClients {
		c.names = slices.Delete(c.names, 0, 1)
	}
	c.names = append(c.names, name)
}

// Clients returns the names of the hosts that have asked for a list since the
// start, as they call themselves; the latest few, the latest last.
func (a *Aggregate) Clients() []string {
	a.clients.mu.Lock()
	defer a.clients.mu.Unlock()
	return slices.Clone(a.clients.names)
}
