package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

const (
	upstreams = 20
	ownStart  = 500 * time.Millisecond // that an upstream is deaf for
)

// starts measures from the start of the process to the list that has
// everything.
func starts(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "Start with 20 upstreams",
		Text:  fmt.Sprintf("From the start of the process to a full list, over stdio, nothing remembered from before, with %d stdio upstreams each of which hears nothing for its first %s. The ratio is to one such upstream alone, from its start to its list.", upstreams, ownStart),
	}
	var text strings.Builder
	text.WriteString(server)
	for i := range upstreams {
		text.WriteString(s.stdioUpstream(fmt.Sprintf("u%02d", i), "-delay", ownStart.String()))
	}
	config, err := s.configure("twenty", text.String())
	if err != nil {
		return out, err
	}
	var alone, all []float64
	for range o.rounds {
		one, err := timeToList(ctx, holds(1), s.self, "peer", "stdio", "-delay", ownStart.String())
		if err != nil {
			return out, err
		}
		twenty, err := timeToList(ctx, holds(upstreams), s.binary, "serve", "--config", config)
		if err != nil {
			return out, err
		}
		alone, all = append(alone, 1000*one.Seconds()), append(all, 1000*twenty.Seconds())
	}
	ratio := report.Of(report.Ratios(all, alone))
	out.Tables = []report.Table{{
		Head: []string{"what", "ms", "× one upstream"},
		Rows: [][]string{{"one upstream alone", spread(alone), ""}, {"Bulkhead with 20", spread(all), ratio.String()}},
	}}
	out.Goals = []report.Goal{{Figure: "20 upstreams to full list", Limit: 2, Unit: " × the slowest's own start", Got: ratio}}
	out.Charts = []report.Chart{{Title: wallPicture, Bars: []report.Bar{{Label: "20 upstreams to full list, Bulkhead", Value: ratio, Limit: 2, Ours: true}}}}
	return out, nil
}

// timeToList runs a server over stdio and returns how long it takes until its list
// of tools is full.
func timeToList(ctx context.Context, full func(list []byte) bool, program string, args ...string) (time.Duration, error) {
	wall, _, err := startToList(ctx, full, program, args...)
	return wall, err
}

// startToList is [timeToList] that says what processor time it takes as well.
func startToList(ctx context.Context, full func(list []byte) bool, program string, args ...string) (wall, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	p, err := start(ctx, true, program, args...)
	if err != nil {
		return 0, 0, err
	}
	defer p.end()
	p.drain(p.log)
	s := newStdioSession(p)
	r := listTools()
	r.enough = full
	for {
		err := s.ask(ctx, r)
		if err == nil {
			wall = time.Since(began)
			cpu, err = cpuOf(p.pid())
			return wall, cpu, err
		}
		select {
		case <-s.ended:
			return 0, 0, err
		case <-ctx.Done():
			return 0, 0, fmt.Errorf("no full list within %s: %w", patience, err)
		case <-time.After(10 * time.Millisecond): // it is not full yet
		}
	}
}
