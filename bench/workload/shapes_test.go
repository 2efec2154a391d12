package workload_test

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/workload"
)

func TestShapes(t *testing.T) {
	calls := map[string][2]int{ // fewest and most, by number of the shape
		"S1": {2, 2}, "S2": {8, 8}, "S3": {5, 11}, "S4": {2, 8}, "S5": {2, 4}, "S6": {9, 9}, "S7": {9, 9}, "S8": {17, 17}, "S10": {16, 16},
	}
	seen := map[string]bool{}
	for _, shape := range workload.Shapes() {
		name, _, _ := strings.Cut(shape.Name, " ")
		seen[name] = true
		widths := map[int]int{}
		for number := range 200 {
			p := shape.Draw(number, 1)
			if again := shape.Draw(number, 1); !reflect.DeepEqual(p, again) {
				t.Fatalf("%s: another plan of the same number", shape.Name)
			}
			if n, want := len(p.Calls), calls[name]; n < want[0] || n > want[1] {
				t.Errorf("%s has %d calls", shape.Name, n)
			}
			widths[len(p.Calls)]++
			for i, c := range p.Calls {
				if c.Takes <= 0 || c.Takes > 13*time.Second {
					t.Errorf("%s: a call takes %v", shape.Name, c.Takes)
				}
				if slices.ContainsFunc(c.Of, func(j int) bool { return j >= i }) {
					t.Errorf("%s: a call depends on a later one", shape.Name)
				}
			}
		}
		if fewest := calls[name][0]; widths[fewest] == 0 || widths[calls[name][1]] == 0 && name != "S4" {
			t.Errorf("%s: calls by plan %v", shape.Name, widths)
		}
		if name == "S4" && math.Abs(float64(widths[2])-108) > 25 {
			t.Errorf("%s: calls by plan %v, want 54 of 100 with two", shape.Name, widths)
		}
	}
	for name := range calls {
		if !seen[name] {
			t.Errorf("no plan of %s", name)
		}
	}
}

// TestLatencies: half of the calls to a hosted service are faster than 250 ms,
// and none is slower than the slowest in a hundred.
func TestLatencies(t *testing.T) {
	p := workload.Apart("many", "x", 10_000).Draw(1, 1)
	var took []time.Duration
	for _, c := range p.Calls {
		took = append(took, c.Takes)
		if c.Source != "x" {
			t.Fatalf("a call to %s", c.Source)
		}
	}
	slices.Sort(took)
	if middle := took[len(took)/2]; (middle - 250*time.Millisecond).Abs() > 15*time.Millisecond {
		t.Errorf("the middle is %v", middle)
	}
	if last := took[len(took)-1]; last < 1900*time.Millisecond || last > 2100*time.Millisecond {
		t.Errorf("the slowest is %v", last)
	}
}

// TestHalfOfASourceFails: two calls of one source are refused, and some calls, not
// always as many, depend on these.
func TestHalfOfASourceFails(t *testing.T) {
	shapes := workload.Shapes()
	shape := shapes[len(shapes)-1]
	by := map[int]int{}
	for number := range 50 {
		p := shape.Draw(number, 1)
		refused := map[string]int{}
		lost := 0
		for _, c := range p.Calls {
			if c.Fails {
				refused[c.Source]++
			}
			if slices.ContainsFunc(c.Of, func(j int) bool { return p.Calls[j].Fails }) {
				lost++
			}
		}
		if len(refused) != 1 || refused[workload.Sources()[1]] != 2 {
			t.Fatalf("refused: %v", refused)
		}
		by[lost]++
	}
	if by[0]+by[1]+by[2] != 50 || by[0] == 0 || by[2] == 0 {
		t.Errorf("calls that depend on those: %v", by)
	}
}

// TestTheBestOrderIsFound for what the shapes draw, so that figures are of an
// order and not of a bound.
func TestTheBestOrderIsFound(t *testing.T) {
	for _, shape := range workload.Shapes() {
		if shape.Limit.Slots == 0 {
			continue
		}
		for number := range 200 {
			p := shape.Draw(number, 5)
			var took []time.Duration
			for _, c := range p.Calls[1:] {
				took = append(took, c.Takes)
			}
			written := workload.InOrder(took, shape.Limit.Slots)
			if best, exact := workload.WithHindsight(took, shape.Limit.Slots); !exact || best > written+written/1000 {
				t.Errorf("%s, %d: %v, exact %v, and %v as written", shape.Name, number, best, exact, written)
			}
		}
	}
}
