package workload

import (
	"math/rand/v2"
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

// Paced is how long a list and the calls for its rows take at a source with a
// limit of calls begun, with the rows in the given order: a bucket that is full
// at the start and gains one call every gap.
func Paced(list time.Duration, rows []time.Duration, l Limit) time.Duration {
	held := min(float64(l.Burst), float64(l.Burst-1)+float64(list)/float64(l.Gap))
	var last time.Duration
	for i, d := range rows {
		begins := time.Duration(max(0, float64(i+1)-held) * float64(l.Gap))
		last = max(last, begins+d)
	}
	return list + last
}

// byChance is what calls take in many orders.
func byChance(rows []time.Duration, takes func([]time.Duration) time.Duration) []time.Duration {
	r := rand.New(rand.NewPCG(1, 1))
	rows = slices.Clone(rows)
	out := make([]time.Duration, 1000)
	for i := range out {
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		out[i] = takes(rows)
	}
	return out
}

func longestFirst(took []time.Duration) []time.Duration {
	out := slices.Clone(took)
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// steps is how far [WithHindsight] looks. Plans of the shapes here need less than
// a thousandth of it.
const steps = 5_000_000

// WithHindsight is how long the calls of [InOrder] would take in the best order,
// which can be found only once it is known how long each takes: exact to one in
// a thousand, or else a time that no order stays below. It is found by branch and
// bound over which place takes which call, the longest calls first.
func WithHindsight(took []time.Duration, slots int) (least time.Duration, exact bool) {
	s := search{calls: longestFirst(took), places: make([]time.Duration, slots), left: steps}
	var sum time.Duration
	for _, d := range s.calls {
		sum += d
	}
	s.bound = max(s.calls[0], (sum+time.Duration(slots)-1)/time.Duration(slots))
	if len(s.calls) > slots { // two of the longest must share a place
		s.bound = max(s.bound, s.calls[slots-1]+s.calls[slots])
	}
	s.best = InOrder(s.calls, slots)
	if s.place(0); s.left < 0 {
		return s.bound, false
	}
	return s.best, true
}

type search struct {
	calls  []time.Duration // the longest first
	places []time.Duration // until when each is taken
	best   time.Duration
	bound  time.Duration // no order takes less
	left   int           // steps
}

// place tries every place for call i and those after it.
func (s *search) place(i int) {
	if i == len(s.calls) {
		s.best = slices.Max(s.places)
		return
	}
	for at, taken := range s.places {
		if s.best <= s.bound+s.bound/1000 || s.left < 0 {
			return
		}
		s.left--
		if taken+s.calls[i] >= s.best || slices.Contains(s.places[:at], taken) {
			continue // no better, or the same as a place before
		}
		s.places[at] += s.calls[i]
		s.place(i + 1)
		s.places[at] = taken
	}
}
