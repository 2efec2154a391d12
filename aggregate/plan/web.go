package plan

import "slices"

// web is which calls of a plan need which others, by their places.
type web struct {
	needs [][]int
	all   []uint64 // directly or not: a bit for each call, of which there are 64 at most
}

// newWeb leaves out what does not keep those that need it from being made if it
// fails, unless loose.
func newWeb(calls []written, places map[string]int, loose bool) web {
	w := web{make([][]int, len(calls)), make([]uint64, len(calls))}
	for i := range calls {
		for _, n := range calls[i].needs {
			if j, ok := places[n.id]; ok && (loose || calls[j].OnError != Null) {
				w.needs[i] = append(w.needs[i], j)
				w.all[i] |= 1 << j
			}
		}
	}
	for k := range w.all { // Warshall
		for i := range w.all {
			if w.all[i]&(1<<k) != 0 {
				w.all[i] |= w.all[k]
			}
		}
	}
	return w
}

// leads reports whether one call needs another, directly or not.
func (w web) leads(from, to int) bool { return w.all[from]&(1<<to) != 0 }

// path returns the calls through which one needs another, as it does: as few as
// there can be, both among them.
func (w web) path(from, to int) []int {
	before := make([]int, len(w.needs)) // from where a call was come to, plus one
	for queue := []int{from}; before[to] == 0; queue = queue[1:] {
		for _, j := range w.needs[queue[0]] {
			if before[j] == 0 && j != from {
				before[j] = queue[0] + 1
				queue = append(queue, j)
			}
		}
	}
	way := []int{to}
	for at := to; at != from; way = append(way, at) {
		at = before[at] - 1
	}
	slices.Reverse(way)
	return way
}
