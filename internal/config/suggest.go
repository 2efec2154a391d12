package config

import "strings"

// Nearest returns the candidate that name is most likely a misspelling of, ""
// if none is close: at most a third of its letters may differ.
func Nearest(name string, candidates []string) string {
	if len(name) > 64 {
		return ""
	}
	best, limit := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		if n := distance(strings.ToLower(name), strings.ToLower(c)); n < limit {
			best, limit = c, n
		}
	}
	return best
}

// distance is the number of bytes to insert, delete, replace or swap with their
// neighbour to turn a into b (optimal string alignment).
func distance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
