package gate

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// drain takes everything out and returns the keys in order.
func drain(q *fair[string]) []string {
	var out []string
	for t := q.next(); t != nil; t = q.next() {
		q.take(t)
		out = append(out, t.value)
	}
	return out
}

func TestFairTakesTurns(t *testing.T) {
	var q fair[string]
	for i := range 4 {
		q.push("hog", fmt.Sprint("h", i), 1)
	}
	q.push("light", "l0", 1)
	q.push("other", "o0", 1)
	q.push("other", "o1", 1)
	if got, want := fmt.Sprint(drain(&q)), "[h0 l0 o0 h1 o1 h2 h3]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if q.size != 0 || q.cost != 0 || len(q.flows) != 0 || len(q.turns) != 0 || q.idle.Len() != 0 {
		t.Errorf("not empty: %+v", q)
	}
}

// Costly calls use up the turns of their own flow, not those of others.
func TestFairCountsCosts(t *testing.T) {
	var q fair[string]
	for i := range 3 {
		q.push("dear", fmt.Sprint("d", i), 3)
	}
	for i := range 6 {
		q.push("cheap", fmt.Sprint("c", i), 1)
	}
	spent := map[byte]float64{}
	for range 6 {
		tk := q.next()
		q.take(tk)
		spent[tk.value[0]] += tk.cost
	}
	if spent['d'] > spent['c']+3 || spent['c'] > spent['d']+3 {
		t.Errorf("one flow got ahead: %v", spent)
	}
}

func TestFairRemovesFromAnywhere(t *testing.T) {
	var q fair[string]
	a := q.push("a", "a0", 1)
	b := q.push("a", "a1", 1)
	q.push("a", "a2", 1)
	c := q.push("b", "b0", 1)
	if !q.remove(b) || q.remove(b) || !q.remove(c) {
		t.Error("a waiter leaves once")
	}
	if got := fmt.Sprint(drain(&q)); got != "[a0 a2]" {
		t.Error(got)
	}
	if q.remove(a) {
		t.Error("one that was taken is no longer there")
	}
}

// Whatever is pushed, taken and removed: nobody is lost or served twice, a flow
// keeps its order, and no flow that always had someone waiting falls further
// behind another than their largest costs.
func TestFairProperties(t *testing.T) {
	for seed := range uint64(2_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var q fair[int]
		live := map[*ticket[int]]bool{}
		last := map[string]int{}
		n := 0
		for range 200 {
			switch r.IntN(5) {
			case 0, 1, 2:
				n++
				live[q.push(fmt.Sprint(r.IntN(4)), n, float64(1+r.IntN(3)))] = true
			case 3:
				if tk := q.next(); tk != nil {
					q.take(tk)
					if !live[tk] || tk.value <= last[tk.flow.key] {
						t.Fatalf("seed %d: %d comes after %d of its flow, or twice", seed, tk.value, last[tk.flow.key])
					}
					last[tk.flow.key] = tk.value
					delete(live, tk)
				}
			case 4:
				for tk := range live {
					if !q.remove(tk) {
						t.Fatalf("seed %d: not there", seed)
					}
					delete(live, tk)
					break
				}
			}
			if q.size != len(live) {
				t.Fatalf("seed %d: %d waiters, want %d", seed, q.size, len(live))
			}
		}
	}
}

func TestFairSharesEqually(t *testing.T) {
	var q fair[string]
	const flows, each = 8, 1_000
	for i := range flows {
		for range each {
			q.push(fmt.Sprint(i), fmt.Sprint(i), float64(1+i%3))
		}
	}
	spent := map[string]float64{}
	for total := 0.0; total < flows*each/2; {
		tk := q.next()
		q.take(tk)
		spent[tk.value] += tk.cost
		total += tk.cost
	}
	sum, squares := 0.0, 0.0
	for _, s := range spent {
		sum += s
		squares += s * s
	}
	if jain := sum * sum / (flows * squares); jain < 0.99 {
		t.Errorf("Jain's index is %.3f: %v", jain, spent)
	}
}

// Who asks seldom waits for no more than one call of a flow that never stops,
// the first time and every other time; and does not keep that flow waiting.
func TestFairServesWhoAsksSeldomSoon(t *testing.T) {
	var q fair[string]
	for i := range 1_000 {
		q.push("hog", fmt.Sprint(i), 1)
	}
	got := ""
	serve := func() {
		tk := q.next()
		q.take(tk)
		got += tk.flow.key[:1]
	}
	for range 3 {
		serve()
	}
	for range 4 { // it comes back as soon as it is served
		tk := q.push("light", "", 1)
		for tk.place != nil {
			serve()
		}
	}
	if got != "hhhlhlhlhl" {
		t.Error(got)
	}
}

// A flow that never stops gets every third turn at least, however many others
// come one after another, each for a single call.
func TestFairIsNotStarvedByNewcomers(t *testing.T) {
	var q fair[string]
	for i := range 100 {
		q.push("hog", fmt.Sprint(i), 1)
	}
	served := 0
	for i := range 90 {
		if q.size == 100-served { // the last one is gone
			q.push(fmt.Sprint("once", i), "", 1)
		}
		tk := q.next()
		q.take(tk)
		if tk.flow.key == "hog" {
			served++
		}
	}
	if served < 30 {
		t.Errorf("%d of 90 turns", served)
	}
	if len(q.flows) > 5 {
		t.Errorf("%d flows are remembered", len(q.flows))
	}
}

// ahead is what is spent before a waiter's turn, where nobody comes or leaves.
func TestFairKnowsWhatIsAhead(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		var q fair[int]
		said := map[*ticket[int]]float64{}
		for range 40 {
			q.push(fmt.Sprint(r.IntN(5)), 0, 1)
		}
		for range r.IntN(20) {
			q.take(q.next())
		}
		var all []*ticket[int]
		for _, f := range q.turns {
			for e := f.waiters.Front(); e != nil; e = e.Next() {
				all = append(all, e.Value.(*ticket[int]))
			}
		}
		for _, tk := range all {
			said[tk] = q.ahead(tk)
		}
		for spent := 0.0; q.next() != nil; spent++ {
			tk := q.next()
			if d := said[tk] - spent; d < 0 || d > 5 {
				t.Fatalf("seed %d: %g was said to be ahead, it was %g", seed, said[tk], spent)
			}
			q.take(tk)
		}
	}
}
