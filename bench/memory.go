package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

// coldText says which pages of a program are in memory when it is measured.
const coldText = "Each program is a copy that nothing of is in memory when it is started first, so that its pages are read as they are touched. A file that was read or written as a whole before, as by an unpacking a moment ago, is mapped in larger pieces, as the kernel keeps it: up to 9 MiB more of it are resident then, all of them clean and shared."

// settle is how long a process is left alone before its memory is read.
const settle = 3 * time.Second

// crowds are how many clients are there at once.
func crowds() []int { return []int{200, 1000} }

// resident is the memory of processes, in KiB, a value for each round.
type resident struct {
	fresh  []float64
	crowds [][]float64 // more for each session, by crowd
}

// memory starts servers anew and opens sessions on them.
func memory(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "Memory",
		Text: "Resident memory of a process just started, three seconds after its last request, and how much more it is for each session when 200 and then 1,000 legacy sessions over HTTP have been opened and each has listed the tools once. With streams, each also keeps its stream of notifications open, over a connection of its own. Bulkhead has three HTTP upstreams, the relay one. " +
			coldText,
	}
	t := report.Table{Head: []string{"through", "sessions", "fresh MiB", "KiB more a session at 200", "at 1,000"}}
	peers, err := s.cold(s.self, "memory-peers")
	if err != nil {
		return out, err
	}
	own, err := s.cold(s.binary, "memory-own")
	if err != nil {
		return out, err
	}
	servers := []struct {
		name, program string
		start         func(context.Context, string) (*process, string, error)
	}{{"mcp-go relay", peers, s.startRelay}, {"Bulkhead", own, s.startThree}}
	for _, srv := range servers {
		for _, streams := range []bool{false, true} {
			got := resident{crowds: make([][]float64, len(crowds()))}
			for range min(o.rounds, 2) { // hardly anything disturbs it, and it takes its time
				if err := got.round(ctx, func() (*process, string, error) { return srv.start(ctx, srv.program) }, streams); err != nil {
					return out, fmt.Errorf("%s: %w", srv.name, err)
				}
			}
			kind := map[bool]string{false: "without streams", true: "with streams"}[streams]
			fresh := report.Of(scaled(got.fresh, 1.0/1024))
			t.Rows = append(t.Rows, []string{srv.name, kind, fresh.String(), spread(got.crowds[0]), spread(got.crowds[1])})
			if srv.name == "Bulkhead" {
				out.Goals = append(out.Goals, memoryGoals(kind, streams, fresh, got)...)
			}
		}
	}
	out.Tables = []report.Table{t}
	return out, nil
}

func memoryGoals(kind string, streams bool, fresh report.Spread, got resident) []report.Goal {
	var goals []report.Goal
	limit := 60.0
	if !streams {
		limit = 15
		goals = append(goals, report.Goal{Figure: "resident, fresh, three HTTP upstreams", Limit: 25, Unit: " MiB", Got: fresh})
	}
	for i, n := range crowds() {
		goals = append(goals, report.Goal{
			Figure: fmt.Sprintf("resident, more for each of %s sessions %s", report.Number(float64(n)), kind),
			Limit:  limit, Unit: " KiB", Got: report.Of(got.crowds[i]),
		})
	}
	return goals
}

// startThree starts a Bulkhead before three upstreams.
func (s *stage) startThree(ctx context.Context, binary string) (*process, string, error) {
	config, err := s.configure("three", server+"listen = \"127.0.0.1:0\"\n"+
		s.httpUpstream("a", "legacy", few)+s.httpUpstream("b", "legacy", few)+s.httpUpstream("c", "legacy", few))
	if err != nil {
		return nil, "", err
	}
	return startServing(ctx, binary, config, 3)
}

func (s *stage) startRelay(ctx context.Context, program string) (*process, string, error) {
	return startPeer(ctx, program, "relay", "legacy", s.upstream+path("legacy", few))
}

// round starts a server, lets the crowds come and ends it.
func (m *resident) round(ctx context.Context, start func() (*process, string, error), streams bool) error {
	p, url, err := start()
	if err != nil {
		return err
	}
	defer p.end()
	fresh, err := settled(ctx, p)
	if err != nil {
		return err
	}
	m.fresh = append(m.fresh, fresh)
	c := &crowd{url: url + "/mcp", streams: streams}
	defer c.leave()
	for i, n := range crowds() {
		if err := c.grow(ctx, n); err != nil {
			return err
		}
		now, err := settled(ctx, p)
		if err != nil {
			return err
		}
		m.crowds[i] = append(m.crowds[i], (now-fresh)/float64(n))
	}
	return nil
}

func settled(ctx context.Context, p *process) (kib float64, err error) {
	select {
	case <-time.After(settle):
		return kibOf(p.pid(), "VmRSS")
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// crowd is clients that are there at once.
type crowd struct {
	url     string
	streams bool

	mu       sync.Mutex
	sessions int
	open     []io.Closer
}

// grow lets clients come until there are n, a few at a time.
func (c *crowd) grow(ctx context.Context, n int) error {
	const atOnce = 8
	more := n - c.sessions
	c.sessions = n
	errs := make(chan error, atOnce)
	for i := range atOnce {
		go func() {
			client := newClient()
			defer client.CloseIdleConnections()
			var err error
			for range (more + i) / atOnce {
				if err = c.join(ctx, client); err != nil {
					break
				}
			}
			errs <- err
		}()
	}
	var first error
	for range atOnce {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// join is one client that comes.
func (c *crowd) join(ctx context.Context, shared *http.Client) error {
	s, err := openHTTP(ctx, shared, c.url, false)
	if err != nil {
		return err
	}
	if c.streams {
		stream, err := s.listen(ctx)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.open = append(c.open, stream)
		c.mu.Unlock()
	}
	return s.ask(ctx, listTools())
}

// leave closes the streams.
func (c *crowd) leave() {
	for _, stream := range slices.Backward(c.open) {
		_ = stream.Close() // the server is ended next
	}
}
