package gate

import (
	"slices"
	"time"
)

const (
	samples = 128 // of one tool, the latest
	enough  = 20  // samples before p95 means anything
)

// latencies are the latest of one tool.
type latencies struct {
	ring  [samples]time.Duration
	n     int // ever added
	known time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.ring[l.n%samples] = d
	l.n++
	if l.n >= enough && l.n%(enough/2) == 0 {
		sorted := slices.Sorted(slices.Values(l.ring[:min(l.n, samples)]))
		l.known = sorted[len(sorted)*95/100] + 1 // later than that
	}
}

func (l *latencies) p95() time.Duration { return l.known }
