// Package drift remembers what was noticed to be different at a source: since when,
// until it is as before, and whether the log has had it lately.
//
// It owns that a difference is remembered once, that their number is bounded, and
// that each is to be logged once an hour at most however often it comes and goes. It
// must not know how differences are found, nor write to a log.
package drift

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	// quiet is how long after it was logged a difference is not logged again.
	quiet = time.Hour
	// crowd is how many differences are logged in that time, for each that is
	// remembered at most: their texts may be the source's, and ever others.
	crowd = 5
)

// Difference is one of a source: see [upstream.Drift].
type Difference struct {
	Tool, Field, Problem string
	// Why is told with the problem. Two that differ in nothing else are the same.
	Why string
}

// is reports whether two are the same.
func (d Difference) is(o Difference) bool {
	return d.Tool == o.Tool && d.Field == o.Field && d.Problem == o.Problem
}

// Known are the differences that are remembered. It is safe for concurrent use.
type Known struct {
	most  int
	lasts time.Duration
	len   atomic.Int32

	mu     sync.Mutex
	notes  []*note                  // the oldest first
	logged map[Difference]time.Time // when each was last, within quiet; none has a Why
}

type note struct {
	Difference
	since, seen time.Time // at first and at last
}

// New returns an empty memory of most differences, beyond which none is taken. Each
// is forgotten when it ends or was not seen for longer than lasts; 0 is never.
func New(most int, lasts time.Duration) *Known { return &Known{most: most, lasts: lasts} }

// Any reports whether a difference is remembered. It costs next to nothing.
func (k *Known) Any() bool { return k.len.Load() > 0 }

// Note remembers a difference that is seen now, and reports whether it is to be
// logged: if it has begun, and was not logged within the hour.
func (k *Known) Note(d Difference) bool { return len(k.merge([]Difference{d}, nil)) > 0 }

// Set takes all that is different in a tool now: what else was has ended. It returns
// what is to be logged, as [Known.Note] does.
func (k *Known) Set(tool string, found []Difference) []Difference {
	return k.merge(found, func(d Difference) bool { return d.Tool == tool && !slices.ContainsFunc(found, d.is) })
}

// End forgets differences: it is as before.
func (k *Known) End(ended func(Difference) bool) {
	if k.Any() {
		k.merge(nil, ended)
	}
}

// merge forgets what has ended, takes what was found and returns what is to be logged
// of it.
func (k *Known) merge(found []Difference, ended func(Difference) bool) (begun []Difference) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.notes = slices.DeleteFunc(k.notes, func(n *note) bool {
		return k.over(n, now) || ended != nil && ended(n.Difference)
	})
	for _, d := range found {
		i := slices.IndexFunc(k.notes, func(n *note) bool { return n.is(d) })
		switch {
		case i >= 0:
			k.notes[i].seen = now
		case len(k.notes) < k.most:
			k.notes = append(k.notes, &note{d, now, now})
			if k.say(d, now) {
				begun = append(begun, d)
			}
		}
	}
	k.len.Store(int32(len(k.notes))) //nolint:gosec // at most most
	return begun
}

// say reports whether a difference is to be logged now.
func (k *Known) say(d Difference, now time.Time) bool {
	d.Why = ""
	maps.DeleteFunc(k.logged, func(_ Difference, at time.Time) bool { return now.Sub(at) >= quiet })
	if _, lately := k.logged[d]; lately || len(k.logged) >= crowd*k.most {
		return false
	}
	if k.logged == nil {
		k.logged = make(map[Difference]time.Time)
	}
	k.logged[d] = now
	return true
}

// over reports whether a difference was not seen for too long.
func (k *Known) over(n *note, now time.Time) bool { return k.lasts > 0 && now.Sub(n.seen) > k.lasts }

// List returns what is remembered, the oldest first; nil if that is nothing.
func (k *Known) List() []upstream.Drift {
	if !k.Any() {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []upstream.Drift
	now := time.Now()
	for _, n := range k.notes {
		if k.over(n, now) {
			continue
		}
		d := upstream.Drift{Tool: n.Tool, Field: n.Field, Problem: n.Problem, Since: n.since}
		if n.Why != "" {
			d.Problem += ": " + n.Why
		}
		out = append(out, d)
	}
	return out
}
