package metrics

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// maxClients is how many clients are told apart by name, version and era.
const maxClients = 32

// other is what a client is called whose name is not told.
const other = "other"

// maxIdle is how many conversations are remembered in which nothing runs, because
// the next call of most comes soon.
const maxIdle = 1024

// clients counts which clients run calls beside each other.
type clients struct {
	mu      sync.Mutex
	running map[conversation]*running
	full    int // of how many conversations the idle ones are forgotten
	seen    map[client]*clientSeries
}

// running is what one conversation has running.
type running struct {
	in     *clients
	calls  int
	client client
	series *clientSeries
}

// conversation is whose calls are counted as beside each other: those of one
// connection; where a client has none, those of one user of one kind of client.
type conversation struct {
	principal upstream.Principal
	session   string
	name      string
}

// client is what a client says that it is.
type client struct {
	name, version string
	modern        bool
}

// clientSeries counts the calls of all clients that call themselves the same.
type clientSeries struct{ alone, beside, most int }

func newClients() clients {
	return clients{running: make(map[conversation]*running), full: maxIdle, seen: make(map[client]*clientSeries)}
}

func (s *clients) asked(r *aggregate.Request) (answered func()) {
	key, by := conversation{r.Principal, r.Session, r.Client}, client{r.Client, r.ClientVersion, r.Modern}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.running[key]
	if now == nil {
		if len(s.running) >= s.full {
			maps.DeleteFunc(s.running, func(_ conversation, r *running) bool { return r.calls == 0 })
			s.full = max(maxIdle, 2*len(s.running)) // so that it is seldom, however many are busy
		}
		now = &running{in: s}
		s.running[key] = now
	}
	if now.series == nil || now.client != by {
		now.client, now.series = by, s.seriesOf(by)
	}
	if now.calls++; now.calls == 1 {
		now.series.alone++
	} else {
		now.series.beside++
	}
	now.series.most = max(now.series.most, now.calls)
	return now.answered
}

func (r *running) answered() {
	r.in.mu.Lock()
	defer r.in.mu.Unlock()
	r.calls--
}

// seriesOf returns where a client is counted. s.mu is held.
func (s *clients) seriesOf(c client) *clientSeries {
	if known := s.seen[c]; known != nil {
		return known
	}
	c.name, c.version = plain(c.name), plain(c.version)
	if len(s.seen) >= maxClients && s.seen[c] == nil {
		c = client{name: other, version: other, modern: c.modern}
	}
	if s.seen[c] == nil {
		s.seen[c] = &clientSeries{}
	}
	return s.seen[c]
}

// plain returns what a client calls itself if that is short and harmless; else
// it is one of the others.
func plain(s string) string {
	const most = 64
	for _, b := range []byte(s) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		case b == ' ', b == '.', b == '-', b == '_', b == '/', b == '@', b == '+', b == '(', b == ')':
		default:
			return other
		}
	}
	if len(s) > most {
		return other
	}
	return s
}

// counted is what one client did.
type counted struct {
	client
	clientSeries
}

// all returns what was counted, sorted.
func (s *clients) all() []counted {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []counted
	for c, n := range maps.All(s.seen) {
		out = append(out, counted{c, *n})
	}
	slices.SortFunc(out, func(a, b counted) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.version, b.version), cmp.Compare(era(a.modern), era(b.modern)))
	})
	return out
}

func era(modern bool) string {
	if modern {
		return "modern"
	}
	return "legacy"
}
