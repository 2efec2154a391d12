package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

// missingError is a probe that cannot be run for want of a program that is not
// ours.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what }

// metrics are what Go benchmarks report, by the name behind Benchmark and by the
// unit; a value for each round.
type metrics map[string]map[string][]float64

// benchmark runs a Go benchmark of a package, each time for so many iterations.
// Some compare two ways to do the same in one process, which cannot be told apart
// from outside.
func (s *stage) benchmark(ctx context.Context, pkg, name string, rounds, times int) (metrics, error) {
	program := filepath.Join(s.dir, filepath.Base(pkg)+".test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, module+"/"+pkg) //nolint:gosec // our own package
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the tests of %s: %w: %s", pkg, err, text)
	}
	run := exec.CommandContext(ctx, program, "-test.run", "^$", "-test.bench", "^Benchmark"+name+"$", //nolint:gosec // built just now
		"-test.count", strconv.Itoa(rounds), "-test.benchtime", strconv.Itoa(times)+"x", "-test.timeout", "5m", "-test.v")
	run.Dir = s.dir
	text, err := run.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the benchmark %s of %s: %w: %s", name, pkg, err, text)
	}
	m := parseMetrics(string(text))
	if len(m) == 0 {
		if reason := skipped(string(text)); reason != "" {
			return nil, &missingError{reason}
		}
		return nil, fmt.Errorf("the benchmark %s of %s reported nothing: %s", name, pkg, text)
	}
	return m, nil
}

// skipped returns why a benchmark was skipped, which stands behind its place in the
// source; "" if it was not.
func skipped(text string) string {
	if !strings.Contains(text, "--- SKIP: ") {
		return ""
	}
	_, after, _ := strings.Cut(text, ".go:")
	_, reason, _ := strings.Cut(after, ": ")
	reason, _, _ = strings.Cut(reason, "\n")
	return reason
}

// parseMetrics reads lines such as
//
//	BenchmarkCall/one-2    8    36.9 action-us    22.1 checked-us
//
// whose name ends in the number of processors.
func parseMetrics(text string) metrics {
	m := make(metrics)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || len(fields)%2 != 0 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		for i := 2; i < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				break
			}
			if m[name] == nil {
				m[name] = make(map[string][]float64)
			}
			m[name][fields[i+1]] = append(m[name][fields[i+1]], v)
		}
	}
	return m
}

const (
	actionLimit = 1.5
	rowsLimit   = 1.3
	findLimit   = 5 // ms
)

// actions compares REST actions with the same requests by net/http.
func actions(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "REST actions",
		Text: "One request, with an answer of one record and with a page of 25 (9.6 kB, of which five fields of each are given), and the server in another process. An action lays its arguments into the request, " +
			"reads the answer, holds it to be JSON, takes the records and their fields out of it, seals the cursor of the next page, looks for drift and for what the source says of its quota, and writes the result twice, as text and as structured content. " +
			"By plain `net/http` the answer is only read; or read and held to be JSON with `json.Valid`, which is the least that whoever hands it on must do; or the same fields are taken out of it by structs and written again. " +
			"The target is held to the first two. Each way has its turns of 500 requests in one process.",
	}
	m, err := s.benchmark(ctx, "upstream/rest", "Call", o.rounds, 10)
	if err != nil {
		return out, err
	}
	t := report.Table{Head: []string{"answer", "way", "CPU µs", "× checked"}}
	for _, size := range []struct{ name, title string }{{"Call/one", "one record"}, {"Call/page", "a page of 25"}} {
		got := m[size.name]
		for _, way := range []struct{ unit, title string }{
			{"read-us", "net/http, only read"}, {"checked-us", "net/http, read and checked"}, {"decoded-us", "net/http, decoded and written"}, {"action-us", "action"},
		} {
			t.Rows = append(t.Rows, []string{size.title, way.title, spread(got[way.unit]), spread(report.Ratios(got[way.unit], got["checked-us"]))})
		}
		for _, by := range []struct{ unit, title string }{{"read-us", "net/http, only read"}, {"checked-us", "net/http, read and checked"}} {
			ratio := report.Of(report.Ratios(got["action-us"], got[by.unit]))
			out.Goals = append(out.Goals, report.Goal{Figure: "CPU of a REST action, " + size.title, Limit: actionLimit, Unit: " × " + by.title, Got: ratio})
			if by.unit == "read-us" { // the floor
				out.Charts = append(out.Charts, report.Chart{Title: cpuPicture, Bars: []report.Bar{{Label: "REST action, " + size.title, Value: ratio, Limit: actionLimit, Ours: true}}})
			}
		}
	}
	out.Tables = []report.Table{t}
	return out, nil
}

// statements compares SQL statements with the same by pgx.
func statements(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "SQL statements",
		Text: "100 rows of four columns of a PostgreSQL of this machine: through the adapter, in a transaction of their own that only reads, and written as a result; and by pgx, which scans them into Go values. " +
			"Both are prepared, and have their turns of 100 statements in one process. Processor time is that of the client's side.",
	}
	m, err := s.benchmark(ctx, "upstream/sqldb", "Rows", o.rounds, 20)
	if err != nil {
		return out, err
	}
	t := report.Table{Head: []string{"figure", "adapter", "pgx", "×"}}
	for _, f := range []struct{ unit, title string }{{"us", "µs a statement"}, {"cpu-us", "CPU µs a statement"}} {
		ours, theirs := m["Rows"]["adapter-"+f.unit], m["Rows"]["pgx-"+f.unit]
		ratio := report.Of(report.Ratios(ours, theirs))
		t.Rows = append(t.Rows, []string{f.title, spread(ours), spread(theirs), ratio.String()})
		out.Goals = append(out.Goals, report.Goal{Figure: f.title + " of SQL with 100 rows", Limit: rowsLimit, Unit: " × pgx", Got: ratio})
	}
	out.Tables = []report.Table{t}
	return out, nil
}

// find measures the search in a large catalog.
func find(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{Title: "Finding tools", Text: "One search for ten of 10,000 tools, in the index that `bulkhead_find_tools` uses."}
	m, err := s.benchmark(ctx, "aggregate/search", "Search", o.rounds, 200)
	if err != nil {
		return out, err
	}
	ms := scaled(m["Search"]["ns/op"], 1e-6)
	out.Tables = []report.Table{{Head: []string{"tools", "ms a search"}, Rows: [][]string{{"10,000", spread(ms)}}}}
	out.Goals = []report.Goal{{Figure: "search in 10,000 tools", Limit: findLimit, Unit: " ms", Got: report.Of(ms)}}
	return out, nil
}
