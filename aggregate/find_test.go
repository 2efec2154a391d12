package aggregate_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// findings is an answer of bulkhead_find_tools.
type findings struct {
	Tools []struct {
		Name, Source, Description, Arguments, Away string
		Reads                                      bool
	}
	More    int
	Missing []struct{ Source, Why string }
	Note    string
}

func (f findings) names() (out []string) {
	for _, tool := range f.Tools {
		out = append(out, tool.Name)
	}
	return out
}

func lookFor(t *testing.T, v *aggregate.View, arguments string) findings {
	t.Helper()
	return lookForAs(t, v, upstream.Local(), arguments)
}

func lookForAs(t *testing.T, v *aggregate.View, who upstream.Principal, arguments string) (out findings) {
	t.Helper()
	a := callAs(t, v, &aggregate.Request{Principal: who}, "bulkhead_find_tools", arguments)
	if err := json.Unmarshal(a.Structured, &out); err != nil || a.IsError {
		t.Fatalf("%v: %s", err, a.text())
	}
	return out
}

func TestFoundTools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm")
		for _, raw := range []string{
			`{"name":"search","title":"Search","description":"Finds customers.\n\n  By\tname.","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object","required":["q"],"properties":{
				"limit":{"type":"integer"},"q":{"type":"string","description":"Or a part of the postcode."},"sort":{"enum":["asc","desc"]},"by":{"type":"array","items":{"type":["string","null"]}}}}}`,
			`{"name":"update","description":"Changes a customer.","inputSchema":{"type":"object","required":["customer","mode"],"properties":{
				"customer":{"type":"object","required":["id"],"properties":{"name":{"type":"string"},"id":{"type":"integer"},"address":{"type":"object","properties":{"lines":{"type":"array","items":{"type":"object","properties":{"x":{"type":"object","properties":{"deep":{}}}}}}}}}},
				"mode":{"const":"merge"},"note":{"anyOf":[{"type":"string"},{"type":"null"}]},"ref":{"$ref":"#/$defs/x"},"any":true}}}`,
			`{"name":"ping","title":"Says customer","inputSchema":{"type":"object"}}`,
		} {
			f.tools = append(f.tools, parse(t, "crm", raw))
		}
		v := withOwn(t, aggregate.Options{Discovery: aggregate.DiscoverSearch}, member(f))
		got := lookFor(t, v, `{"query":"find a customer by postcode"}`)
		if !slices.Equal(got.names(), []string{"crm_search", "crm_ping", "crm_update"}) && !slices.Equal(got.names(), []string{"crm_search", "crm_update", "crm_ping"}) {
			t.Fatalf("%q", got.names())
		}
		for _, tool := range got.Tools {
			want := map[string][3]string{
				"crm_search": {"Finds customers. By name.", `q: string, limit?: integer, sort?: "asc"|"desc", by?: (string|null)[]`, "true"},
				"crm_update": {"Changes a customer.", `customer: {id: integer, name?: string, address?: {lines?: object[]}}, mode: "merge", note?: string|null, ref?: any, any?: any`, "false"},
				"crm_ping":   {"Says customer", "", "false"},
			}[tool.Name]
			if got := [3]string{tool.Description, tool.Arguments, fmt.Sprint(tool.Reads)}; got != want || tool.Source != "crm" || tool.Away != "" {
				t.Errorf("%+v, want %q", tool, want)
			}
		}
		if got.More != 0 || got.Note != "" || got.Missing != nil {
			t.Errorf("%+v", got)
		}
	})
}

// TestFindBounds: an answer says how many more there are, is as long as it may be
// at most, and is about the source that is asked for.
func TestFindBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := newFake(t, "long")
		for i := range 100 {
			var properties []string
			for j := range 200 {
				properties = append(properties, fmt.Sprintf(`"argument_%d":{"type":"string","description":%q}`, j, strings.Repeat("very ", 20)))
			}
			long.tools = append(long.tools, parse(t, "long", fmt.Sprintf(`{"name":"customer_%d","description":%q,"inputSchema":{"type":"object","required":["argument_150"],"properties":{%s}}}`,
				i, strings.Repeat("A customer. ", 1000), strings.Join(properties, ","))))
		}
		v := withOwn(t, aggregate.Options{}, member(long), member(newFake(t, "crm", "customer", "note")))
		if got := lookFor(t, v, `{"query":"customer"}`); len(got.Tools) > 8 || len(got.Tools)+got.More != 101 || !strings.HasPrefix(got.Note, fmt.Sprintf("%d more have some of the words", got.More)) {
			t.Errorf("%q and %d more: %s", got.names(), got.More, got.Note)
		}
		a := call(t, v, "bulkhead_find_tools", `{"query":"customer argument","limit":50,"source":"long"}`)
		var got findings
		if err := json.Unmarshal(a.Structured, &got); err != nil || len(a.Structured) > 20<<10 || len(got.Tools) < 5 || len(got.Tools)+got.More != 100 {
			t.Errorf("%v: %d bytes, %d tools and %d more", err, len(a.Structured), len(got.Tools), got.More)
		}
		if !strings.HasPrefix(got.Tools[0].Arguments, "argument_150: string, argument_0?: string") || !strings.HasSuffix(got.Tools[0].Arguments, "…") {
			t.Error(got.Tools[0].Arguments)
		}
		if got := lookFor(t, v, `{"query":"customer","source":"crm"}`); !slices.Equal(got.names(), []string{"crm_customer"}) || got.More != 0 {
			t.Errorf("%q and %d more", got.names(), got.More)
		}
		for arguments, want := range map[string]string{
			`{"query":"customer","source":"CRM"}`: `not_found: there is no source "CRM"; leave source out to look for tools in all, or call bulkhead_sources for their names`,
			`{"query":"customer","source":""}`:    "",
			`{"query":"customer","limit":0}`:      "limit: minimum",
			`{"query":"customer","limit":51}`:     "limit: maximum",
			`{"query":"customer","limit":"3"}`:    "limit: got string",
			`{"query":""}`:                        "query: minLength",
			`{}`:                                  "query",
			`{"query":["customer"]}`:              "query: got array",
			fmt.Sprintf(`{"query":%q}`, strings.Repeat("customer ", 1200)): "query: maxLength",
		} {
			if a := call(t, v, "bulkhead_find_tools", arguments); a.IsError != (want != "") || !strings.Contains(a.text(), want) {
				t.Errorf("%.60s: %.300s", arguments, a.text())
			}
		}
		for _, odd := range []string{"the of a", "!?", "  ", "🙂", "\u0000", "顧客", "𝒄𝒖𝒔𝒕𝒐𝒎𝒆𝒓", strings.Repeat("x", 1000), "e\u0301te\u0301", "\u202e"} {
			q, _ := json.Marshal(odd)
			if got := lookFor(t, v, fmt.Sprintf(`{"query":%s}`, q)); len(got.Tools) != 0 || !strings.HasPrefix(got.Note, "none of the 102 tools has one of these words") {
				t.Errorf("%q: %+v", odd, got)
			}
		}
	})
}

// TestFindSaysWhatIsMissing: the model hears which sources are not among what was
// searched, and which cannot be used.
func TestFindSaysWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm, slow, down := newFake(t, "crm", "notes"), newFake(t, "slow", "notes"), newFake(t, "down", "notes")
		slow.hang = true
		down.state = upstream.Down
		v := withOwn(t, aggregate.Options{}, member(crm), member(slow), member(down))
		got := lookFor(t, v, `{"query":"notes"}`)
		if !slices.Equal(got.names(), []string{"crm_notes"}) || len(got.Missing) != 2 || got.Missing[0].Source != "down" || got.Missing[1].Source != "slow" ||
			!strings.Contains(got.Missing[0].Why, "cannot be reached") || !strings.Contains(got.Missing[1].Why, "is being connected") ||
			got.Note != "tools of the sources under missing cannot be found yet" {
			t.Errorf("%+v", got)
		}
		if got := lookFor(t, v, `{"query":"notes","source":"crm"}`); got.Missing != nil || got.Note != "" {
			t.Errorf("%+v", got)
		}
		if got := lookFor(t, v, `{"query":"notes","source":"slow"}`); len(got.Tools) != 0 || len(got.Missing) != 1 || !strings.Contains(got.Note, "none of the 1 tools") || !strings.Contains(got.Note, "under missing") {
			t.Errorf("%+v", got)
		}
		crm.turn(upstream.Down)
		if got := lookFor(t, v, `{"query":"notes"}`); len(got.Tools) != 1 || got.Tools[0].Away != "down" {
			t.Errorf("%+v", got)
		}
	})
}

// TestFindKnowsWhoAsks: where each user signs in for himself it is said to whom it
// applies that he has to.
func TestFindKnowsWhoAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		m := member(newFake(t, "crm", "notes"))
		m.Users = u
		unknown := newFake(t, "wiki", "notes")
		unknown.hang = true
		w := member(unknown)
		w.Users = u
		v := withOwn(t, aggregate.Options{ListWait: time.Second}, m, w)
		u.signIn(alice)
		if got := lookForAs(t, v, alice, `{"query":"notes"}`); len(got.Tools) != 1 || got.Tools[0].Away != "" || len(got.Missing) != 1 || strings.Contains(got.Missing[0].Why, "sign in") {
			t.Errorf("%+v", got)
		}
		got := lookForAs(t, v, bob, `{"query":"notes"}`)
		if len(got.Tools) != 1 || got.Tools[0].Away != "needs_login" || len(got.Missing) != 1 || !strings.Contains(got.Missing[0].Why, "needs a person to sign in") {
			t.Errorf("%+v", got)
		}
		if !slices.Contains(u.visits, bob) {
			t.Error("that he wants to know was not told")
		}
	})
}

// TestFindHidesWhatIsHidden: tools that the configuration does not offer cannot be
// found by any word of them.
func TestFindHidesWhatIsHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm", "notes")
		f.tools = append(f.tools, parse(t, "crm", `{"name":"purge","description":"Zaps everything.","inputSchema":{"type":"object","properties":{"really":{"type":"boolean","description":"Yes indeed."}}}}`))
		m := member(f)
		m.Keep = func(tool string) bool { return tool == "notes" }
		v := withOwn(t, aggregate.Options{}, m)
		for _, q := range []string{"purge", "crm_purge", "zaps everything", "really", "indeed"} {
			if got := lookFor(t, v, fmt.Sprintf(`{"query":%q}`, q)); slices.Contains(got.names(), "crm_purge") {
				t.Errorf("%s: %+v", q, got)
			}
		}
	})
}

// TestWholeNumbers: 2.0 and 2e0 are integers (JSON Schema 2020-12, validation, section
// 6.1.1), and some clients write them so.
func TestWholeNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := ruled(t, shaping.Rules{MaxBytes: 1 << 10}, aggregate.Options{Discovery: aggregate.DiscoverSearch}, plainTool, `{`+textual(strings.Repeat("no JSON ", 1000))+`}`)
		found := regexp.MustCompile(`\{"handle":"\w+"`).FindString(call(t, v, "crm_get", `{}`).Content[1].Text)
		want := call(t, v, "bulkhead_read_more", found+`,"page":2}`).text()
		for _, page := range []string{"2.0", "2e0", "0.2E1"} {
			if got := call(t, v, "bulkhead_read_more", found+`,"page":`+page+`}`); got.IsError || got.text() != want {
				t.Errorf("page %s: %s", page, got.text())
			}
		}
		for _, page := range []string{"1e9", "1e300", "123456789012345678901234567890"} {
			if got := call(t, v, "bulkhead_read_more", found+`,"page":`+page+`}`); !strings.Contains(got.text(), "page must be from 1 to ") {
				t.Errorf("page %s: %s", page, got.text())
			}
		}
		if got := call(t, v, "bulkhead_find_tools", `{"query":"get","limit":5.0}`); got.IsError {
			t.Error(got.text())
		}
	})
}
