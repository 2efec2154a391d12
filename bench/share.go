package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/peer"
	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

const (
	sources      = 8
	sourcesLimit = 1.05
)

// eight has one session ask eight sources at once, once each.
func eight(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "Eight sources at once",
		Text: fmt.Sprintf("One session asks each of %d sources at the same moment; each takes %s. What counts is the time until the last answer, compared with the slowest of the same calls made to the upstream alone, in the same round.",
			sources, peer.Slow),
	}
	var text strings.Builder
	text.WriteString(server + "listen = \"127.0.0.1:0\"\n")
	for i := range sources {
		text.WriteString(s.httpUpstream(fmt.Sprintf("u%d", i), "legacy", few))
	}
	config, err := s.configure("eight", text.String())
	if err != nil {
		return out, err
	}
	own, url, err := startServing(ctx, s.binary, config, sources)
	if err != nil {
		return out, err
	}
	defer own.end()
	alone, err := openHTTP(ctx, newClient(), s.upstream+path("legacy", few), false)
	if err != nil {
		return out, err
	}
	defer alone.close()
	through, err := openHTTP(ctx, newClient(), url+"/mcp", false)
	if err != nil {
		return out, err
	}
	defer through.close()
	var direct, batch []float64
	for round := range 3*o.rounds + 1 {
		slowest, err := together(ctx, alone, func(int) request { return lateCall() })
		if err != nil {
			return out, err
		}
		all, err := together(ctx, through, func(i int) request { return of(fmt.Sprintf("u%d_", i), lateCall()) })
		if err != nil {
			return out, err
		}
		if round > 0 { // the first opens the connections
			direct, batch = append(direct, 1000*slowest.Seconds()), append(batch, 1000*all.Seconds())
		}
	}
	ratio := report.Of(report.Ratios(batch, direct))
	out.Tables = []report.Table{{
		Head: []string{"what", "until the last, ms", "× the slowest"},
		Rows: [][]string{{"the slowest alone", spread(direct), ""}, {"Bulkhead with 8 sources", spread(batch), ratio.String()}},
	}}
	out.Goals = []report.Goal{{Figure: "a call to each of 8 sources at once", Limit: sourcesLimit, Unit: " × the slowest", Got: ratio}}
	out.Charts = []report.Chart{{Title: wallPicture, Bars: []report.Bar{{Label: "8 sources at once, Bulkhead", Value: ratio, Limit: sourcesLimit, Ours: true}}}}
	return out, nil
}

// of returns the same call of a tool with a prefix.
func of(prefix string, r request) request {
	return call(prefix+r.tool, "", r.want, r.least)
}

// together asks for all at once and returns the time until the last answer.
func together(ctx context.Context, s session, r func(int) request) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := make([]error, sources)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range sources {
		wg.Go(func() { errs[i] = s.ask(ctx, r(i)) })
	}
	wg.Wait()
	took := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return took, nil
}

const (
	hog       = 1000 // calls that one session has queued
	perSecond = 100  // of the source's quota
	// fairLimit is how many turns a call of the other session may wait: two for
	// each active session.
	fairLimit = 2
)

// fair has one session queue many calls at a source with a quota, while another
// asks one after the other.
func fair(ctx context.Context, s *stage, o options) (report.Section, error) {
	const active = 2
	turn := active * time.Second / perSecond
	out := report.Section{
		Title: "A busy session beside a quiet one",
		Text: fmt.Sprintf("A source may be called %d times a second. One session asks %d times at once; meanwhile another asks one call after the other. A turn is %s: the active sessions divided by the rate.",
			perSecond, hog, turn),
	}
	config, err := s.configure("fair", server+"listen = \"127.0.0.1:0\"\ndeadline = \"2m\"\n"+s.httpUpstream("u", "legacy", few)+
		fmt.Sprintf("prefix = \"\"\nlimit = { rate = \"%d/1s\", burst = 1, queue = %d, queue_wait = \"1m\" }\n", perSecond, 2*hog))
	if err != nil {
		return out, err
	}
	own, url, err := startServing(ctx, s.binary, config, 1)
	if err != nil {
		return out, err
	}
	defer own.end()
	busy, err := openHTTP(ctx, newClient(), url+"/mcp", false)
	if err != nil {
		return out, err
	}
	defer busy.close()
	quiet, err := openHTTP(ctx, newClient(), url+"/mcp", false)
	if err != nil {
		return out, err
	}
	defer quiet.close()
	var waited []float64 // ms
	err = beside(ctx, busy, func() error {
		for range min(40*o.rounds, 300) {
			began := time.Now()
			if err := quiet.ask(ctx, echoCall()); err != nil {
				return err
			}
			waited = append(waited, 1000*time.Since(began).Seconds())
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	turns := scaled(waited, 1/(1000*turn.Seconds()))
	of := report.Of(turns)
	out.Tables = []report.Table{{
		Head: []string{"quiet session", "ms", "turns"},
		Rows: [][]string{{fmt.Sprintf("%d calls beside the %d", len(waited), hog), spread(waited), of.String()}},
	}}
	out.Goals = []report.Goal{{Figure: "wait of a quiet session beside 1,000 queued calls", Limit: fairLimit, Unit: " turns", Got: of}}
	return out, nil
}

// beside runs f while a session has its calls queued.
func beside(ctx context.Context, s session, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := make([]error, hog)
	var wg sync.WaitGroup
	for i := range hog {
		wg.Go(func() { errs[i] = s.ask(ctx, numberedCall()) })
	}
	time.Sleep(300 * time.Millisecond) // until all of them wait
	err := f()
	wg.Wait()
	for _, e := range errs {
		if err == nil {
			err = e
		}
	}
	return err
}
