package gate

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestCrews(t *testing.T) {
	c := crews[int]{}
	plan, other := &upstream.Plan{}, &upstream.Plan{}
	var w [6]int
	join := func(p *upstream.Plan, i int, stands bool) {
		t.Helper()
		if c.join(p, &w[i]) != stands {
			t.Errorf("%d stands in the queue, or does not", i)
		}
	}
	leave := func(p *upstream.Plan, i int, next *int) {
		t.Helper()
		if got := c.leave(p, &w[i]); got != next {
			t.Errorf("after %d there is %p, want %p of %p", i, got, next, &w)
		}
	}
	join(plan, 0, true)
	join(plan, 1, false)
	join(plan, 2, false)
	join(plan, 3, false)
	join(other, 4, true)
	join(nil, 5, true)
	if c.behind() != 3 || len(c) != 2 {
		t.Errorf("%d behind, %d crews", c.behind(), len(c))
	}
	leave(plan, 1, nil) // from behind
	leave(plan, 0, &w[2])
	leave(plan, 0, nil) // once is enough
	leave(plan, 2, &w[3])
	leave(nil, 5, nil)
	leave(plan, 3, nil)
	leave(other, 4, nil)
	if len(c) != 0 || c.behind() != 0 {
		t.Errorf("%v is left", c)
	}
}

// Whoever comes and leaves in whatever order: of each plan of which some wait exactly
// one stands in the queue, the one that has waited longest of those that did not stand
// there yet, and calls of no plan all do.
func TestCrewsProperties(t *testing.T) {
	type call struct {
		plan *upstream.Plan
		n    int
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 9))
		c := crews[call]{}
		plans := []*upstream.Plan{nil, {}, {}, {}}
		var queue, here []*call // here in the order of arrival
		for n := range 300 {
			if left := r.IntN(2) == 0 || n >= 200; left && len(here) > 0 {
				i := r.IntN(len(here))
				w := here[i]
				here = slices.Delete(here, i, i+1)
				next := c.leave(w.plan, w)
				if at := slices.Index(queue, w); at >= 0 {
					queue = slices.Delete(queue, at, at+1)
				} else if next != nil {
					t.Fatalf("seed %d: %d was behind and is followed by %d", seed, w.n, next.n)
				}
				if next != nil {
					queue = append(queue, next)
				}
			} else if !left {
				w := &call{plans[r.IntN(len(plans))], n}
				here = append(here, w)
				if c.join(w.plan, w) {
					queue = append(queue, w)
				}
			}
			var want []*call
			for _, w := range here {
				if w.plan == nil || !slices.ContainsFunc(want, func(o *call) bool { return o.plan == w.plan }) {
					want = append(want, w)
				}
			}
			oldest := slices.SortedFunc(slices.Values(queue), func(a, b *call) int { return a.n - b.n })
			if !slices.Equal(oldest, want) || c.behind() != len(here)-len(want) {
				t.Fatalf("seed %d, step %d: %d in the queue, want %d; %d behind of %d", seed, n, len(queue), len(want), c.behind(), len(here))
			}
		}
		if len(here) > 0 || len(c) > 0 {
			t.Fatalf("seed %d: %d are left, %d crews", seed, len(here), len(c))
		}
	}
}

func TestTally(t *testing.T) {
	count, plan := tally{}, &upstream.Plan{}
	count.add(nil, 1)
	count.add(plan, 1)
	count.add(plan, 1)
	if count[plan] != 2 || count[nil] != 0 {
		t.Error(count)
	}
	count.add(plan, -1)
	if count.add(plan, -1); len(count) != 0 {
		t.Errorf("%v is left", count)
	}
}
