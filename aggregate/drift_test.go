package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const dealsSchema = `{"type":"object","properties":{"count":{"type":"integer"},"next":{"type":["string","null"]},` +
	`"records":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"},"owner":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}},"required":["id","owner"]}},` +
	`"any":{},"odd":{"anyOf":[{"type":"string"}]}},"required":["records","count"]}`

func dealsTool(schema string) string {
	return `{"name":"deals","inputSchema":{"type":"object"},"outputSchema":` + schema + `}`
}

// drifting is a source whose tool answers what answer holds.
func drifting(t *testing.T, schema string) (f *fake, answer *atomic.Value) {
	t.Helper()
	f, answer = newFake(t, "crm"), &atomic.Value{}
	f.tools = []upstream.Tool{parse(t, "crm", dealsTool(schema))}
	f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
		return upstream.ParseResult(json.RawMessage(answer.Load().(string)))
	}
	return f, answer
}

// watching runs an aggregate that has tools of its own.
func watching(t *testing.T, opt aggregate.Options, m aggregate.Member) *aggregate.View {
	t.Helper()
	a, err := aggregate.New([]aggregate.Member{m}, opt)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	names(t, v) // until it is listed
	return v
}

func structured(body string) string {
	return `{"content":[{"type":"text","text":"x"}] , "structuredContent" : ` + body + `,"zz":1}`
}

// drift returns what bulkhead_sources says of the source, a line for each.
func drift(t *testing.T, v *aggregate.View) []string {
	t.Helper()
	var st struct {
		Sources []struct {
			Drift     []aggregate.DriftStatus `json:"drift"`
			DriftMore int                     `json:"driftMore"`
		} `json:"sources"`
	}
	if err := json.Unmarshal(call(t, v, "bulkhead_sources", `{}`).Structured, &st); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range st.Sources[0].Drift {
		if _, err := time.Parse(time.RFC3339, d.Since); err != nil {
			t.Errorf("since: %v", err)
		}
		out = append(out, strings.TrimSpace(d.Tool+" "+d.Field)+": "+d.Problem)
	}
	if n := st.Sources[0].DriftMore; n > 0 {
		out = append(out, fmt.Sprint("more: ", n))
	}
	return out
}

func TestDrift(t *testing.T) {
	const good = `{"records":[{"id":"1","owner":{"name":"Ann"}}],"count":1,"next":null,"any":7,"odd":5,"more":true}`
	for body, want := range map[string]string{
		good:                       "",
		`{"records":[],"count":0}`: "",
		`{"records":[],"count":12345678901234567890}`: "",
		`{"count":1}`:                                                   "deals records: is gone",
		`{"records":[],"count":"1","next":5}`:                           "deals count: is a string, not a number|deals next: is a number, not a string or null",
		`{"records":{},"count":1}`:                                      "deals records: is an object, not an array",
		`{"records":[{"id":1}],"count":1}`:                              "deals records[].id: is a number, not a string|deals records[].owner: is gone",
		`{"records":[{"id":"1","owner":{"name":true}},null],"count":1}`: "deals records[].owner.name: is a boolean, not a string|deals records[]: is null, not an object",
		`[]`: "deals: is an array, not an object",
		`{"records":[` + strings.Repeat(good+",", 5) + `7],"count":1}`: "deals records[].id: is gone|deals records[].owner: is gone", // each once; the sixth is not looked at
		`{"records":"` + strings.Repeat("x", 1<<20) + `","count":1}`:   "",                                                           // too long to be looked at
		`{"records":null,"count":[],"next":{},"\u0072ecords2":1}`:      "deals records: is null, not an array|deals count: is an array, not a number|deals next: is an object, not a string or null",
	} {
		synctest.Test(t, func(t *testing.T) {
			f, answer := drifting(t, dealsSchema)
			v := watching(t, aggregate.Options{MaxResult: 4 << 20}, member(f))
			answer.Store(structured(body))
			raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"crm_deals"}`)})
			if err != nil || string(raw) != structured(body) && len(body) < 1<<20 && body != "[]" { // which older clients cannot take
				t.Errorf("%.100s was relayed as %.200s, %v", body, raw, err)
			}
			if got := strings.Join(drift(t, v), "|"); got != want {
				t.Errorf("%.100s: %q, want %q", body, got, want)
			}
		})
	}
}

func TestDriftIsOfAnswersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, answer := drifting(t, dealsSchema)
		f.tools = append(f.tools, parse(t, "crm", `{"name":"free","inputSchema":{"type":"object"}}`), parse(t, "crm", `{"name":"odd","inputSchema":{"type":"object"},"outputSchema":true}`))
		v := watching(t, aggregate.Options{}, member(f))
		answer.Store(`{"content":[],"isError":true}`)
		call(t, v, "crm_deals", `{}`)
		answer.Store(`{"content":[]}`)
		call(t, v, "crm_free", `{}`)
		call(t, v, "crm_odd", `{}`)
		if got := drift(t, v); got != nil {
			t.Errorf("%q", got)
		}
		call(t, v, "crm_deals", `{}`)
		if got := drift(t, v); len(got) != 1 || got[0] != "deals: has declared an output schema and answers nothing structured" {
			t.Errorf("%q", got)
		}
	})
}

// TestDriftIsSampled: the first answers, and then one a second.
func TestDriftIsSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, answer := drifting(t, dealsSchema)
		v := watching(t, aggregate.Options{}, member(f))
		ask := func(body string, n int) {
			answer.Store(structured(body))
			for range n {
				call(t, v, "crm_deals", `{}`)
			}
		}
		ask(`{"records":[],"count":1}`, 4)
		ask(`{"records":[]}`, 5)
		if got := drift(t, v); got != nil {
			t.Errorf("looked at each answer: %q", got)
		}
		time.Sleep(time.Second)
		ask(`{"records":[]}`, 1)
		if got := drift(t, v); len(got) != 1 {
			t.Errorf("not looked at for a second: %q", got)
		}
		time.Sleep(59 * time.Minute)
		ask(`{"records":[]}`, 1)
		time.Sleep(59 * time.Minute)
		if got := drift(t, v); len(got) != 1 {
			t.Errorf("forgotten although it was seen: %q", got)
		}
		time.Sleep(2 * time.Minute)
		if got := drift(t, v); got != nil {
			t.Errorf("not seen for an hour: %q", got)
		}
	})
}

func TestDriftOfADefinition(t *testing.T) {
	for after, want := range map[string]string{
		dealsSchema: "",
		`{"type":"object","properties":{"count":{"type":"string"},"records":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"}}}},"any":{},"odd":{}}}`: "deals count: is declared as a string, not a number any more|deals next: is not declared any more|deals records[].owner: is not declared any more",
		strings.Replace(dealsSchema, `"count":`, `"new":{},"count":`, 1): "deals: has another output schema",
		"": "deals: has no output schema any more",
	} {
		synctest.Test(t, func(t *testing.T) {
			f, answer := drifting(t, dealsSchema)
			var log lockedText
			v := watching(t, aggregate.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, member(f))
			answer.Store(structured(`{"records":[],"count":1}`))
			call(t, v, "crm_deals", `{}`)
			tool := `{"name":"deals","description":"another","inputSchema":{"type":"object"}}`
			if after != "" {
				tool = strings.Replace(dealsTool(after), `"name"`, `"description":"another","name"`, 1)
			}
			f.mu.Lock()
			f.tools = []upstream.Tool{parse(t, "crm", tool)}
			f.mu.Unlock()
			f.touch()
			time.Sleep(time.Second)
			if got := strings.Join(drift(t, v), "|"); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if n := strings.Count(log.String(), "source has changed"); n != len(drift(t, v)) {
				t.Errorf("%d lines in the log\n%s", n, log.String())
			}
		})
	}
}

// TestDriftIsBounded: whatever a source declares and answers, little is said of
// it, and nothing of what is in its answers.
func TestDriftIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm")
		var schema, tools strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&schema, `"f%d":{"type":"string"},`, i)
		}
		for i := range 30 {
			raw := fmt.Sprintf(`{"name":"t%d\u202e%s","inputSchema":{"type":"object"},"outputSchema":{"type":"object","properties":{%s"z":{}},"required":["f0",7,{},"\n"]}}`, i, strings.Repeat("x", 100), schema.String())
			if err := rawjson.Check([]byte(raw), rawjson.Limits{}); err != nil {
				t.Fatal(err)
			}
			f.tools = append(f.tools, parse(t, "crm", raw))
			fmt.Fprintln(&tools, f.tools[i].Name)
		}
		f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult(json.RawMessage(structured(`{"f1":{"canary":"canary"},"f2":["canary"],"f3":1,"f4":2,"f5":3,"f6":4,"canary":5}`)))
		}
		v := watching(t, aggregate.Options{}, member(f))
		all := names(t, v)
		for _, name := range all {
			if strings.HasPrefix(name, "crm_") {
				call(t, v, name, `{}`)
			}
		}
		got := drift(t, v)
		text := call(t, v, "bulkhead_sources", `{}`).text()
		if len(got) != 20 || strings.Contains(text, "canary") || len(text) > 12_000 {
			t.Errorf("%d differences, %d bytes: %.1000s", len(got), len(text), text)
		}
	})
}

// drifter notices by itself.
type drifter struct{ *fake }

func (drifter) Drift() []upstream.Drift {
	return []upstream.Drift{{Tool: "get", Problem: "is refused", Since: time.Now().Add(-time.Hour)}}
}

func TestDriftOfAnAdapter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, answer := drifting(t, dealsSchema)
		m := member(f)
		m.Adapter = drifter{f}
		v := watching(t, aggregate.Options{}, m)
		answer.Store(structured(`{"records":[]}`))
		call(t, v, "crm_deals", `{}`)
		if got := strings.Join(drift(t, v), "|"); got != "get: is refused|deals count: is gone" {
			t.Error(got)
		}
		if text := call(t, v, "bulkhead_sources", `{}`).text(); !strings.Contains(text, "what get answers has changed (is refused) and 1 difference more") {
			t.Errorf("the summary does not say so: %.600s", text)
		}
	})
}
