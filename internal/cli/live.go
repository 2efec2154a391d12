package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/admin"
)

// place returns where the servers of one configuration, whose state directory is
// given, say how they are. It reports false where nothing is to be kept.
func (e Env) place(state string) (admin.Place, bool) {
	if state == "" {
		return admin.Place{}, false
	}
	dirs := []string{state}
	if dir := e.variable("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, "bulkhead"))
	}
	temp := e.variable("TMPDIR")
	if !filepath.IsAbs(temp) {
		temp = os.TempDir()
	}
	dirs = append(dirs, filepath.Join(temp, fmt.Sprintf("bulkhead-%d", os.Getuid())))
	return admin.Place{Dirs: dirs, Key: filepath.Base(state)}, true
}

// tellStatus lets the operator ask how the sources are, until ctx ends. ln is nil
// on stdio. That it cannot be done keeps nobody from working.
func (w *wiring) tellStatus(ctx context.Context, a *aggregate.Aggregate, ln net.Listener) {
	p, ok := w.env.place(w.state)
	if !ok {
		return
	}
	socket, err := p.Listen(ctx)
	if err == nil {
		serving, since := "stdio", time.Now().UTC()
		if ln != nil {
			serving = endpoint(ln)
		}
		err = admin.Serve(ctx, socket, func() admin.Report {
			r := admin.NewReport(a.Status())
			r.PID, r.Version, r.Serving, r.Clients, r.Since = os.Getpid(), Version(), serving, a.Clients(), since
			return r
		}, figures(w.count, a))
	}
	if err != nil && ctx.Err() == nil {
		w.log.Info("bulkhead sources and bulkhead metrics cannot show this server", "error", err)
	}
}

func endpoint(ln net.Listener) string { return "http://" + ln.Addr().String() + "/mcp" }
