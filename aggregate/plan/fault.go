package plan

import (
	"fmt"
	"math"
	"strings"
)

// Fault is one thing that is wrong with a plan.
type Fault struct {
	Call    string // its id, or its place, e.g. "calls[2]"; "" is the whole
	Problem string
	Fix     string // what to write instead
	Times   int    // how often the call has it; 0 counts as once
}

func (f Fault) String() string {
	s := f.Problem
	if f.Call != "" {
		s = f.Call + ": " + s
	}
	if f.Times > 1 {
		s += fmt.Sprintf(" (%d times)", f.Times)
	}
	if f.Fix != "" {
		s += "; " + f.Fix
	}
	return s
}

// Faults is everything that is wrong with a plan, never empty where it is
// returned as an error.
type Faults []Fault

// Error returns one line for each fault, the first of many.
func (fs Faults) Error() string {
	return fs.Text("\n", math.MaxInt, func(f string) string { return f })
}

// Text returns the first faults as whole, with sep between them and each as show has
// it, in at most limit bytes but for one, and how many there are besides.
func (fs Faults) Text(sep string, limit int, show func(string) string) string {
	const most = MaxNodes + 10 // one of each call, and of the whole
	var b strings.Builder
	for i, f := range fs {
		text := show(f.String())
		if i == most || i > 0 && b.Len()+len(sep)+len(text) > limit {
			more := "and"
			if len(fs) >= maxFaults {
				more = "and at least"
			}
			fmt.Fprintf(&b, "%s%s %d more", sep, more, len(fs)-i)
			break
		}
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(text)
	}
	return b.String()
}
