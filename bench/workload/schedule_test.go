package workload_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/workload"
)

func seconds(values ...int) []time.Duration {
	out := make([]time.Duration, len(values))
	for i, v := range values {
		out[i] = time.Duration(v) * time.Second
	}
	return out
}

func TestInOrder(t *testing.T) {
	for _, tt := range []struct {
		took  []time.Duration
		slots int
		want  time.Duration
	}{
		{seconds(5), 3, 5 * time.Second},
		{seconds(1, 2, 3), 1, 6 * time.Second},
		{seconds(1, 1, 1, 9), 2, 10 * time.Second},
		{seconds(9, 1, 1, 1), 2, 9 * time.Second},
		{seconds(2, 3, 4), 3, 4 * time.Second},
	} {
		if got := workload.InOrder(tt.took, tt.slots); got != tt.want {
			t.Errorf("%v in %d places: %v, want %v", tt.took, tt.slots, got, tt.want)
		}
	}
}

// TestWithHindsight compares the search with every way to share calls among
// places.
func TestWithHindsight(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		took := make([]time.Duration, 1+r.IntN(8))
		for i := range took {
			took[i] = time.Duration(1 + r.IntN(1_000_000))
		}
		slots := 1 + r.IntN(4)
		want := time.Duration(1 << 62)
		for way := range pow(slots, len(took)) {
			places := make([]time.Duration, slots)
			for _, d := range took {
				places[way%slots] += d
				way /= slots
			}
			want = min(want, slices.Max(places))
		}
		if got, exact := workload.WithHindsight(took, slots); !exact || got < want || got > want+want/1000 {
			t.Fatalf("seed %d: %v in %d places: %v, want %v", seed, took, slots, got, want)
		}
	}
}

func pow(n, to int) int {
	out := 1
	for range to {
		out *= n
	}
	return out
}

func TestPaced(t *testing.T) {
	limit := workload.Limit{Burst: 3, Gap: 10 * time.Second}
	// Three may begin at once, one of them is the list. Of what it held back, 3 of
	// 10 seconds, part has come in when the list is there.
	if got, want := workload.Paced(3*time.Second, seconds(1, 1, 1, 1), limit), 3*time.Second+17*time.Second+time.Second; got != want {
		t.Errorf("%v, want %v", got, want)
	}
	// The bucket holds no more than it holds, however long the list takes.
	if got, want := workload.Paced(100*time.Second, seconds(50, 1, 1, 1), limit), 150*time.Second; got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := workload.Paced(100*time.Second, seconds(1, 1, 1, 50), limit), 160*time.Second; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCritical(t *testing.T) {
	p := workload.Plan{Calls: []workload.Call{
		{ID: "r", Source: "a"},
		{ID: "other", Source: "b"},
		{ID: "w", Source: "a", Write: true},
		{ID: "v", Source: "a"},
		{ID: "end", Source: "b", Of: []int{1}},
	}}
	for _, tt := range []struct {
		took []time.Duration
		want time.Duration
	}{
		{seconds(3, 1, 2, 4, 1), 9 * time.Second}, // the write waits for the read before it, the read after it for the write
		{seconds(1, 8, 1, 1, 5), 13 * time.Second},
		{seconds(1, 0, 0, 0, 0), time.Second},
	} {
		if got := p.Critical(tt.took); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.took, got, tt.want)
		}
	}
	if got := len(p.Levels()); got != 3 {
		t.Errorf("%d levels", got)
	}
}
