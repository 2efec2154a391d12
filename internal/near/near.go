// Package near tells what a misspelt name was meant to be.
//
// Job: find the names, of those that there are, that differ from a given one as a
// misspelling does. It owns what counts as one. It must not know what has names.
package near

import (
	"slices"
	"strings"
	"unicode"
)

// maxName is how long a name is at most that is looked at, in bytes: the work
// grows with its square.
const maxName = 128

// maxEdits is how many letters are wrong at most.
const maxEdits = 6

// Name returns the one of known that name is most likely a misspelling of, ""
// if none is close; of several that are as close, the first.
func Name(name string, known []string) string {
	if names := Names(name, known, 1); names != nil {
		return names[0]
	}
	return ""
}

// Names is [Name] for all that are as close, n at most, in the order of known. At
// most a third of the letters of name may differ and six in all, where its first
// word does not count if a known name begins with it as well: that is often the
// name of something else, such as the source that both belong to.
func Names(name string, known []string, n int) (names []string) {
	if name = strings.ToLower(name); len(name) > maxName {
		return nil
	}
	best := maxEdits
	for _, k := range known {
		a, b := distinct(name, strings.ToLower(k))
		d := distance(a, b, min(best, max(1, len(a)/3), len(a)-1))
		switch {
		case d < 0:
		case d < best:
			best, names = d, []string{k}
		case len(names) < n: // as close
			names = append(names, k)
		}
	}
	return names
}

// distinct returns what is left of two names without a first word of both.
func distinct(a, b string) (string, string) {
	for i := range min(len(a), len(b)) {
		switch r := rune(a[i]); {
		case a[i] != b[i]:
			return a, b
		case r < unicode.MaxASCII && !unicode.IsLetter(r) && !unicode.IsDigit(r):
			return a[i+1:], b[i+1:]
		}
	}
	return a, b
}

// distance is the number of bytes to insert, delete, replace or swap with their
// neighbour to turn a into b (optimal string alignment), -1 if it is more than
// limit. What lies further than that from the diagonal is not looked at.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return -1
	}
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	over := uint8(limit + 1) //nolint:gosec // at most maxEdits + 1
	var rows [3][maxName + maxEdits + 2]uint8
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range min(len(b), limit) + 2 {
		last[j] = min(uint8(j), over) //nolint:gosec // as small
	}
	for i := 1; i <= len(a); i++ {
		from, to, least := max(1, i-limit), min(len(b), i+limit), over
		row[from-1] = over
		if from == 1 {
			row[0] = min(uint8(i), over) //nolint:gosec // from is 1 while i is small
		}
		for j := from; j <= to; j++ {
			same := last[j-1]
			if a[i-1] != b[j-1] {
				same++
			}
			row[j] = min(last[j]+1, row[j-1]+1, same, over)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		row[to+1] = over
		if least == over && slices.Min(last[from-1:to+1]) == over { // a swap looks two rows back
			return -1
		}
		before, last, row = last, row, before
	}
	if last[len(b)] == over {
		return -1
	}
	return int(last[len(b)])
}
