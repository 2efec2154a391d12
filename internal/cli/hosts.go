package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// hosts returns the hosts that check is to judge for: the one named by
// --client, or every one that is known.
func (inv *invocation) hosts() ([]aggregate.Host, error) {
	all := aggregate.Hosts()
	if inv.opt.client == "" {
		return all, nil
	}
	if h, ok := aggregate.HostOf(inv.opt.client); ok {
		return []aggregate.Host{h}, nil
	}
	var titles []string
	for _, h := range all {
		titles = append(titles, h.Title)
	}
	return nil, &usageError{fmt.Sprintf("nothing is known of a host %q", inv.opt.client), "the known ones are " + strings.Join(titles, ", ")}
}

// listed returns the catalog. The last list to come in may not be part of it
// yet; an upstream that hangs will not be.
func listed(ctx context.Context, a *aggregate.Aggregate) ([]json.RawMessage, error) {
	wait, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_ = a.Settled(wait)
	return catalog(ctx, a, anyClient)
}

// shown returns the tools that each host is shown, by its title.
func shown(ctx context.Context, a *aggregate.Aggregate, hosts []aggregate.Host) (map[string][]json.RawMessage, error) {
	lists := make(map[string][]json.RawMessage, len(hosts))
	for _, h := range hosts {
		tools, err := catalog(ctx, a, h.Clients[0])
		if err != nil {
			return nil, err
		}
		lists[h.Title] = tools
	}
	return lists, nil
}

// leftOut warns of tools that server.list_budget keeps from the list; "" if
// there are none, or if they can be looked for.
func leftOut(budget int, results []*checked, tools []json.RawMessage) string {
	left := 0
	for _, c := range results {
		left += c.Tools
	}
	for _, t := range tools {
		switch name, _ := rawjson.GetString(t, "name"); {
		case name == "bulkhead_find_tools":
			return ""
		case !strings.HasPrefix(name, "bulkhead_"):
			left--
		}
	}
	if budget == 0 || left <= 0 {
		return ""
	}
	return fmt.Sprintf("warning: %d %s left out of the list by server.list_budget = %d\n", left, plural(left, "tool"), budget)
}

// finding is what one host will not take as it is.
type finding struct {
	Host string `json:"host"`
	aggregate.Finding
}

// judge says what the hosts do not take as it is of the tools that each is shown,
// by its title.
func judge(hosts []aggregate.Host, shown map[string][]json.RawMessage) []finding {
	found := []finding{}
	for _, h := range hosts {
		for _, f := range h.Check(shown[h.Title]) {
			found = append(found, finding{h.Title, f})
		}
	}
	return found
}

// namedTools is how many tools a warning names.
const namedTools = 3

// warn prints one line for each finding; hosts that share one stand together.
func warn(out io.Writer, found []finding) {
	if len(found) == 0 {
		return
	}
	var b strings.Builder
	b.WriteString("hosts:\n")
	for i, f := range found {
		same := func(o finding) bool {
			return o.Rule == f.Rule && o.Text == f.Text && slices.Equal(o.Tools, f.Tools)
		}
		if slices.IndexFunc(found, same) < i {
			continue
		}
		var titles []string
		for _, o := range found {
			if same(o) {
				titles = append(titles, o.Host)
			}
		}
		fmt.Fprintf(&b, "  %s: %s%s\n", strings.Join(titles, ", "), f.Text, some(f.Tools, namedTools))
	}
	b.WriteString("  check --client HOST says all about one\n")
	_, _ = io.WriteString(out, b.String())
}

// some names the first of the tools and counts the others.
func some(tools []string, most int) string {
	if len(tools) == 0 {
		return ""
	}
	var named []string
	for _, name := range tools[:min(len(tools), most)] {
		named = append(named, aggregate.Printable(name, 100))
	}
	s := ": " + strings.Join(named, ", ")
	if more := len(tools) - len(named); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// describe prints all that is known of one host, every tool that it will not take
// as it is, and advice.
func describe(out io.Writer, h aggregate.Host, tools []json.RawMessage, advice []string) {
	longest := 0
	for _, t := range tools {
		name, _ := rawjson.GetString(t, "name")
		longest = max(longest, len(h.NamePrefix)+len(name))
	}
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(what string, known bool, format string, args ...any) {
		if known {
			_, _ = fmt.Fprintf(tab, "  %s\t%s\n", what, fmt.Sprintf(format, args...))
		}
	}
	_, _ = fmt.Fprintln(tab, h.Title)
	row("names", h.NameMost > 0, "at most %d characters, with %q before them; the longest here has %d", h.NameMost, h.NamePrefix, longest)
	row("tools", h.Tools > 0, "at most %d; %d here", h.Tools, len(tools))
	row("descriptions", h.Description > 0, "the first %d characters", h.Description)
	row("calls in one turn", h.Serial, "together if the tools say readOnlyHint: true, else one by one")
	row("calls in one turn", h.Together, "together, whatever the tools say")
	row("definitions", h.Definitions > 0, "a warning above %d tokens", h.Definitions)
	row("results", h.Result > 0, "the first %d characters; of longer ones the model gets the place of a file", h.Result)
	row("longer results", h.DeclaredResults, "as long as the tool's _meta says by anthropic/maxResultSizeChars")
	row("a call", h.Call > 0, "given up after %s; with deadline = \"auto\" it is answered within %s", h.Call, h.Deadline())
	_ = tab.Flush()
	for _, f := range h.Check(tools) {
		_, _ = fmt.Fprintf(out, "  warning: %s%s\n", f.Text, some(f.Tools, len(f.Tools)))
	}
	for _, a := range advice {
		_, _ = fmt.Fprintf(out, "  advice: %s\n", a)
	}
}
