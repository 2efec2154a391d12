// Bulkhead is one MCP server in front of many data sources.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/bulkhead-mcp/bulkhead/internal/cli"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

func main() {
	egress.Poison()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	os.Exit(cli.Main(ctx, os.Args[1:], cli.System()))
}
