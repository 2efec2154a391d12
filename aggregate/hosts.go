package aggregate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Host is what one client of MCP is known to make of a server's tools. Zero
// means that no such limit is known. docs/hosts.md says the same in words; the
// limits were read from the hosts' sources and issue trackers or measured.
type Host struct {
	Title   string   // e.g. "Claude Code"
	Clients []string // how its clientInfo.name begins, in lower case, - for spaces

	// NamePrefix is what the host puts before each tool name where it knows this
	// server as "bulkhead".
	NamePrefix string
	NameChars  string // legal in names beside letters and digits
	NameMost   int    // characters, NamePrefix included
	NameBroken string // what becomes of a name that breaks the rules

	Tools       int    // how many it takes
	ToolsBeyond string // what becomes of more

	Description int // characters of a description that reach the model
	// Serial: calls in one turn run one by one unless the tool says
	// readOnlyHint: true. Together: they run at once whatever the tools say. Where
	// neither is set nothing is known.
	Serial, Together bool
	// Definitions is how many tokens of definitions it warns beyond.
	Definitions int
	// Result is how many characters of a result it hands to the model as they are.
	Result int
	// DeclaredResults: a tool's _meta may raise how long a result is taken in.
	DeclaredResults bool
	// Call is how long it waits for an answer.
	Call time.Duration
	// Advice is what else helps, for its user.
	Advice []string
}

const plainChars = "_-"

// knownHosts is sorted by title and never changed.
var knownHosts = []Host{
	{
		Title: "Claude Code", Clients: []string{"claude-code"},
		NamePrefix: "mcp__bulkhead__", NameChars: plainChars, NameMost: 128, NameBroken: "it leaves the tool out",
		Description: 2048, Serial: true, DeclaredResults: true, Call: 5 * time.Minute,
		Definitions: 25_000, // anthropics/claude-code#12241
		Result:      50_000, // https://code.claude.com/docs/en/mcp, as of October 2026
		Advice: []string{
			"when one of several calls fails it has cancelled the others (anthropics/claude-code#22264): in one bulkhead_batch_read each has its own outcome",
			"MAX_MCP_OUTPUT_TOKENS raises how long a result may be, 25,000 tokens by itself",
		},
	},
	{
		Title: "Claude Desktop", Clients: []string{"claude-ai", "claude-desktop"},
		NameChars: plainChars, NameMost: 64, NameBroken: "it drops every tool of the server",
		Call: 4 * time.Minute,
	},
	{
		Title: "Codex", Clients: []string{"codex"},
		NamePrefix: "mcp__bulkhead__", NameChars: plainChars, NameMost: 64, NameBroken: "it shows the model another, hashed name",
		Serial: true, Call: time.Minute,
		Advice: []string{
			"supports_parallel_tool_calls = true under [mcp_servers.bulkhead] has tools run at once that do not only read (openai/codex#17667); what says that it writes still runs one by one at each source",
			"tool_timeout_sec under [mcp_servers.bulkhead] lets calls take longer",
		},
	},
	{
		Title: "Cursor", Clients: []string{"cursor"},
		NamePrefix: "bulkhead", NameChars: plainChars, NameMost: 60, NameBroken: "it leaves the tool out",
		Tools: 40, ToolsBeyond: "it warns, from 40 or from 80 by its version, and may leave some out",
	},
	{
		Title: "Gemini CLI", Clients: []string{"gemini-cli"},
		NamePrefix: "mcp_bulkhead_", NameChars: "_-.:", NameMost: 63, NameBroken: "it cuts the name in the middle",
		Call: 10 * time.Minute, Together: true,
	},
	{
		Title: "Goose", Clients: []string{"goose"}, Call: 5 * time.Minute,
		Advice: []string{"in its smart approval mode it runs tools without asking that say readOnlyHint: true"},
	},
	{
		Title: "Qwen Code", Clients: []string{"qwen"}, Serial: true,
		Advice: []string{"its own list of tools that only read counts for a tool that says nothing, but not for one that says readOnlyHint: false (QwenLM/qwen-code#2570)"},
	},
	{
		Title: "VS Code", Clients: []string{"visual-studio-code", "vscode", "vs-code"},
		NamePrefix: "mcp_bulkhead_", NameChars: plainChars, NameMost: 64, NameBroken: "its models refuse the name",
		Tools: 128, ToolsBeyond: "one request to the model takes no more",
		Together: true, // microsoft/vscode-copilot-chat#1406
		Advice:   []string{"it asks before each tool that does not say readOnlyHint: true"},
	},
}

// Hosts returns every host that something is known of, sorted by title.
func Hosts() []Host { return slices.Clone(knownHosts) }

// HostOf returns the host whose clientInfo.name, or title, this is.
func HostOf(client string) (Host, bool) {
	client = strings.ReplaceAll(strings.ToLower(client), " ", "-")
	for _, h := range knownHosts {
		for _, begin := range h.Clients {
			if strings.HasPrefix(client, begin) {
				return h, true
			}
		}
	}
	return Host{}, false
}

// Deadline is how long a call of this host may take where the deadline follows
// the host.
func (h Host) Deadline() time.Duration { return patience(h.Clients[0]) }

// The rules that a catalog may break.
const (
	RuleNames        = "names"
	RuleTools        = "tools"
	RuleDescriptions = "descriptions"
	RuleOneByOne     = "one_by_one"
)

// Finding is something in a catalog that a host does not take as it is.
type Finding struct {
	Rule  string   `json:"rule"`            // one of the Rule constants
	Text  string   `json:"text"`            // what it means, without the host's name
	Tools []string `json:"tools,omitempty"` // the exposed names concerned; none where it is all of them
}

// Check says what the host will not take as it is, given the definitions that
// tools/list answers.
func (h Host) Check(tools []json.RawMessage) []Finding {
	var illegal, long, silent []string
	for _, t := range tools {
		name, _ := rawjson.GetString(t, "name")
		description, _ := rawjson.GetString(t, "description")
		if !h.takesName(name) {
			illegal = append(illegal, name)
		}
		if h.Description > 0 && utf8.RuneCountInString(description) > h.Description {
			long = append(long, name)
		}
		annotations, _ := rawjson.Get(t, "annotations")
		if _, said := rawjson.Get(annotations, "readOnlyHint"); h.Serial && !said {
			silent = append(silent, name)
		}
	}
	var found []Finding
	if h.refuses(len(tools)) {
		found = append(found, Finding{RuleTools, fmt.Sprintf("%d tools are more than %d: %s", len(tools), h.Tools, h.ToolsBeyond), nil})
	}
	if len(illegal) > 0 {
		found = append(found, Finding{RuleNames, fmt.Sprintf("names may have %d characters with %q before them, letters, digits and %s: else %s",
			h.NameMost, h.NamePrefix, strings.Join(strings.Split(h.NameChars, ""), " "), h.NameBroken), illegal})
	}
	if len(long) > 0 {
		found = append(found, Finding{RuleDescriptions, fmt.Sprintf("descriptions are cut after %d characters", h.Description), long})
	}
	if len(silent) > 0 {
		found = append(found, Finding{RuleOneByOne, "calls run one by one, for want of a readOnlyHint", silent})
	}
	return found
}

// refuses reports whether so many tools are more than the host takes.
func (h Host) refuses(tools int) bool { return h.Tools > 0 && tools > h.Tools }

func (h Host) takesName(name string) bool {
	if h.NameMost == 0 {
		return true
	}
	foreign := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(h.NameChars, r))
	}
	return len(h.NamePrefix)+len(name) <= h.NameMost && !strings.ContainsFunc(name, foreign)
}
