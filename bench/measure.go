package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

// patience is how long a burst may take beyond its time before it counts as
// hanging.
const patience = time.Minute

// figures are what bursts came to, a value for each round.
type figures struct {
	rate []float64 // calls a second
	p50  []float64 // µs
	p99  []float64 // µs
	cpu  []float64 // µs of the process for each call
	wall []float64 // s, from the first call to the last answer
}

// load is what a target is made to do.
type load struct {
	request  request
	callers  int
	sessions int           // 1, or as many as there are callers
	length   time.Duration // 0 for one call of each caller
}

// lane is a target with its sessions open, and what it came to.
type lane struct {
	target
	family   int
	sessions []session
	figures  figures
}

// measure puts all targets under load, in turn within each round, and returns
// their figures by family and target. A short burst beforehand warms them up.
func measure(ctx context.Context, families []family, l load, rounds int) ([][]figures, error) {
	var lanes []*lane
	defer func() {
		for _, ln := range lanes {
			closeAll(ln.sessions)
		}
	}()
	for f, fam := range families {
		for _, t := range fam.targets {
			sessions, err := t.openMany(ctx, l.sessions)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", fam.name, t.name, err)
			}
			lanes = append(lanes, &lane{target: t, family: f, sessions: sessions})
		}
	}
	warm := l
	warm.length /= 3
	for round := range rounds + 1 {
		for _, ln := range lanes {
			once := l
			into := &ln.figures
			if round == 0 {
				once, into = warm, new(figures)
			}
			if err := ln.burst(ctx, once, into); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", families[ln.family].name, ln.name, err)
			}
		}
	}
	out := make([][]figures, len(families))
	for _, ln := range lanes {
		out[ln.family] = append(out[ln.family], ln.figures)
	}
	return out, nil
}

// burst has callers ask as fast as they are answered, and notes how it went.
func (ln *lane) burst(ctx context.Context, l load, into *figures) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.length+patience, errors.New("no answer within a minute"))
	defer cancel()
	before, err := cpuOf(ln.pid)
	if err != nil {
		return err
	}
	began := time.Now()
	took := make([][]time.Duration, l.callers)
	errs := make([]error, l.callers)
	var wg sync.WaitGroup
	for i := range l.callers {
		s := ln.sessions[i%len(ln.sessions)]
		wg.Go(func() {
			for first := true; first || time.Since(began) < l.length; first = false {
				start := time.Now()
				if errs[i] = s.ask(ctx, l.request); errs[i] != nil {
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	wall := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return err // the others most likely say the same
		}
	}
	after, err := cpuOf(ln.pid)
	if err != nil {
		return err
	}
	into.note(slices.Concat(took...), wall, after-before)
	return nil
}

func (f *figures) note(took []time.Duration, wall, cpu time.Duration) {
	us := make([]float64, len(took))
	for i, d := range took {
		us[i] = micro(d)
	}
	slices.Sort(us)
	f.rate = append(f.rate, float64(len(us))/wall.Seconds())
	f.p50 = append(f.p50, report.Quantile(us, 0.5))
	f.p99 = append(f.p99, report.Quantile(us, 0.99))
	f.cpu = append(f.cpu, micro(cpu)/float64(len(us)))
	f.wall = append(f.wall, wall.Seconds())
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
