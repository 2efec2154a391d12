package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/bench/peer"
	"github.com/bulkhead-mcp/bulkhead/bench/workload"
)

// TestWorkloads carries out a plan of each shape of the benchmark in the ways of
// a client and as one batch: each has the same calls succeed with the same
// values, whatever the limits of sources, and takes no less than is possible.
func TestWorkloads(t *testing.T) {
	in, stop := io.Pipe()
	out, says := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- peer.Run(t.Context(), []string{"http"}, in, says) }()
	t.Cleanup(func() {
		stop.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("url = %q", "http://"+strings.TrimSpace(address)+"/work/mcp")
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
					run, err := mode.Do(t.Context(), ask, &p, int64(i))
					if err != nil {
						t.Errorf("%s: %v", shape.Name, err)
						continue
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
