package e2e_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"golang.org/x/sync/errgroup"
)

// Eight sources of different latency are answered in the time of the slowest,
// whichever way a client of another make comes in.
func TestEightSources(t *testing.T) {
	config := ""
	for i := range 8 {
		config += sandboxUpstream(fmt.Sprintf("s%d", i+1), "crm", time.Duration(i+1)*100*time.Millisecond)
	}
	for _, way := range []string{"stdio", "http", "sse"} {
		for _, era := range []string{"legacy", "modern"} {
			if way == "sse" && era == "modern" {
				continue // the older transport is of the older era
			}
			t.Run(way+" "+era, func(t *testing.T) {
				c := otherClient(t, config, way, era)
				var names []string
				for i := range 8 {
					names = append(names, fmt.Sprintf("s%d_get_customer", i+1))
				}
				if _, err := askAll(t, c, names); err != nil { // the way there is paved once
					t.Fatal(err)
				}
				took, err := askAll(t, c, names)
				if err != nil {
					t.Fatal(err)
				}
				var sum, slowest time.Duration
				for _, d := range took[1:] {
					sum, slowest = sum+d, max(slowest, d)
				}
				wall := took[0]
				t.Logf("wall %v, slowest %v, sum %v: %.1f times faster", wall, slowest, sum, float64(sum)/float64(wall))
				if slowest < 800*time.Millisecond {
					t.Errorf("the slowest took %v, less than its latency", slowest)
				}
				if wall > slowest*3/2 || sum < 3*wall {
					t.Errorf("wall %v, slowest %v, sum %v", wall, slowest, sum)
				}
			})
		}
	}
}

// askAll calls all tools at once; took[0] is the time of all together.
func askAll(t *testing.T, c *mcpclient.Client, names []string) (took []time.Duration, err error) {
	took = make([]time.Duration, len(names)+1)
	group, ctx := errgroup.WithContext(t.Context())
	began := time.Now()
	for i, name := range names {
		group.Go(func() error {
			began := time.Now()
			req := mcp.CallToolRequest{}
			req.Params.Name, req.Params.Arguments = name, map[string]any{"customer_id": "C-1001"}
			res, err := c.CallTool(ctx, req)
			took[i+1] = time.Since(began)
			if err == nil && res.IsError {
				err = fmt.Errorf("%s: %v", name, res.Content)
			}
			return err
		})
	}
	err = group.Wait()
	took[0] = time.Since(began)
	return took, err
}

// otherClient is mcp-go's client, connected to a program of its own.
func otherClient(t *testing.T, config, way, era string, opts ...mcpclient.ClientOption) *mcpclient.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var tr transport.Interface
	var err error
	switch way {
	case "stdio":
		p := start(t, config, nil)
		tr = transport.NewIO(p.out, p.in, io.NopCloser(strings.NewReader("")))
	case "sse":
		_, url := serveHTTP(t, config)
		tr, err = transport.NewSSE(strings.TrimSuffix(url, "/mcp") + "/sse")
	default:
		_, url := serveHTTP(t, config)
		tr, err = transport.NewStreamableHTTP(url, transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
	}
	if err != nil {
		t.Fatal(err)
	}
	version := mcp.ProtocolVersion20260728
	if era == "legacy" {
		version = mcp.ProtocolVersion20251125
		opts = append(opts, mcpclient.WithLegacyProtocolOnly()) //nolint:staticcheck // legacy clients are what is tested
	}
	c := mcpclient.NewClient(tr, opts...)
	t.Cleanup(func() { _ = c.Close() })
	// The stream of the older transport lives as long as this context.
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	init := mcp.InitializeRequest{}
	init.Params.ProtocolVersion = version
	init.Params.ClientInfo = mcp.Implementation{Name: "other", Version: "1"}
	if _, err := c.Initialize(ctx, init); err != nil {
		t.Fatal(err)
	}
	if got := c.ProtocolVersion(); got != version {
		t.Fatalf("the client speaks %s, not %s", got, version)
	}
	return c
}
