package workload

import (
	"slices"
	"time"
)

// Critical is how long a plan takes at least, whatever it is carried out by and
// however much may run at once: the longest chain of calls that had to wait for
// each other. took is what each call took, 0 for one that was not made. Where
// nothing is limited it can be reached, so it is the optimum.
func (p *Plan) Critical(took []time.Duration) time.Duration {
	until := make([]time.Duration, len(p.Calls))
	for i := range p.Calls {
		for _, j := range p.before(i) {
			until[i] = max(until[i], until[j])
		}
		until[i] += took[i]
	}
	return slices.Max(until)
}

// InOrder is how long calls that need nothing of each other take at a source
// that takes slots at once, if they begin in the given order, each as soon as
// there is a place. Whoever does not know beforehand how long calls take can do
// no better on average than this with any order: among calls of which nothing
// is known, all orders are alike.
func InOrder(took []time.Duration, slots int) time.Duration {
	free := make([]time.Duration, slots)
	for _, d := range took {
		at := slices.Index(free, slices.Min(free))
		free[at] += d
	}
	return slices.Max(free)
}

// steps is how far [WithHindsight] looks before it takes the best it has seen.
const steps = 2_000_000

// WithHindsight is how long the same calls would take in the best order, which
// can be found only once it is known how long each takes. It is exact to one in
// a thousand where bound, below which no order comes, says so; found by branch
// and bound over which place takes which call, the longest calls first.
func WithHindsight(took []time.Duration, slots int) (best, bound time.Duration) {
	s := search{calls: slices.Clone(took), places: make([]time.Duration, slots), left: steps}
	slices.Sort(s.calls)
	slices.Reverse(s.calls)
	var sum time.Duration
	for _, d := range s.calls {
		sum += d
	}
	s.bound = max(s.calls[0], (sum+time.Duration(slots)-1)/time.Duration(slots))
	if len(s.calls) > slots { // two of the longest must share a place
		s.bound = max(s.bound, s.calls[slots-1]+s.calls[slots])
	}
	s.best = InOrder(s.calls, slots)
	s.place(0)
	return s.best, s.bound
}

type search struct {
	calls  []time.Duration // the longest first
	places []time.Duration // until when each is taken
	best   time.Duration
	bound  time.Duration
	left   int // steps
}

// place tries every place for call i and those after it.
func (s *search) place(i int) {
	if i == len(s.calls) {
		s.best = slices.Max(s.places)
		return
	}
	for at, taken := range s.places {
		if s.left--; s.left < 0 || s.best <= s.bound+s.bound/1000 {
			return
		}
		if taken+s.calls[i] >= s.best || slices.Contains(s.places[:at], taken) {
			continue // no better, or the same as a place before
		}
		s.places[at] += s.calls[i]
		s.place(i + 1)
		s.places[at] = taken
	}
}
