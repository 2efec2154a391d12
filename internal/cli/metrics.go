package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/admin"
	"github.com/bulkhead-mcp/bulkhead/internal/metrics"
)

// figures are the metrics of an aggregate that count observes.
func figures(count *metrics.Metrics, a *aggregate.Aggregate) admin.Figures {
	return admin.Figures{Type: metrics.ContentType, Write: func(out io.Writer) error {
		return count.Write(out, metrics.Now{Status: a.Status(), Definitions: aggregate.Definitions(a)})
	}}
}

// listenFigures opens the address at which metrics are to be served; nil for "".
func listenFigures(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &hintError{fmt.Errorf("server.metrics: %w", err), "choose another address; port 0 takes a free one, which the log names"}
	}
	return ln, nil
}

// serveFigures serves metrics on ln, if there is one, until ctx ends.
func serveFigures(ctx context.Context, log *slog.Logger, ln net.Listener, f admin.Figures) {
	if ln == nil {
		return
	}
	log.Info("serving metrics", "url", "http://"+ln.Addr().String()+"/metrics")
	if err := admin.ServeFigures(ctx, ln, f); err != nil {
		log.Error("metrics are no longer served", "error", err)
	}
}

// printMetrics prints the metrics of the servers that run with this
// configuration. A server that was started to see would have none.
func printMetrics(ctx context.Context, inv *invocation) error {
	cfg, err := inv.load()
	if err != nil {
		return err
	}
	p, ok := inv.place(inv.stateDir(cfg))
	if !ok {
		return &hintError{errors.New(`servers with state = "none" cannot be found`), "serve metrics over HTTP with server.metrics, or set server.state"}
	}
	found := p.Figures(ctx)
	if len(found) == 0 {
		return &hintError{errors.New("no server runs with this configuration"), "bulkhead serve starts one; metrics count from its start"}
	}
	failed := 0
	for _, f := range found {
		if f.Problem != "" {
			failed++
			_, _ = fmt.Fprintf(inv.Err, "bulkhead: warning: process %d: %s\n", f.PID, f.Problem)
			continue
		}
		if len(found) > 1 {
			_, _ = fmt.Fprintf(inv.Out, "# process %d\n", f.PID)
		}
		if _, err := io.WriteString(inv.Out, f.Text); err != nil {
			return err
		}
	}
	if failed == len(found) {
		return failedError{}
	}
	return nil
}
