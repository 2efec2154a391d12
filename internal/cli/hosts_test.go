package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
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
	found := judge(aggregate.Hosts(), tools)
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
