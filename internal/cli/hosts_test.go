package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func toolsNamed(names ...string) (tools []json.RawMessage) {
	for _, n := range names {
		tools = append(tools, fmt.Appendf(nil, `{"name":%s,"inputSchema":{"type":"object"}}`, rawjson.Quote(n)))
	}
	return tools
}

func TestHostsThatShareAWarningStandTogether(t *testing.T) {
	tools := toolsNamed("a", "b", "c\x1b[31m", "d", "e")
	lists := map[string][]json.RawMessage{}
	for _, h := range aggregate.Hosts() {
		lists[h.Title] = tools
	}
	found := judge(aggregate.Hosts(), lists)
	var b strings.Builder
	warn(&b, found)
	const want = "hosts:\n  Claude Code, Codex, Qwen Code: calls run one by one, for want of a readOnlyHint: a, b, c\\u001b[31m and 2 more\n"
	if got := b.String(); !strings.HasPrefix(got, want[:len("hosts:\n")]) || !strings.Contains(got, want[len("hosts:\n"):]) || strings.Count(got, "readOnlyHint") != 1 {
		t.Errorf("%s", got)
	}
	for _, f := range found {
		if f.Rule == aggregate.RuleOneByOne && f.Tools[2] != "c\x1b[31m" {
			t.Errorf("the finding itself was changed: %q", f.Tools)
		}
	}
	b.Reset()
	warn(&b, nil)
	if b.Len() != 0 {
		t.Errorf("nothing to warn of: %s", b.String())
	}
}

func TestDescribeNamesEveryTool(t *testing.T) {
	for _, h := range aggregate.Hosts() {
		var b strings.Builder
		describe(&b, h, toolsNamed("a", "b", "c", "d", "e"), []string{"be quick"})
		got := b.String()
		if !strings.HasPrefix(got, h.Title+"\n") || !strings.HasSuffix(got, "  advice: be quick\n") || strings.Contains(got, "%!") ||
			h.Serial != strings.Contains(got, "  warning: calls run one by one, for want of a readOnlyHint: a, b, c, d, e\n") {
			t.Errorf("%s", got)
		}
	}
}

func TestCheckKnowsItsHosts(t *testing.T) {
	code, out, errs := invoke(t, nil, "check", "--client", "emacs", "--config", "/nonexistent.toml")
	if code != 2 || out != "" || !strings.Contains(errs, `nothing is known of a host "emacs"`) || !strings.Contains(errs, "hint: the known ones are Claude Code, ") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

func TestLeftOut(t *testing.T) {
	results := []*checked{{SourceStatus: aggregate.SourceStatus{Tools: 3}}, {SourceStatus: aggregate.SourceStatus{Tools: 2}}}
	all := toolsNamed("a", "b", "c", "d", "e", "bulkhead_sources")
	if got := leftOut(6, results, all); got != "" {
		t.Error(got)
	}
	if got := leftOut(5, results, all[1:]); got != "warning: 1 tool left out of the list by server.list_budget = 5\n" {
		t.Error(got)
	}
	if got := leftOut(2, results, toolsNamed("bulkhead_sources", "bulkhead_find_tools")); got != "" {
		t.Errorf("they can be looked for: %s", got)
	}
	if got := leftOut(0, results, all[2:]); got != "" {
		t.Errorf("no budget: %s", got)
	}
}

// manyTools is an adapter with so many tools.
type manyTools int

func (n manyTools) Tools(context.Context) (tools []upstream.Tool, err error) {
	for i := range int(n) {
		t, err := upstream.ParseTool("crm", fmt.Appendf(nil, `{"name":"t%d","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`, i))
		if err != nil {
			return nil, err
		}
		tools = append(tools, t)
	}
	return tools, nil
}

func (manyTools) Call(context.Context, *upstream.Call) (*upstream.Result, error) {
	return upstream.TextResult("", false), nil
}

func (manyTools) Close() error { return nil }

// A host is judged by the list that it is shown, which is short where it does not
// take all.
func TestHostsAreJudgedByWhatTheyAreShown(t *testing.T) {
	for discovery, beyond := range map[aggregate.Discovery][]string{aggregate.DiscoverAuto: nil, aggregate.DiscoverList: {"Cursor", "VS Code"}} {
		a, err := aggregate.New([]aggregate.Member{{ID: "crm", Adapter: manyTools(200), Prefix: "crm"}}, aggregate.Options{Discovery: discovery})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- a.Run(ctx) }()
		if _, err := listed(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		lists, err := shown(t.Context(), a, aggregate.Hosts())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range judge(aggregate.Hosts(), lists) {
			if f.Rule == aggregate.RuleTools {
				got = append(got, f.Host)
			}
		}
		if n := len(lists["Goose"]); !slices.Equal(got, beyond) || n < 200 {
			t.Errorf("%s: too many for %v; %d for Goose", discovery, got, n)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}
}
