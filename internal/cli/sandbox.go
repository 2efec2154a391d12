package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/internal/telemetry"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// serveSandbox serves one sample source as an MCP server of its own, through
// the same edge as everything else.
func serveSandbox(ctx context.Context, inv *invocation) error {
	if len(inv.args) != 1 {
		return &usageError{"sandbox takes one name", "the sample sources are " + strings.Join(sandbox.Names(), ", ")}
	}
	latency, err := duration("latency", inv.opt.latency)
	if err != nil {
		return err
	}
	name := inv.args[0]
	adapter, err := sandbox.New(name, sandbox.Options{Latency: latency})
	if err != nil {
		return &usageError{fmt.Sprintf("there is no sample source %q", name), "the sample sources are " + strings.Join(sandbox.Names(), ", ")}
	}
	log, err := telemetry.NewLogger(inv.Err, "warn", "text")
	if err != nil {
		return err
	}
	a, err := aggregate.New([]aggregate.Member{{ID: upstream.ID(name), Adapter: adapter}}, aggregate.Options{Log: log, Plain: true})
	if err != nil {
		return err
	}
	srv, err := inbound.New(lookup(a), inbound.Options{
		Name: "bulkhead-sandbox-" + name, Title: "Bulkhead sample " + name, Version: Version(), Log: log,
	})
	if err != nil {
		return err
	}
	return beside(ctx, a, func() error { return srv.ServeStdio(ctx, inv.In, inv.Out) })
}
