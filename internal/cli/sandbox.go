package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/internal/telemetry"
)

// serveSandbox serves one sample source as an MCP server of its own, through
// the same edge as everything else.
func serveSandbox(ctx context.Context, inv *invocation) error {
	known := "the sample sources are " + strings.Join(sandbox.Names(), ", ")
	if len(inv.args) != 1 {
		return &usageError{"sandbox takes one name", known}
	}
	latency, err := duration("latency", inv.opt.latency)
	if err != nil {
		return err
	}
	name := inv.args[0]
	if !slices.Contains(sandbox.Names(), name) {
		return &usageError{fmt.Sprintf("there is no sample source %q", name), known}
	}
	log, err := telemetry.NewLogger(inv.Err, "warn", "text")
	if err != nil {
		return err
	}
	if inv.opt.listen != "" {
		if name != ticketSystem {
			return &usageError{name + " is not served over HTTP", "leave out --listen, or take " + ticketSystem}
		}
		return serveTickets(ctx, inv, latency, log)
	}
	_, a, srv, err := edge(name, sandbox.Options{Latency: latency}, log)
	if err != nil {
		return err
	}
	return beside(ctx, a, func() error { return srv.ServeStdio(ctx, inv.In, inv.Out) })
}
