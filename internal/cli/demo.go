package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/demo"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// demoLatency is how slow the sample sources are in the demo: as real ones are,
// and different, so that the slowest can be told from the sum.
var demoLatency = map[string]time.Duration{
	"crm": 320 * time.Millisecond, "warehouse": 610 * time.Millisecond, "tickets": 430 * time.Millisecond,
}

// demoTokens is how long a token of the ticket system is good in the demo: so
// short that it ends before the calls at once, and long enough for the calls one
// by one. Clients are told whole seconds.
const demoTokens = 1200 * time.Millisecond

// demonstrate asks the customer question of three sample sources: a REST service,
// a database and an MCP server.
func demonstrate(ctx context.Context, inv *invocation) error {
	cfg := &config.Config{Path: "demo", Server: config.Server{
		Names: "prefix", State: "none", LogLevel: "error", LogFormat: "text", MaxResult: 1 << 20,
		Deadline: config.Deadline{Limit: time.Minute},
	}}
	for _, name := range sandbox.Names() {
		u := config.Upstream{
			Name: name, Kind: "mcp", Sandbox: name, Latency: demoLatency[name], Enabled: true, Era: "auto",
			Tools: config.ToolFilter{Allow: []string{"*"}},
		}
		switch name {
		case ticketSystem:
			u.Auth.Lifetime = demoTokens
		case "crm":
			u.Kind, u.Writes = "rest", "deny"
		case "warehouse":
			u.Kind, u.Writes = "sql", "deny"
			u.SQL.Schema, u.SQL.MaxRows, u.SQL.MaxCell = true, 100, 4<<10
		}
		cfg.Upstreams = append(cfg.Upstreams, u)
	}
	return running(ctx, inv.Env, cfg, true, func(ctx context.Context, w *wiring, a *aggregate.Aggregate) error {
		ready, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if err := a.Settled(ready); err != nil {
			return fmt.Errorf("the sample sources did not start: %w", err)
		}
		view, _ := a.View("")
		opt := demo.Options{Customer: inv.opt.customer, SignIn: w.ticketTokens()}
		if inv.opt.json { // only there it is told
			tools, err := catalog(ctx, a, anyClient)
			if err != nil {
				return err
			}
			opt.Definitions = array(tools)
		}
		report, err := demo.Run(ctx, caller(view), opt)
		if err != nil {
			return err
		}
		if inv.opt.json {
			err = report.WriteJSON(inv.Out)
		} else {
			width, color := terminal(inv.Out, inv.Env)
			err = report.WriteText(inv.Out, width, color)
		}
		if err == nil && report.Failed() {
			err = failedError{}
		}
		return err
	})
}

// ticketTokens tells of the tokens of the ticket system; nil if it did not start.
func (w *wiring) ticketTokens() *demo.SignIn {
	deferred, _ := w.built[ticketSystem].member.Adapter.(*deferred)
	if deferred == nil {
		return nil
	}
	d, ok := as[*desk](deferred)
	if !ok {
		return nil
	}
	return &demo.SignIn{Source: ticketSystem, Issued: d.server.Issued, Ended: func(ctx context.Context) error {
		select {
		case <-time.After(time.Until(d.expiry())):
		case <-ctx.Done():
		}
		return ctx.Err()
	}}
}

// caller calls tools as a client on this machine would.
func caller(v *aggregate.View) demo.Caller {
	return func(ctx context.Context, tool string, arguments any) (json.RawMessage, error) {
		params, err := json.Marshal(map[string]any{"name": tool, "arguments": arguments})
		if err != nil {
			return nil, err
		}
		return v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Client: "bulkhead", Params: params})
	}
}

// terminal returns the width to write for, and whether colours and block
// characters will be seen as such (NO_COLOR is the convention of no-color.org).
func terminal(w io.Writer, env Env) (width int, color bool) {
	const plain = 80
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return plain, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = plain
	}
	return width, env.utf8() && env.variable("NO_COLOR") == "" && env.variable("TERM") != "dumb"
}

// utf8 reports whether the locale says that characters beyond ASCII are shown.
func (e Env) utf8() bool {
	locale := e.variable("LC_ALL") + e.variable("LC_CTYPE") + e.variable("LANG")
	return strings.Contains(strings.ToUpper(strings.ReplaceAll(locale, "-", "")), "UTF8")
}
