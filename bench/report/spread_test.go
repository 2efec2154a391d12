package report_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   report.Spread
		text   string
	}{
		{[]float64{3}, report.Spread{Median: 3, Low: 3, High: 3}, "3.00 (3.00–3.00)"},
		{[]float64{5, 1, 2}, report.Spread{Median: 2, Low: 1, High: 5}, "2.00 (1.00–5.00)"},
		{[]float64{4, 1, 2, 3}, report.Spread{Median: 2.5, Low: 1, High: 4}, "2.50 (1.00–4.00)"},
	} {
		if got := report.Of(tt.values); got != tt.want || got.String() != tt.text {
			t.Errorf("Of(%v) is %+v, %q; want %+v, %q", tt.values, got, got, tt.want, tt.text)
		}
	}
	if got := report.Of(nil); !math.IsNaN(got.Median) || got.String() != "–" {
		t.Errorf("Of(nil) is %+v, %q", got, got)
	}
}

func TestOfLeavesItsValuesAlone(t *testing.T) {
	values := []float64{3, 1, 2}
	report.Of(values)
	if !slices.Equal(values, []float64{3, 1, 2}) {
		t.Errorf("the values are now %v", values)
	}
}

func TestQuantileIsBetweenItsNeighbours(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 50).Draw(t, "values")
		slices.Sort(v)
		p, q := rapid.Float64Range(0, 1).Draw(t, "p"), rapid.Float64Range(0, 1).Draw(t, "q")
		low, high := report.Quantile(v, min(p, q)), report.Quantile(v, max(p, q))
		const rounding = 1e-6
		if low > high+rounding || low < v[0]-rounding || high > v[len(v)-1]+rounding {
			t.Fatalf("quantiles %v, %v of %v", low, high, v)
		}
		if report.Quantile(v, 0) != v[0] || report.Quantile(v, 1) != v[len(v)-1] {
			t.Fatalf("the ends of %v are not its quantiles 0 and 1", v)
		}
	})
}

func TestRatiosPairRoundsAndSkipWhatSaysNothing(t *testing.T) {
	if got := report.Ratios([]float64{2, 3, 4, 9}, []float64{1, 0, -1, 3, 7}); !slices.Equal(got, []float64{2, 3}) {
		t.Errorf("ratios are %v", got)
	}
	if got := report.Minus([]float64{2, 3, 4}, []float64{1, 5}); !slices.Equal(got, []float64{1, -2}) {
		t.Errorf("differences are %v", got)
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		want string
	}{
		{0, "0.00"}, {1.234, "1.23"}, {9.994, "9.99"}, {9.996, "10.0"}, {99.94, "99.9"}, {99.96, "100"},
		{999.6, "1,000"}, {1234567, "1,234,567"}, {-1234, "-1,234"}, {-0.5, "-0.50"}, {math.NaN(), "–"}, {math.Inf(1), "–"},
	} {
		if got := report.Number(tt.v); got != tt.want {
			t.Errorf("Number(%v) is %q, want %q", tt.v, got, tt.want)
		}
	}
}
