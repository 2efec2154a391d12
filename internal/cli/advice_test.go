package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

func hostOf(t *testing.T, name string) aggregate.Host {
	t.Helper()
	h, ok := aggregate.HostOf(name)
	if !ok {
		t.Fatal(name)
	}
	return h
}

// TestAdvice holds when each piece of advice is given, and when it is not.
func TestAdvice(t *testing.T) {
	says := []json.RawMessage{json.RawMessage(`{"name":"a","annotations":{"readOnlyHint":true}}`)}
	plans := append(toolsNamed("bulkhead_batch_read"), says...)
	auto, long := config.Server{MaxResult: 1 << 10}, config.Server{MaxResult: 1 << 10, Deadline: config.Deadline{Limit: 5 * time.Minute}}
	tests := map[string]struct {
		host   string
		server config.Server
		tools  []json.RawMessage
		tokens int
		part   string
		want   bool
	}{
		"silent tools":               {"codex", auto, toolsNamed("a"), 1, "tools.override.NAME.read_only = true", true},
		"no silent tools":            {"codex", auto, says, 1, "tools.override", false},
		"a host that does not mind":  {"gemini-cli", auto, toolsNamed("a"), 1, "tools.override", false},
		"plans":                      {"codex", auto, plans, 1, "bulkhead_batch_read makes many reads", true},
		"no plans":                   {"codex", auto, says, 1, "bulkhead_batch_read makes many reads", false},
		"nothing known":              {"goose", auto, says, 1, "bulkhead_client_calls_total", true},
		"serial is known":            {"codex", auto, says, 1, "bulkhead_client_calls_total", false},
		"together is known":          {"vscode", auto, says, 1, "bulkhead_client_calls_total", false},
		"a long deadline":            {"claude-desktop", long, says, 1, `server.deadline = "5m0s" is no shorter`, true},
		"one that it waits for":      {"gemini-cli", long, says, 1, "server.deadline", false},
		"auto":                       {"claude-desktop", auto, says, 1, "server.deadline", false},
		"many tools":                 {"cursor", auto, toolsNamed(strings.Split(strings.Repeat("x", 41), "")...), 1, "server.list_budget = 40", true},
		"not too many":               {"cursor", auto, toolsNamed(strings.Split(strings.Repeat("x", 40), "")...), 1, "list_budget", false},
		"a heavy list":               {"claude-code", auto, says, 25_001, "25001 tokens of definitions are more than 25000", true},
		"one that is not":            {"claude-code", auto, says, 25_000, "tokens of definitions", false},
		"long results":               {"claude-code", config.Server{MaxResult: 1 << 20}, says, 1, `server.max_result = "48KiB"`, true},
		"short ones":                 {"claude-code", config.Server{MaxResult: 48 << 10}, says, 1, "server.max_result", false},
		"what only its user can set": {"codex", auto, says, 1, "supports_parallel_tool_calls = true", true},
	}
	for name, tt := range tests {
		got := strings.Join(advise(hostOf(t, tt.host), tt.server, tt.tools, tt.tokens), "\n")
		if strings.Contains(got, tt.part) != tt.want {
			t.Errorf("%s: %q is there: %t\n%s", name, tt.part, !tt.want, got)
		}
	}
}

func TestHeavy(t *testing.T) {
	tools := toolsNamed("a", "b", "c", "d")
	if got := heavy(tools, []int{1, 2, 3, 4}, 25_000); got != "" {
		t.Error(got)
	}
	got := heavy(tools, []int{10, 20_000, 30, 5000}, 25_040)
	if !strings.HasPrefix(got, "warning: the definitions of the tools are 25040 tokens (o200k_base), ") || !strings.Contains(got, "the largest: b (20000), d (5000), c (30). ") {
		t.Error(got)
	}
}

func TestWeights(t *testing.T) {
	each, all := weights(toolsNamed("a", strings.Repeat("long_name_", 20)))
	if len(each) != 2 || each[0] < 5 || each[1] < each[0]+20 || all != each[0]+each[1] {
		t.Errorf("%v, %d", each, all)
	}
	if each, all := weights(nil); each != nil || all != 0 {
		t.Errorf("%v, %d", each, all)
	}
}
