package main

import (
	"context"
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/bench/peer"
	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

// probe measures one thing about all targets.
type probe struct {
	name string // for -only
	run  func(ctx context.Context, s *stage, o options) (report.Section, error)
}

func probes() []probe {
	return []probe{
		{"latency", latency}, {"calls", calls}, {"large", large}, {"list", lists},
		{"parallel", parallel}, {"sources", eight}, {"layers", layers}, {"cache", hits}, {"fair", fair}, {"signin", signIns},
		{"workloads", workloads}, {"actions", actions}, {"statements", statements}, {"find", find}, {"document", document},
		{"memory", memory}, {"start", starts}, {"linked", linked},
	}
}

// The titles of the two pictures.
const (
	cpuPicture  = "Processor time, compared with the floor"
	wallPicture = "Waiting time, compared with the slowest part alone"
)

// latency has one caller ask one call after the other.
func latency(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "Latency at one caller",
		Text:  "One caller, one small call after the other. Added is what a target takes beyond the upstream alone, in the same round.",
	}
	families, err := s.of(ctx, few)
	if err != nil {
		return out, err
	}
	got, err := measure(ctx, families, load{request: echoCall(), callers: 1, sessions: 1, length: o.burst}, o.rounds)
	if err != nil {
		return out, err
	}
	t := report.Table{Head: []string{"client", "through", "p50 µs", "p99 µs", "added p50 µs", "added p99 µs", "CPU µs a call", "× floor's added p50"}}
	for f, fam := range families {
		alone := got[f][direct]
		base := report.Minus(got[f][floor].p50, alone.p50)
		for i, target := range fam.targets {
			m := got[f][i]
			row := []string{fam.name, target.name, middle(m.p50), middle(m.p99), "", "", middle(m.cpu), ""}
			added := report.Minus(m.p50, alone.p50)
			ratio := report.Ratios(added, base)
			if i > direct {
				row[4], row[5] = middle(added), middle(report.Minus(m.p99, alone.p99))
			}
			if i > floor {
				row[7] = spread(ratio)
			}
			t.Rows = append(t.Rows, row)
			if i == fam.own && fam.http() {
				out.Goals = append(out.Goals, report.Goal{
					Figure: "added p50 at one caller, " + fam.name, Limit: 1.3, Unit: " × proxy's", Got: report.Of(ratio),
				})
			}
		}
	}
	out.Tables = []report.Table{t}
	return out, nil
}

// calls has many callers ask small calls.
func calls(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "Small calls",
		Text:  "Callers ask as fast as they are answered, all in one session, or each in a session and over a connection of its own. The modern era has no sessions over HTTP, and a pair of pipes is one.",
	}
	families, err := s.of(ctx, few)
	if err != nil {
		return out, err
	}
	for _, callers := range []int{16, 64} {
		l := load{request: echoCall(), callers: callers, sessions: 1, length: o.burst}
		got, err := measure(ctx, families, l, o.rounds)
		if err != nil {
			return out, err
		}
		out.Tables = append(out.Tables, loadTable(fmt.Sprintf("%d callers, one session:", callers), families, got, floor))
		if callers == 16 {
			judgeCalls(&out, families, got)
		}
		apart := sessionful(families)
		l.sessions = callers
		if got, err = measure(ctx, apart, l, o.rounds); err != nil {
			return out, err
		}
		out.Tables = append(out.Tables, loadTable(fmt.Sprintf("%d callers, a session each:", callers), apart, got, floor))
	}
	return out, nil
}

// judgeCalls adds the goals and bars of calls at 16 callers.
func judgeCalls(out *report.Section, families []family, got [][]figures) {
	for f, fam := range families {
		limit, unit := 1.25, " × proxy"
		if !fam.http() {
			limit, unit = 4, " × mux"
		}
		out.Charts = append(out.Charts, cpuChart(fam, "call, ", got[f], floor, limit))
		goal := report.Goal{
			Figure: "CPU a call at 16 callers, " + fam.name, Limit: limit, Unit: unit,
			Got: report.Of(ratio(got[f], fam.own, floor)),
		}
		// Over stdio either of two limits is enough.
		if used := report.Of(got[f][fam.own].cpu); !fam.http() && !goal.Met() && used.Median <= stdioMicros {
			goal.Limit, goal.Unit, goal.Got = stdioMicros, " µs", used
		}
		if !fam.http() {
			goal.Figure += fmt.Sprintf(" (or at most %d µs)", stdioMicros)
		}
		out.Goals = append(out.Goals, goal)
	}
}

const stdioMicros = 12

// large has one caller ask for long results.
func large(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{Title: "Large results", Text: "One caller; the result is one text with many escapes in it, as rows of data are."}
	families, err := s.of(ctx, few)
	if err != nil {
		return out, err
	}
	for _, size := range []struct {
		name    string
		request request
	}{{"1 MB", longCall()}, {"10 MB", longerCall()}} {
		got, err := measure(ctx, families, load{request: size.request, callers: 1, sessions: 1, length: o.burst}, o.rounds)
		if err != nil {
			return out, err
		}
		out.Tables = append(out.Tables, loadTable(size.name+":", families, got, floor))
		if size.name != "1 MB" {
			continue
		}
		for f, fam := range families {
			if !fam.http() {
				continue
			}
			out.Charts = append(out.Charts, cpuChart(fam, "1 MB, ", got[f], floor, 4))
			out.Goals = append(out.Goals, report.Goal{
				Figure: "CPU of a 1 MB result, " + fam.name, Limit: 4, Unit: " × proxy", Got: report.Of(ratio(got[f], fam.own, floor)),
			})
		}
	}
	return out, nil
}

// lists has one caller ask for a long list. The upstream alone does nothing but
// send the same bytes.
func lists(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "List of 5,000 tools",
		Text:  "One caller. The ratio is to the upstream alone, which does nothing but send the same bytes each time.",
	}
	families, err := s.of(ctx, many)
	if err != nil {
		return out, err
	}
	got, err := measure(ctx, families, load{request: listTools(), callers: 1, sessions: 1, length: o.burst}, o.rounds)
	if err != nil {
		return out, err
	}
	out.Tables = []report.Table{loadTable("", families, got, direct)}
	for f, fam := range families {
		out.Charts = append(out.Charts, cpuChart(fam, "list, ", got[f], direct, 2))
		out.Goals = append(out.Goals, report.Goal{
			Figure: "CPU of a list of 5,000 tools, " + fam.name, Limit: 2, Unit: " × sending it", Got: report.Of(ratio(got[f], fam.own, direct)),
		})
	}
	return out, nil
}

// parallel has 200 callers in one session ask once each for something slow.
func parallel(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "200 slow calls at once on one session",
		Text:  fmt.Sprintf("Each call takes the upstream %s. What counts is the time until the last one is answered. The slowest is that of the same 200 calls made to the upstream alone, in the same round: it holds what client and upstream themselves add on this machine.", peer.Slow),
	}
	families, err := s.of(ctx, few)
	if err != nil {
		return out, err
	}
	got, err := measure(ctx, families, load{request: lateCall(), callers: 200, sessions: 1}, o.rounds)
	if err != nil {
		return out, err
	}
	t := report.Table{Head: []string{"client", "through", "until the last, ms", "× " + peer.Slow.String(), "CPU µs a call", "× the slowest"}}
	chart := report.Chart{Title: wallPicture, Unit: "× the slowest part"}
	for f, fam := range families {
		for i, target := range fam.targets {
			m := got[f][i]
			ratio := report.Of(report.Ratios(m.wall, got[f][direct].wall))
			row := []string{fam.name, target.name, middle(scaled(m.wall, 1000)), middle(scaled(m.wall, 1/peer.Slow.Seconds())), middle(m.cpu), ""}
			if i > direct {
				row[5] = ratio.String()
				bar := report.Bar{Label: "200 calls, " + label(fam, target), Value: ratio, Ours: target.own()}
				if target.own() {
					bar.Limit = parallelLimit
				}
				chart.Bars = append(chart.Bars, bar)
			}
			t.Rows = append(t.Rows, row)
			if target.own() && !target.quiet {
				out.Goals = append(out.Goals, report.Goal{
					Figure: "200 × 200 ms on one session, " + label(fam, target), Limit: parallelLimit, Unit: " × the slowest", Got: ratio,
				})
			}
		}
	}
	out.Tables, out.Charts = []report.Table{t}, []report.Chart{chart}
	return out, nil
}

const parallelLimit = 1.1
