package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
	"github.com/bulkhead-mcp/bulkhead/bench/workload"
)

const (
	busyPlaces = 8 // of the source that the busy session has queued at
	lights     = 20
	lightCalls = 2
	// lightLimit is how many turns a plan of a light session may wait: two for
	// each of its calls.
	lightLimit = 2 * lightCalls
)

// guests are a busy session and light ones.
type guests struct {
	studio *studio
	busy   *httpSession
	light  []*httpSession
}

// besideHog has one session queue many calls at a source, while others carry out
// small plans there.
func (st *studio) besideHog(ctx context.Context, out *report.Section, rounds int) error {
	c := guests{studio: st}
	for range lights + 1 {
		s, err := openHTTP(ctx, keeping(hog), st.url+"/mcp", false)
		if err != nil {
			return err
		}
		defer s.close()
		c.light = append(c.light, s)
	}
	c.busy, c.light = c.light[0], c.light[1:]
	// As with all plans, once unmeasured: the first calls are not to wait while this
	// client opens a connection for each of the others.
	warm := workload.Apart("S9-warm", busySource, hog).Draw(0, 50*divisor)
	if _, err := workload.Modes()[workload.ByLevel].Do(ctx, asks(c.busy), &warm, st.runs.Add(1)); err != nil {
		return err
	}
	var waits [4][]float64 // in turns, the longest of each round
	var walls [4][]float64 // ms
	var used []float64
	for number := range min(rounds, 2) {
		r, err := c.round(ctx, number)
		if err != nil {
			return err
		}
		for mode := range waits {
			waits[mode], walls[mode] = append(waits[mode], slices.Max(r.waits[mode])), append(walls[mode], r.walls[mode]...)
		}
		used = append(used, r.used)
	}
	t := report.Table{
		Title: fmt.Sprintf("S9, %d sessions with plans of %d calls beside one with %s queued calls at a source that takes %d at once (times as measured). A turn is what the source needs for one call of each session; the wait is what a plan took beyond its calls:",
			lights, lightCalls, report.Number(hog), busyPlaces),
		Head: []string{"light sessions' plans", "ms", "longest wait, turns"},
	}
	for i, m := range workload.Modes() {
		t.Rows = append(t.Rows, []string{m.Name, spread(walls[i]), spread(waits[i])})
	}
	out.Tables = append(out.Tables, t)
	out.Goals = append(out.Goals,
		report.Goal{Figure: fmt.Sprintf("longest wait of %d plans of %d calls beside 1,000 queued", lights, lightCalls), Limit: lightLimit, Unit: " turns", Got: report.Of(waits[workload.Batch])},
		report.Goal{Figure: "1,000 calls and those beside them, S9", Limit: planLimit, Unit: " × places never empty", Got: report.Of(used)})
	return nil
}

// crowded is what a round came to.
type crowded struct {
	waits, walls [4][]float64 // turns and ms of the light sessions' plans, by mode
	used         float64      // until the busy session's last answer, × places never empty
}

// round lets the light sessions carry out their plans in each mode, while the
// busy one waits.
func (c *guests) round(ctx context.Context, number int) (*crowded, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	queue := workload.Apart("S9-queue", busySource, hog).Draw(number, 2*divisor)
	var wg sync.WaitGroup
	var queued *workload.Run
	var failed error
	run := c.studio.runs.Add(1)
	wg.Go(func() {
		queued, failed = workload.Modes()[workload.ByLevel].Do(ctx, asks(c.busy), &queue, run)
	})
	time.Sleep(300 * time.Millisecond) // until all of them wait
	var runs [4][]*workload.Run
	var err error
	for mode := range runs {
		if err == nil {
			runs[mode], err = c.all(ctx, number, mode)
		}
	}
	wg.Wait()
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	return judge(queued, runs), nil
}

// all has all light sessions carry out a plan at the same time.
func (c *guests) all(ctx context.Context, number, mode int) ([]*workload.Run, error) {
	out := make([]*workload.Run, lights)
	errs := make([]error, lights)
	var wg sync.WaitGroup
	for i, s := range c.light {
		run := c.studio.runs.Add(1)
		wg.Go(func() {
			p := workload.Apart("S9-light", busySource, lightCalls).Draw(number*lights+i, 2*divisor)
			out[i], errs[i] = workload.Modes()[mode].Do(ctx, asks(s), &p, run)
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// judge compares a round with what it should be.
func judge(queued *workload.Run, runs [4][]*workload.Run) *crowded {
	calls := slices.Clone(queued.Calls)
	for _, mode := range runs {
		for _, r := range mode {
			calls = append(calls, r.Calls...)
		}
	}
	slices.SortFunc(calls, func(a, b workload.Outcome) int { return cmp.Compare(a.Begun, b.Begun) })
	all := workload.Run{Calls: calls}
	var sum time.Duration
	for _, d := range all.Took() {
		sum += d
	}
	turn := (lights + 1) * sum.Seconds() / float64(len(calls)) / busyPlaces
	out := &crowded{used: queued.Wall.Seconds() / workload.InOrder(all.Took(), busyPlaces).Seconds()}
	for mode, of := range runs {
		for _, r := range of {
			took := slices.Max(r.Took())
			if mode == workload.Sequential {
				took = r.Took()[0] + r.Took()[1]
			}
			out.walls[mode] = append(out.walls[mode], 1000*r.Wall.Seconds())
			out.waits[mode] = append(out.waits[mode], (r.Wall-took).Seconds()/turn)
		}
	}
	return out
}
