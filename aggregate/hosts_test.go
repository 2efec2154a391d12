package aggregate

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func definition(name string, more string) json.RawMessage {
	return fmt.Appendf(nil, `{"name":%q,"inputSchema":{"type":"object"}%s}`, name, more)
}

func TestHostOf(t *testing.T) {
	for client, want := range map[string]string{
		"claude-code": "Claude Code", "Claude Code": "Claude Code", "claude-ai": "Claude Desktop", "Claude Desktop": "Claude Desktop",
		"codex-mcp-client": "Codex", "Codex": "Codex", "cursor-vscode": "Cursor", "gemini-cli-mcp-client": "Gemini CLI", "goose": "Goose",
		"qwen-cli-mcp-client-bulkhead": "Qwen Code", "Visual Studio Code": "VS Code", "Visual-Studio-Code": "VS Code", "VS Code": "VS Code",
		"e2e": "", "": "", "claude": "",
	} {
		if h, ok := HostOf(client); h.Title != want || ok != (want != "") {
			t.Errorf("%q is %q", client, h.Title)
		}
	}
}

// The table keeps its own promises: each host is found under its title, every
// name that we make suits it, and our deadline comes before its own.
func TestHosts(t *testing.T) {
	all := Hosts()
	if !slices.IsSortedFunc(all, func(x, y Host) int { return strings.Compare(x.Title, y.Title) }) {
		t.Error("not sorted")
	}
	for _, h := range all {
		if found, _ := HostOf(h.Title); found.Title != h.Title {
			t.Errorf("%s is found as %q", h.Title, found.Title)
		}
		if !h.takesName(strings.Repeat("x", maxName)) || !h.takesName("A-9_z") {
			t.Errorf("%s does not take the names that we make", h.Title)
		}
		if (h.NameMost > 0) != (h.NameBroken != "" && h.NameChars != "") || (h.Tools > 0) != (h.ToolsBeyond != "") {
			t.Errorf("%s: a limit without what becomes of it: %+v", h.Title, h)
		}
		if h.Call > 0 && h.Deadline() >= h.Call {
			t.Errorf("%s gives up after %s, before our deadline of %s", h.Title, h.Call, h.Deadline())
		}
	}
}

// Our own tools ask for values of one type each, and without a choice of schemas:
// some hosts fail at more, with all that they have connected, see batchSchema.
func TestOurToolsSuitEveryHost(t *testing.T) {
	var look func(at string, schema json.RawMessage)
	look = func(at string, schema json.RawMessage) {
		var s struct {
			Type       any
			Properties map[string]json.RawMessage
			Items      json.RawMessage
		}
		if err := json.Unmarshal(schema, &s); err != nil {
			t.Fatal(at, err)
		}
		if one, ok := s.Type.(string); !ok || one == "" {
			t.Errorf("%s: its type is %v", at, s.Type)
		}
		for name, p := range s.Properties {
			look(at+"."+name, p)
		}
		if s.Items != nil || s.Type == "array" {
			look(at+"[]", s.Items)
		}
	}
	for _, spec := range slices.Concat(batchSpecs(), ownSpecs(), finderSpecs()) {
		look(spec.Name, spec.Input)
	}
}

// docs/hosts.md has a row for each host, with its limits.
func TestHostsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/hosts.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range Hosts() {
		_, row, found := strings.Cut(string(page), "\n| "+h.Title)
		row, _, _ = strings.Cut(row, "\n")
		want := []string{strings.TrimSuffix(h.NamePrefix, "bulkhead")}
		for _, n := range []int{h.NameMost, h.Tools} {
			if n > 0 {
				want = append(want, " "+strconv.Itoa(n)+" ")
			}
		}
		if h.Serial {
			want = append(want, "one by one")
		}
		for _, w := range want {
			if !found || !strings.Contains(row, w) {
				t.Errorf("%s: no %q in its row: %s", h.Title, w, row)
			}
		}
	}
}

func TestHostChecks(t *testing.T) {
	host := func(title string) Host {
		h, ok := HostOf(title)
		if !ok {
			t.Fatal(title)
		}
		return h
	}
	many := func(n int) (out []json.RawMessage) {
		for i := range n {
			out = append(out, definition(fmt.Sprint("t", i), `,"annotations":{"readOnlyHint":true}`))
		}
		return out
	}
	long := func(n int) string {
		return `,"description":"` + strings.Repeat("é", n) + `","annotations":{"readOnlyHint":false}`
	}
	tools := []json.RawMessage{
		definition("reads", `,"annotations":{"readOnlyHint":true}`), definition("writes", `,"annotations":{"readOnlyHint":false}`),
		definition("silent", ""), definition("halfway", `,"annotations":{"title":"x"}`),
	}
	for name, c := range map[string]struct {
		host  string
		tools []json.RawMessage
		want  []Finding
	}{
		"one by one":         {"Codex", tools, []Finding{{RuleOneByOne, "", []string{"silent", "halfway"}}}},
		"in parallel anyway": {"Gemini CLI", tools, nil},
		"none":               {"Codex", nil, nil},
		"40":                 {"Cursor", many(40), nil},
		"41":                 {"Cursor", many(41), []Finding{{RuleTools, "41 tools are more than 40: ", nil}}},
		"128":                {"VS Code", many(128), nil},
		"129":                {"VS Code", many(129), []Finding{{RuleTools, "129 tools are more than 128: ", nil}}},
		"2 KB":               {"Claude Code", []json.RawMessage{definition("x", long(2048))}, nil},
		"more than 2 KB":     {"Claude Code", []json.RawMessage{definition("x", long(2049))}, []Finding{{RuleDescriptions, "after 2048 characters", []string{"x"}}}},
		"a dot": {"Claude Desktop", []json.RawMessage{definition("a.b", ""), definition(strings.Repeat("x", 64), "")},
			[]Finding{{RuleNames, "it drops every tool", []string{"a.b"}}}},
		"a long name": {"Cursor", []json.RawMessage{definition(strings.Repeat("x", 52), ""), definition(strings.Repeat("y", 53), "")},
			[]Finding{{RuleNames, "60 characters", []string{strings.Repeat("y", 53)}}}},
	} {
		got := host(c.host).Check(c.tools)
		ok := len(got) == len(c.want)
		for i := 0; ok && i < len(got); i++ {
			ok = got[i].Rule == c.want[i].Rule && strings.Contains(got[i].Text, c.want[i].Text) && slices.Equal(got[i].Tools, c.want[i].Tools)
		}
		if !ok {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestBudgeted(t *testing.T) {
	named := func(names ...string) (out []*entry) {
		for _, n := range names {
			out = append(out, &entry{name: n})
		}
		return out
	}
	for _, c := range []struct {
		budget int
		want   string
		left   int
	}{
		{0, "a b c own1 own2", 0}, {6, "a b c own1 own2", 0}, {5, "a b c own1 own2", 0}, {4, "a b own1 own2", 1}, {2, "own1 own2", 3}, {1, "own1 own2", 3},
	} {
		entries := named("a", "b", "c")
		listed, left := budgeted(entries, named("own1", "own2"), c.budget)
		var got []string
		for _, e := range listed {
			got = append(got, e.name)
		}
		if strings.Join(got, " ") != c.want || left != c.left || entries[2].name != "c" {
			t.Errorf("budget %d: %q, %d left out", c.budget, got, left)
		}
		if said := leftOut(left, c.budget); (said == "") != (c.left == 0) || c.left > 0 && !strings.HasPrefix(said, fmt.Sprint(c.left, " tool")) {
			t.Error(said)
		}
	}
}
