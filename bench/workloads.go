package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
	"github.com/bulkhead-mcp/bulkhead/bench/workload"
)

const (
	// divisor makes the drawn latencies short enough to wait for. What is shown
	// is multiplied by it, and so is what Bulkhead adds.
	divisor    = 5
	planLimit  = 1.05 // × the ideal
	turn       = 1500 * time.Millisecond
	planPic    = "Plans of calls, compared with the least that they can take"
	turnsPic   = "Plans of calls with the turns of the model"
	busySource = "busy"
)

// studio is Bulkhead before sources that take as long as they are asked to.
type studio struct {
	process *process
	url     string
	runs    int64
}

func (s *stage) openStudio(ctx context.Context) (*studio, error) {
	var text strings.Builder
	text.WriteString(server + "listen = \"127.0.0.1:0\"\ndeadline = \"2m\"\n")
	n := 0
	source := func(name, limit string) {
		n++
		fmt.Fprintf(&text, "[upstream.%s]\nurl = %q\nera = \"legacy\"\n%s\n", name, s.upstream+"/work/mcp", limit)
	}
	for _, name := range workload.Sources() {
		source(name, "")
	}
	for _, places := range workload.Limits() {
		source(workload.Limited(places), fmt.Sprintf("limit = { concurrency = %d, queue_wait = \"1m\" }", places))
	}
	source(busySource, fmt.Sprintf("limit = { concurrency = %d, queue = %d, queue_wait = \"1m\" }", busyPlaces, 2*hog))
	config, err := s.configure("workloads", text.String())
	if err != nil {
		return nil, err
	}
	p, url, err := startServing(ctx, s.binary, config, n)
	return &studio{process: p, url: url}, err
}

// asks returns how a session makes one call.
func asks(s *httpSession) workload.Ask {
	return func(ctx context.Context, tool string, arguments []byte) ([]byte, error) {
		r := request{method: "tools/call", tool: tool, params: fmt.Sprintf(`"name":%q,"arguments":%s`, tool, arguments)}
		answer, _, err := s.post(ctx, r, r.body(s.modern, s.last.Add(1)), new(bytes.Buffer))
		if err != nil {
			return nil, err
		}
		var m struct{ Result json.RawMessage }
		if err := json.Unmarshal(answer, &m); err != nil || m.Result == nil {
			return nil, fmt.Errorf("%s: no result: %.300s", tool, answer)
		}
		return m.Result, nil
	}
}

// workloads carries plans out in each mode.
func workloads(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "Plans of calls",
		Text: fmt.Sprintf("Plans in the shapes that agents ask for, with latencies that are drawn anew for each, carried out by a client in four ways: one call after the other; all calls of a level at once; each call as soon as what it needs is there; and the whole as one call of `bulkhead_batch`. Latencies are log-normal (half of the calls to a hosted service are faster than 250 ms, one in a hundred slower than 2 s; a database 20 ms and 200 ms, a warehouse 1.2 s and 12 s, a search 540 ms and 1.6 s) and divided by %d while they are measured; times here are multiplied by it, so what Bulkhead adds counts %[1]d-fold. "+
			"The least that a plan can take is its longest chain of calls that have to wait for each other, of what the sources say each took: that is the optimum where nothing is limited. In S8 all calls go to one source that takes so many at once. There the least is that of places never empty while a call waits, whatever the order; nobody can do better without knowing beforehand how long calls take. The last column has the order that would have been best, found with hindsight by branch and bound.", divisor),
	}
	st, err := s.openStudio(ctx)
	if err != nil {
		return out, err
	}
	defer st.process.end()
	session, err := openHTTP(ctx, newClient(), st.url+"/mcp", false)
	if err != nil {
		return out, err
	}
	defer session.close()
	alone := report.Table{Title: "Seconds without the model, on average:", Head: append([]string{"plan", "calls"}, modeNames()...)}
	alone.Head = append(alone.Head, "faster than one by one", "batch × the least", "batch × the best with hindsight")
	turns := report.Table{
		Title: fmt.Sprintf("Seconds with %.1f s for each turn of the model, its answer at the end included, on average:", turn.Seconds()),
		Head:  append(append([]string{"plan", "turns"}, modeNames()...), "faster than one by one", "than level by level"),
	}
	for _, shape := range workload.Shapes() {
		d, err := st.draws(ctx, session, shape, drawsOf(shape, o.rounds))
		if err != nil {
			return out, fmt.Errorf("%s: %w", shape.Name, err)
		}
		alone.Rows, turns.Rows = append(alone.Rows, d.alone(shape)), append(turns.Rows, d.withTurns(shape))
		out.Goals = append(out.Goals, d.goal(shape))
		out.Charts = append(out.Charts, d.charts(shape)...)
	}
	out.Tables = []report.Table{alone, turns}
	return out, st.besideHog(ctx, session, &out, o.rounds)
}

func modeNames() []string {
	var out []string
	for _, m := range workload.Modes() {
		out = append(out, m.Name)
	}
	return out
}

// drawsOf is how many plans are drawn: many where their form differs.
func drawsOf(shape workload.Shape, rounds int) int {
	if strings.HasPrefix(shape.Name, "S4") || strings.HasPrefix(shape.Name, "S6") {
		return 4 * rounds
	}
	return 2 * rounds
}

// drawn is what the plans of a shape came to, a value for each.
type drawn struct {
	calls     []float64
	wall      [4][]float64 // s, by mode
	turns     [4][]float64
	ratio     [4][]float64 // × the ideal
	hindsight []float64    // of the batch, × that of the best order
}

// draws carries plans of a shape out, each in every mode.
func (st *studio) draws(ctx context.Context, session *httpSession, shape workload.Shape, n int) (*drawn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*patience)
	defer cancel()
	d := new(drawn)
	for number := range n + 1 {
		p := shape.Draw(number, divisor)
		into := d
		if number == 0 { // opens the connections
			into = new(drawn)
		}
		into.calls = append(into.calls, float64(len(p.Calls)))
		for i := range workload.Modes() {
			i = (i + number) % len(d.wall)
			m := workload.Modes()[i]
			st.runs++
			run, err := m.Do(ctx, asks(session), &p, st.runs)
			if err != nil {
				return nil, err
			}
			ideal, best, _ := shape.Ideal(&p, run)
			into.wall[i] = append(into.wall[i], divisor*run.Wall.Seconds())
			into.turns[i] = append(into.turns[i], float64(m.Turns(&p)))
			into.ratio[i] = append(into.ratio[i], run.Wall.Seconds()/ideal.Seconds())
			if i == workload.Batch {
				into.hindsight = append(into.hindsight, run.Wall.Seconds()/best.Seconds())
			}
		}
	}
	return d, nil
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func (d *drawn) alone(shape workload.Shape) []string {
	row := []string{shape.Name, report.Number(mean(d.calls))}
	for _, wall := range d.wall {
		row = append(row, report.Number(mean(wall)))
	}
	row = append(row, faster(d.wall[workload.Sequential], d.wall[workload.Batch]), spread(d.ratio[workload.Batch]), "")
	if shape.Slots > 0 {
		row[len(row)-1] = spread(d.hindsight)
	}
	return row
}

// faster is how many times faster on average, with the range over the plans.
func faster(slow, fast []float64) string {
	s := report.Of(report.Ratios(slow, fast))
	s.Median = mean(slow) / mean(fast)
	return s.String()
}

// total is the seconds of each plan with the turns of the model.
func (d *drawn) total(mode int) []float64 {
	out := make([]float64, len(d.wall[mode]))
	for i := range out {
		out[i] = d.wall[mode][i] + turn.Seconds()*d.turns[mode][i]
	}
	return out
}

func (d *drawn) withTurns(shape workload.Shape) []string {
	var turns []string
	for _, t := range d.turns {
		turns = append(turns, report.Number(mean(t)))
	}
	row := []string{shape.Name, strings.Join(turns, ", ")}
	for mode := range d.wall {
		row = append(row, report.Number(mean(d.total(mode))))
	}
	return append(row, faster(d.total(workload.Sequential), d.total(workload.Batch)), faster(d.total(workload.ByLevel), d.total(workload.Batch)))
}

func (d *drawn) goal(shape workload.Shape) report.Goal {
	unit := " × its critical path"
	if shape.Slots > 0 {
		unit = " × places never empty"
	}
	return report.Goal{Figure: "a plan in one batch, " + shape.Name, Limit: planLimit, Unit: unit, Got: report.Of(d.ratio[workload.Batch])}
}

func (d *drawn) charts(shape workload.Shape) []report.Chart {
	plans := report.Chart{Title: planPic, Unit: "× the least"}
	turns := report.Chart{Title: turnsPic, Unit: fmt.Sprintf("seconds, with %.1f s for each turn", turn.Seconds())}
	short, _, _ := strings.Cut(shape.Name, ",")
	for i, m := range workload.Modes() {
		ours := i == workload.Batch
		if i != workload.Sequential {
			bar := report.Bar{Label: short + ", " + m.Name, Value: report.Of(d.ratio[i]), Ours: ours}
			if ours {
				bar.Limit = planLimit
			}
			plans.Bars = append(plans.Bars, bar)
		}
		if i != workload.Eager {
			turns.Bars = append(turns.Bars, report.Bar{Label: short + ", " + m.Name, Value: report.Of(d.total(i)), Ours: ours})
		}
	}
	return []report.Chart{plans, turns}
}
