package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	runs    atomic.Int64 // each run of a plan is another question
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
	for _, l := range workload.Limits() {
		limit := fmt.Sprintf("concurrency = %d", l.Slots)
		if l.Burst > 0 { // that is how many can begin within a second, both ends of it counted once
			limit = fmt.Sprintf("rate = \"%d/1s\", burst = %d", l.Burst+int(time.Second/l.Gap)-1, l.Burst)
		}
		source(l.Name(), "limit = { "+limit+", queue_wait = \"1m\" }")
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

const plansText = "Plans in the shapes that agents ask for, with latencies drawn anew for each, carried out by a client in four ways: one call after the other; all calls of a level at once; each call as soon as what it needs is there; and the whole as one call of `bulkhead_batch`. " +
	"Latencies are log-normal (half of the calls to a hosted service take less than 250 ms, one in a hundred 2 s; to a database 20 ms and 200 ms, to a warehouse 1.2 s and 12 s, a search 540 ms and 1.6 s) and divided by %d while they are measured. Times here are multiplied by it, so what Bulkhead adds counts %[1]d-fold. " +
	"Each client has made calls before, so that its connections are open. A run counts only if every call ends as it must, with the same value in each way: in S10 those that the source refuses fail, those that depend on them are skipped, and the other 12 to 14 of 16 succeed.\n\n" +
	"The least that a plan can take is its longest chain of calls that have to wait for each other, of what the sources say each call took. In S8 one source takes all calls, only so many at once or so many in a time: there the least is that of the order in which they began, with no place empty while a call waits. How long a call takes is known only afterwards, so for whoever has to choose all orders are alike; the last two columns compare the batch, and orders by chance, with the order that turned out to be the best (found by branch and bound, exact to one in a thousand).\n\n" +
	"With the turns of the model the figures compare with published ones: LLMCompiler is 1.80, 3.74 and 2.15 times as fast as one by one for the collections that S1, S2 and S3 are shaped after ([Kim et al.](https://arxiv.org/abs/2312.04511)). A client that carries out a plan itself needs as few turns as a batch; where models ask for several calls at once, they come level by level."

// workloads carries plans out in each mode.
func workloads(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{Title: "Plans of calls", Text: fmt.Sprintf(plansText, divisor)}
	st, err := s.openStudio(ctx)
	if err != nil {
		return out, err
	}
	defer st.process.end()
	shapes := workload.Shapes()
	got, err := st.all(ctx, shapes, o.rounds)
	if err != nil {
		return out, err
	}
	alone := report.Table{Title: "Seconds without the model, on average:", Head: slices.Concat([]string{"plan", "calls"}, modeNames(),
		[]string{"batch: × as fast as one by one", "batch: × the least", "batch: × the best order", "orders by chance: × the best"})}
	turns := report.Table{
		Title: fmt.Sprintf("Seconds with %.1f s for each turn of the model, its answer at the end included, on average:", turn.Seconds()),
		Head:  slices.Concat([]string{"plan", "turns"}, modeNames(), []string{"batch: × as fast as one by one", "as level by level"}),
	}
	for i, shape := range shapes {
		d := got[i]
		alone.Rows, turns.Rows = append(alone.Rows, d.alone(shape)), append(turns.Rows, d.withTurns(shape))
		out.Goals = append(out.Goals, d.goal(shape))
		out.Charts = append(out.Charts, d.charts(shape)...)
	}
	out.Tables = []report.Table{alone, turns}
	return out, st.besideHog(ctx, &out, o.rounds)
}

func modeNames() []string {
	var out []string
	for _, m := range workload.Modes() {
		out = append(out, m.Name)
	}
	return out
}

// all carries plans of all shapes out, one after the other; those of sources with
// limits, which are long and mostly wait, beside each other.
func (st *studio) all(ctx context.Context, shapes []workload.Shape, rounds int) ([]*drawn, error) {
	out := make([]*drawn, len(shapes))
	errs := make([]error, len(shapes))
	var limited sync.WaitGroup
	for i, shape := range shapes {
		draw := func() { out[i], errs[i] = st.draws(ctx, shape, drawsOf(shape, rounds)) }
		if shape.Limit == (workload.Limit{}) {
			limited.Wait()
			draw()
		} else {
			limited.Go(draw)
		}
	}
	limited.Wait()
	return out, errors.Join(errs...)
}

// drawsOf is how many plans are drawn.
func drawsOf(shape workload.Shape, rounds int) int {
	switch {
	case strings.HasPrefix(shape.Name, "S4"):
		return 4 * rounds
	case strings.HasPrefix(shape.Name, "S6"):
		return max(3*rounds/2, 1)
	case shape.Limit != (workload.Limit{}):
		return max(8*rounds/5, 1)
	}
	return rounds
}

// drawn is what the plans of a shape came to, a value for each.
type drawn struct {
	calls  []float64
	wall   [4][]float64 // s, by mode
	turns  [4][]float64
	ratio  [4][]float64 // × the ideal
	best   []float64    // of the batch, × that of the best order
	chance []float64    // of orders by chance, × that of the best one
}

// draws carries plans of a shape out, each in every mode.
func (st *studio) draws(ctx context.Context, shape workload.Shape, n int) (*drawn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*patience)
	defer cancel()
	session, err := openHTTP(ctx, newClient(), st.url+"/mcp", false)
	if err != nil {
		return nil, err
	}
	defer session.close()
	d := new(drawn)
	warm := shape.Draw(0, divisor)
	if err := st.carryOut(ctx, session, shape, &warm, workload.Batch, new(drawn)); err != nil { // opens the connections
		return nil, err
	}
	for number := range n {
		p := shape.Draw(number, divisor)
		d.calls = append(d.calls, float64(len(p.Calls)))
		for i := range d.wall {
			if err := st.carryOut(ctx, session, shape, &p, (i+number)%len(d.wall), d); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

// carryOut carries a plan out in one mode and notes what it came to.
func (st *studio) carryOut(ctx context.Context, session *httpSession, shape workload.Shape, p *workload.Plan, mode int, into *drawn) error {
	time.Sleep(time.Duration(shape.Limit.Burst) * shape.Limit.Gap) // until all of them may begin again
	m := workload.Modes()[mode]
	run, err := m.Do(ctx, asks(session), p, st.runs.Add(1))
	if err != nil {
		return fmt.Errorf("%s: %w", shape.Name, err)
	}
	least := shape.Least(p, run)
	into.wall[mode] = append(into.wall[mode], divisor*run.Wall.Seconds())
	into.turns[mode] = append(into.turns[mode], float64(m.Turns(p)))
	into.ratio[mode] = append(into.ratio[mode], run.Wall.Seconds()/least.InOrder.Seconds())
	if mode == workload.Batch {
		into.best = append(into.best, run.Wall.Seconds()/least.Best.Seconds())
		for _, d := range least.ByChance {
			into.chance = append(into.chance, d.Seconds()/least.Best.Seconds())
		}
	}
	return nil
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func (d *drawn) alone(shape workload.Shape) []string {
	row := []string{shape.Name, fmt.Sprintf("%.3g", mean(d.calls))}
	for _, wall := range d.wall {
		row = append(row, report.Number(mean(wall)))
	}
	row = append(row, faster(d.wall[workload.Sequential], d.wall[workload.Batch]), spread(d.ratio[workload.Batch]), "", "")
	if shape.Limit != (workload.Limit{}) {
		row[len(row)-2], row[len(row)-1] = spread(d.best), spread(d.chance)
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
		turns = append(turns, fmt.Sprintf("%.3g", mean(t)))
	}
	row := []string{shape.Name, strings.Join(turns, ", ")}
	for mode := range d.wall {
		row = append(row, report.Number(mean(d.total(mode))))
	}
	return append(row, faster(d.total(workload.Sequential), d.total(workload.Batch)), faster(d.total(workload.ByLevel), d.total(workload.Batch)))
}

func (d *drawn) goal(shape workload.Shape) report.Goal {
	unit := " × its critical path"
	if shape.Limit != (workload.Limit{}) {
		unit = " × the least in that order"
	}
	return report.Goal{Figure: "a plan in one batch, " + shape.Name, Limit: planLimit, Unit: unit, Got: report.Of(d.ratio[workload.Batch])}
}

func (d *drawn) charts(shape workload.Shape) []report.Chart {
	plans := report.Chart{Title: planPic, Unit: "× the least"}
	turns := report.Chart{Title: turnsPic, Unit: fmt.Sprintf("seconds, with %.1f s for each turn", turn.Seconds())}
	for i, m := range workload.Modes() {
		if i == workload.Eager { // the same bars as those of the batch
			continue
		}
		label, ours := shape.Name+", "+m.Name, i == workload.Batch
		turns.Bars = append(turns.Bars, report.Bar{Label: label, Value: report.Of(d.total(i)), Ours: ours})
		if i == workload.Sequential {
			continue
		}
		bar := report.Bar{Label: label, Value: report.Of(d.ratio[i]), Ours: ours}
		if ours {
			bar.Limit = planLimit
		}
		plans.Bars = append(plans.Bars, bar)
	}
	return []report.Chart{plans, turns}
}
