package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// checked is what check found out about one upstream.
type checked struct {
	aggregate.SourceStatus
	OK       bool    `json:"ok"`
	Required bool    `json:"required"`
	TookMS   float64 `json:"tookMs"`
	// Unasked is whether nothing has been asked of it: of some kinds it is known
	// without what their tools are, and only a call shows how they are.
	Unasked bool `json:"unasked,omitempty"`
	// Warnings is what its configuration says in vain.
	Warnings []string `json:"warnings,omitempty"`
}

// check validates the configuration, connects to every upstream, lists its
// tools and says what hosts would make of them. It fails if a required upstream
// does.
func check(ctx context.Context, inv *invocation) error {
	limit, err := duration("timeout", inv.opt.timeout)
	if err != nil {
		return err
	}
	hosts, err := inv.hosts()
	if err != nil {
		return err
	}
	cfg, err := inv.load()
	if err != nil {
		return err
	}
	if err := checkDoor(ctx, cfg.Server, limit); err != nil {
		return err
	}
	described := make(map[string]config.Upstream)
	for _, u := range cfg.Upstreams {
		described[u.Name] = u
	}
	cfg.Server.ListWait = 0 // the catalog is looked at when all have answered or the time is up
	return running(ctx, inv.Env, cfg, !inv.opt.verbose, func(ctx context.Context, _ *wiring, a *aggregate.Aggregate) error {
		out := inv.Out
		if inv.opt.json {
			out = io.Discard
		}
		_, tty := terminal(inv.Err, inv.Env)
		p := &progress{err: inv.Err, tty: tty && !inv.opt.json}
		results := p.watch(ctx, a, limit, func(c *checked) {
			u := described[c.Name]
			c.Required, c.Unasked = u.Required, c.OK && u.Sandbox == "" && onlyCalled[u.Kind]
			c.Warnings = inVain(a, u)
			_, _ = io.WriteString(out, line(c))
		})
		tools, err := listed(ctx, a)
		if err != nil {
			return err
		}
		lists, err := shown(ctx, a, hosts)
		if err != nil {
			return err
		}
		if inv.opt.client != "" {
			tools = lists[hosts[0].Title]
		}
		each, tokens := weights(tools)
		var advice []string
		if inv.opt.client != "" {
			advice = advise(hosts[0], cfg.Server, tools, tokens)
		}
		pins := aggregate.UnmatchedPins(a)
		if inv.opt.json {
			told := map[string]any{"config": cfg.Path, "upstreams": results, "hosts": judge(hosts, lists), "definition_tokens": tokens}
			if pins != nil {
				told["unmatched_pins"] = pins
			}
			if advice != nil {
				told["advice"] = advice
			}
			raw, err := json.Marshal(told)
			if err != nil {
				return err
			}
			if err := printJSON(inv.Out, raw); err != nil {
				return err
			}
		}
		for _, p := range pins {
			_, _ = fmt.Fprintf(out, "warning: server.pinned names %q, which matches no tool\n", p)
		}
		failed := verdict(out, inv, cfg, results)
		_, _ = io.WriteString(out, leftOut(cfg.Server.ListBudget, results, tools)+heavy(tools, each, tokens))
		if inv.opt.client != "" {
			describe(out, hosts[0], tools, advice)
		} else {
			warn(out, judge(hosts, lists))
		}
		return failed
	})
}

// inVain tells what the configuration of an upstream says to no effect.
func inVain(a *aggregate.Aggregate, u config.Upstream) (out []string) {
	id := upstream.ID(u.Name)
	for _, tool := range aggregate.Strays(a)[id] {
		out = append(out, fmt.Sprintf("tools.override names %q, which is none of its tools", tool))
	}
	for _, p := range u.GraphQL.Unmatched {
		out = append(out, fmt.Sprintf("documents names %q, which matches no file", p))
	}
	for _, list := range []struct {
		key      string
		patterns []string
	}{{"allow", u.Tools.Allow}, {"deny", u.Tools.Deny}} {
		for _, p := range aggregate.Unmatched(a, id, list.patterns) {
			if p != "*" { // which is the default
				out = append(out, fmt.Sprintf("tools.%s names %q, which matches none of the tools that it offers", list.key, p))
			}
		}
	}
	return append(append(out, aggregate.Undeclared(a, id)...), aggregate.Unmet(a, id)...)
}

// onlyCalled are the kinds of which nothing is asked but calls.
var onlyCalled = map[string]bool{"rest": true, "openapi": true, "graphql": true}

func verdict(out io.Writer, inv *invocation, cfg *config.Config, results []*checked) error {
	failed, fatal, tools, unasked := 0, 0, 0, 0
	for _, c := range results {
		tools += c.Tools
		if c.Unasked {
			unasked++
		}
		if !c.OK {
			failed++
			if c.Required {
				fatal++
			}
		}
	}
	ready := ""
	if unasked > 0 {
		ready = fmt.Sprintf("%d more %s ready, ", unasked, map[bool]string{true: "is", false: "are"}[unasked == 1])
		_, _ = fmt.Fprintln(inv.Err, "bulkhead: hint: what is ready has not been asked; bulkhead call TOOL shows whether it answers")
	}
	_, _ = fmt.Fprintf(out, "%s: %d of %d %s answer, %s%d %s\n", cfg.Path, len(results)-failed-unasked, len(results),
		plural(len(results), "upstream"), ready, tools, plural(tools, "tool"))
	if failed > 0 && !inv.opt.verbose {
		_, _ = fmt.Fprintln(inv.Err, "bulkhead: hint: --verbose shows the log, with what the servers write to standard error")
	}
	if fatal > 0 {
		return failedError{}
	}
	return nil
}

// line is what a person reads about one upstream.
func line(c *checked) string {
	var b strings.Builder
	if c.OK {
		word := "ok"
		if c.Unasked {
			word = "ready"
		}
		fmt.Fprintf(&b, "%-7s %-16s %3d %-5s  %s  %.0f ms", word, c.Name, c.Tools, plural(c.Tools, "tool"), c.Protocol, c.TookMS)
		if c.Server != "" {
			b.WriteString("  " + c.Server)
		}
		if c.Hidden > 0 {
			fmt.Fprintf(&b, "  (%d hidden: writes = \"deny\")", c.Hidden)
		}
	} else {
		state := c.State
		if c.Away == aggregate.AwayLogin && c.SignIn == nil { // else that says more
			state, _ = condition(c.SourceStatus)
		}
		fmt.Fprintf(&b, "FAILED  %-16s %s", c.Name, state)
		if reason := reason(c.SourceStatus); reason != "" {
			b.WriteString(": " + reason)
		}
		if c.Credential != "" {
			b.WriteString("; look at " + c.Credential)
		}
		if !c.Required {
			b.WriteString(" (not required)")
		}
	}
	b.WriteByte('\n')
	if c.SignIn != nil {
		if text := signInNote(c.SignIn, time.Now()); text != "" {
			fmt.Fprintf(&b, "        %s\n", text)
		}
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(&b, "        warning: %s\n", w)
	}
	for _, d := range c.Drift {
		fmt.Fprintf(&b, "        warning: %s\n", strings.Join(strings.Fields(d.Tool+" "+d.Field+" "+d.Problem), " "))
	}
	for _, h := range c.HeldBack {
		fmt.Fprintf(&b, "        tool %q is held back: %s\n", h.Tool, h.Reason)
	}
	if c.HeldBackMore > 0 {
		fmt.Fprintf(&b, "        and %d more\n", c.HeldBackMore)
	}
	return b.String()
}

// progress follows the upstreams as they come in.
type progress struct {
	err   io.Writer
	tty   bool
	shown string // what stands on the line now
}

// watch reports each upstream once: when it has listed its tools, when it turns
// out to be down, or when the time is up.
func (p *progress) watch(ctx context.Context, a *aggregate.Aggregate, limit time.Duration, report func(*checked)) []*checked {
	began := time.Now()
	results := make(map[string]*checked)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st := a.Status()
		late := time.Since(began) >= limit || ctx.Err() != nil
		var waiting []string
		for _, s := range st.Sources {
			if results[s.Name] != nil {
				continue
			}
			listed := s.State == string(upstream.Up) && s.ToolsListed != "" && !s.Stale
			failed := s.State == string(upstream.Down) || s.State == string(upstream.Up) && s.Error != ""
			if !listed && !failed && !late {
				waiting = append(waiting, s.Name)
				continue
			}
			c := &checked{SourceStatus: s, OK: listed, TookMS: float64(time.Since(began).Microseconds()) / 1000}
			if !c.OK && c.Error == "" {
				c.Error = fmt.Sprintf("no answer within %s", limit)
				if ctx.Err() != nil {
					c.Error = "interrupted before it answered"
				}
			}
			results[s.Name] = c
			p.clear()
			report(c)
		}
		if len(waiting) == 0 {
			out := make([]*checked, 0, len(st.Sources))
			for _, s := range st.Sources {
				out = append(out, results[s.Name])
			}
			return out
		}
		p.show(waiting, time.Since(began))
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (p *progress) show(waiting []string, since time.Duration) {
	text := fmt.Sprintf("waiting for %s (%.0f s)", strings.Join(waiting, ", "), since.Seconds())
	if p.tty && text != p.shown {
		p.shown = text
		_, _ = fmt.Fprintf(p.err, "\r\x1b[K%.76s", text)
	}
}

func (p *progress) clear() {
	if p.tty && p.shown != "" {
		p.shown = ""
		_, _ = io.WriteString(p.err, "\r\x1b[K")
	}
}
