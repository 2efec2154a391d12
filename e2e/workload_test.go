package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/bench/workload"
)

// TestWorkloads carries out a plan of each shape of the benchmark in the ways of
// a client and as one batch: each has the same calls succeed with the same
// values, whatever the limits of sources, and takes no less than is possible. Calls
// of the widest level run at once, as many as their source takes: the source answers
// none before, except to the client that asks one by one.
func TestWorkloads(t *testing.T) {
	server, url := newMeeting(t)
	url = fmt.Sprintf("url = %q", url)
	config := ""
	for _, name := range workload.Sources() {
		config += upstreamTable(name, url)
	}
	for _, l := range workload.Limits() {
		limit := fmt.Sprintf("limit = { concurrency = %d }", l.Slots)
		if l.Burst > 0 {
			limit = fmt.Sprintf("limit = { rate = \"400/1s\", burst = %d }", l.Burst)
		}
		config += upstreamTable(l.Name(), url, limit)
	}
	_, legacy := serveHTTP(t, config)
	clients := map[string]*client{
		"HTTP, legacy":  overHTTP(t, legacy, false),
		"stdio, modern": start(t, config, nil, "serve").stdio(true),
	}
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			c.ready()
			ask := func(ctx context.Context, tool string, arguments []byte) ([]byte, error) {
				a, err := c.doContext(ctx, "tools/call", map[string]any{"name": tool, "arguments": json.RawMessage(arguments)})
				if err == nil && a.Error != nil {
					err = fmt.Errorf("%s: %s", tool, a.Error.Message)
				}
				return a.Result, err
			}
			for _, shape := range workload.Shapes() {
				p := shape.Draw(0, 100)
				for i, mode := range workload.Modes() {
					if server.reset(); i != workload.Sequential {
						server.expect(widest(&p, shape.Limit.Slots))
					}
					run, err := mode.Do(t.Context(), ask, &p, int64(i))
					if err != nil || server.missing() > 0 {
						t.Fatalf("%s, %s: %v; %d calls were not there at once", shape.Name, mode.Name, err, server.missing())
					}
					least := p.Critical(run.Took())
					if run.Wall < least {
						t.Errorf("%s, %s: %v, and it takes at least %v", shape.Name, mode.Name, run.Wall, least)
					}
				}
			}
		})
	}
}

// widest returns how many calls of the widest level of a plan are to be made at
// once, at a source that takes slots of them, and their keys.
func widest(p *workload.Plan, slots int) (n int, keys []string) {
	skipped := make([]bool, len(p.Calls))
	for i, c := range p.Calls {
		before := c.Of
		if strings.Contains(c.ID, ".") {
			before = append(slices.Clone(before), c.Over)
		}
		skipped[i] = slices.ContainsFunc(before, func(j int) bool { return skipped[j] || p.Calls[j].Fails })
	}
	for _, level := range p.Levels() {
		level = slices.DeleteFunc(level, func(i int) bool { return skipped[i] })
		if len(level) <= n {
			continue
		}
		n, keys = len(level), nil
		for _, i := range level {
			key, _, _ := strings.Cut(p.Calls[i].ID, ".")
			keys = append(keys, key)
		}
	}
	if slots > 0 {
		n = min(n, slots)
	}
	return n, keys
}
