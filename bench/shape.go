package main

import (
	"strings"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

// loadTable shows what targets came to under load; base is the index of the
// target that the processor time is compared with.
func loadTable(title string, families []family, got [][]figures, base int) report.Table {
	t := report.Table{Title: title, Head: []string{"client", "through", "calls/s", "p50 µs", "p99 µs", "CPU µs a call", "× " + [...]string{"upstream's", "floor's"}[base] + " CPU"}}
	for f, fam := range families {
		for i, target := range fam.targets {
			m := got[f][i]
			row := []string{fam.name, target.name, middle(m.rate), middle(m.p50), middle(m.p99), middle(m.cpu), ""}
			if i > base {
				row[6] = spread(ratio(got[f], i, base))
			}
			t.Rows = append(t.Rows, row)
		}
	}
	return t
}

// cpuChart has a bar for each target of a family but the one it is compared
// with and the upstream.
func cpuChart(fam family, what string, got []figures, base int, limit float64) report.Chart {
	chart := report.Chart{Title: cpuPicture, Unit: "× the processor time of proxy, mux or, for a list, upstream"}
	for i, target := range fam.targets {
		if i <= floor {
			continue
		}
		bar := report.Bar{Label: what + label(fam, target), Value: report.Of(ratio(got, i, base)), Ours: target.own()}
		if i == fam.own {
			bar.Limit = limit
		}
		chart.Bars = append(chart.Bars, bar)
	}
	return chart
}

// label names a target where its family does not stand before it.
func label(fam family, t target) string {
	era := fam.name
	if kind, after, ok := strings.Cut(t.name, ", "); ok && fam.http() {
		return kind + ", " + after
	} else if ok {
		return t.name + ", stdio"
	}
	return t.name + ", " + era
}

// ratio divides the processor time of two targets of a family, round by round.
func ratio(got []figures, over, under int) []float64 {
	return report.Ratios(got[over].cpu, got[under].cpu)
}

func middle(values []float64) string { return report.Number(report.Of(values).Median) }

func spread(values []float64) string { return report.Of(values).String() }

func scaled(values []float64, by float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = v * by
	}
	return out
}

// sessionful returns what there is of the families that has sessions apart.
func sessionful(families []family) []family {
	var out []family
	for _, f := range families {
		apart := f
		apart.targets = nil
		for _, t := range f.targets {
			if !t.single {
				apart.targets = append(apart.targets, t)
			}
		}
		if len(apart.targets) > 0 {
			out = append(out, apart)
		}
	}
	return out
}
