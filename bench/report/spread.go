// Package report turns measured values into what a reader sees: medians with
// their spread, tables as text and Markdown, goals and whether they are met, and
// bar charts as SVG.
//
// It owns the statistics and the looks. It must not know what was measured or
// how.
package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Spread is a median and the smallest and largest of the same values.
type Spread struct{ Median, Low, High float64 }

// Of sums values up; none are a spread of NaN.
func Of(values []float64) Spread {
	if len(values) == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	v := slices.Sorted(slices.Values(values))
	return Spread{Median: Quantile(v, 0.5), Low: v[0], High: v[len(v)-1]}
}

// Quantile returns the value below which the share q of sorted values lies,
// between neighbours where it falls between them; NaN of none.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Ratios divides the values of the same rounds. A round whose divisor is not
// above zero says nothing and is left out.
func Ratios(over, under []float64) []float64 {
	var out []float64
	for i := range min(len(over), len(under)) {
		if under[i] > 0 {
			out = append(out, over[i]/under[i])
		}
	}
	return out
}

// Minus subtracts the values of the same rounds.
func Minus(from, what []float64) []float64 {
	var out []float64
	for i := range min(len(from), len(what)) {
		out = append(out, from[i]-what[i])
	}
	return out
}

// String is the median with the range after it, "1.23 (1.19–1.30)".
func (s Spread) String() string {
	if math.IsNaN(s.Median) {
		return "–"
	}
	return fmt.Sprintf("%s (%s–%s)", Number(s.Median), Number(s.Low), Number(s.High))
}

// Number writes three digits that count, more only where they stand before the
// point; thousands are set apart.
func Number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	decimals := 0
	switch a := math.Abs(v); {
	case a < 9.995:
		decimals = 2
	case a < 99.95:
		decimals = 1
	}
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if decimals > 0 {
		return s
	}
	digits, sign := strings.CutPrefix(s, "-")
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	if sign {
		return "-" + digits
	}
	return digits
}
