package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/o200k"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// heavyList is how many tokens of definitions are a burden to any model: an eighth
// of the 200,000 that many take, and what Claude Code warns above
// (anthropics/claude-code#12241).
const heavyList = 25_000

// weights returns how many tokens each definition is.
func weights(tools []json.RawMessage) (each []int, all int) {
	counter := o200k.NewCounter()
	for _, t := range tools {
		n := counter.Count(string(t))
		each, all = append(each, n), all+n
	}
	return each, all
}

// heavy warns of a list that costs a lot, and names the sources it is of; "" if it
// does not.
func heavy(tools []json.RawMessage, each []int, all int) string {
	if all <= heavyList {
		return ""
	}
	order := make([]int, len(tools))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return each[b] - each[a] })
	var most []string
	for _, i := range order[:min(namedTools, len(order))] {
		name, _ := rawjson.GetString(tools[i], "name")
		most = append(most, fmt.Sprintf("%s (%d)", aggregate.Printable(name, 100), each[i]))
	}
	return fmt.Sprintf("warning: the definitions of the tools are %d tokens (%s), which a model reads at every turn; the largest: %s. "+
		"Choose with tools.allow, or have them found with server.discovery = \"search\"\n", all, o200k.Name, strings.Join(most, ", "))
}

// advise says what would make a host get more out of a catalog.
func advise(h aggregate.Host, s config.Server, tools []json.RawMessage, tokens int) (advice []string) {
	add := func(format string, args ...any) { advice = append(advice, fmt.Sprintf(format, args...)) }
	has := func(tool string) bool {
		return slices.ContainsFunc(tools, func(t json.RawMessage) bool {
			name, _ := rawjson.GetString(t, "name")
			return name == tool
		})
	}
	silent := slices.ContainsFunc(h.Check(tools), func(f aggregate.Finding) bool { return f.Rule == aggregate.RuleOneByOne })
	if h.Serial && silent {
		add("of the tools that say nothing, those that only read run at once with tools.override.NAME.read_only = true under their upstream")
	}
	if has("bulkhead_batch_read") {
		reads := "bulkhead_batch_read makes many reads in one call, at once, whatever the host does; it says readOnlyHint: true, so that hosts may run it without asking"
		if h.Serial {
			reads += ", and beside others"
		}
		add("%s", reads)
	}
	if !h.Serial && !h.Together {
		add("whether it runs the calls of one turn at once is not known: bulkhead metrics counts it, in bulkhead_client_calls_total with begun=\"beside\"")
	}
	if limit := s.Deadline.Limit; h.Call > 0 && limit >= h.Call {
		add("server.deadline = %q is no shorter than it waits: it gives up first, and the model does not read why; \"auto\" answers before", limit.String())
	}
	if h.Tools > 0 && len(tools) > h.Tools {
		add("choose tools with tools.allow, have them found with server.discovery = \"search\", or cut the list with server.list_budget = %d", h.Tools)
	}
	if h.Definitions > 0 && tokens > h.Definitions {
		add("%d tokens of definitions are more than %d: it warns, or has the model look for tools itself", tokens, h.Definitions)
	}
	if h.Result > 0 && s.MaxResult > int64(h.Result) {
		add("server.max_result = \"%dKiB\" has longer results read page by page with bulkhead_read_more instead", h.Result>>10)
	}
	return append(advice, h.Advice...)
}
