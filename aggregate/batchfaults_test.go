package aggregate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// typed is a source whose tools say what they take and return.
func typed(t *testing.T, id upstream.ID) *fake {
	f := newFake(t, id)
	for _, raw := range []string{
		`{"name":"search","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object","properties":{"q":{"type":"string"},"limit":{"type":"integer"}},"required":["q"],"additionalProperties":false},
			"outputSchema":{"type":"object","properties":{"records":{"type":"array","items":{"type":"object","properties":{"id":{"type":"integer"},"name":{"type":"string"}},"additionalProperties":false}},"total":{"type":"integer"}},"additionalProperties":false}}`,
		`{"name":"get","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object","properties":{"id":{"type":"integer"},"ids":{"type":"array","items":{"type":"integer"}},"as":{"enum":["text","html"]},"by":{"anyOf":[{"type":"string"},{"type":"object","required":["name"]}]}},"additionalProperties":false}}`,
		`{"name":"invoice","annotations":{"readOnlyHint":false},"inputSchema":{"type":"object"}}`,
	} {
		f.tools = append(f.tools, parse(t, id, raw))
	}
	return f
}

// TestBatchFaults: whatever is wrong with a plan is told in one answer, before
// anything is called, each fault with its call and what to write instead. The
// answers stand in testdata/plans, each after the plan that it is for; with
// UPDATE_GOLDEN=1 they are written anew.
func TestBatchFaults(t *testing.T) {
	crm, desk := typed(t, "crm"), typed(t, "desk")
	needs := member(desk)
	needs.Requires = map[string][]string{"get": {"search"}}
	a, err := aggregate.New([]aggregate.Member{member(crm), needs}, aggregate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	if err := a.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/plans/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d plans, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		plan, want, _ := strings.Cut(string(raw), "\n---\n")
		tool := "bulkhead_batch"
		if strings.Contains(file, "read_only") {
			tool = "bulkhead_batch_read"
		}
		if file == filepath.Join("testdata", "plans", "too_many.txt") {
			plan = strings.Replace(plan, "MORE", strings.TrimSuffix(manyCalls(70), ","), 1)
		}
		got := call(t, v, tool, `{"calls":`+plan+`}`)
		text := strings.ReplaceAll(got.text(), " | ", "\n") + "\n"
		if os.Getenv("UPDATE_GOLDEN") != "" {
			short, _, _ := strings.Cut(string(raw), "\n---\n")
			if err := os.WriteFile(file, []byte(strings.TrimSuffix(short, "\n")+"\n---\n"+text), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !got.IsError || text != want {
			t.Errorf("%s:\n%s\nwant\n%s", file, text, want)
		}
	}
	for _, f := range []*fake{crm, desk} {
		f.mu.Lock()
		if f.called != 0 {
			t.Errorf("%s was called", f.id)
		}
		f.mu.Unlock()
	}
}

// TestBatchManyFaults: what is said of many faults ends behind a whole one, with how
// many there are besides; the same one of a call is told once.
func TestBatchManyFaults(t *testing.T) {
	v, _ := startBatches(t, aggregate.Options{}, newShop(t, "crm"))
	text := func(n int, call string) string {
		var calls []string
		for i := range n {
			calls = append(calls, strings.ReplaceAll(call, "N", fmt.Sprint(i)))
		}
		return refusal(t, v, `{"calls":[`+strings.Join(calls, ",")+`]}`)
	}
	const advice = "; change the arguments; repeating the same call will not help."
	few := text(60, `{"id":"aN","tool":"crm_raedN"}`)
	if strings.Count(few, " | ") != 59 || !strings.Contains(few, `| a59: unknown tool: "crm_raed59"; perhaps `) || strings.Contains(few, "more") || strings.Contains(few, "…") {
		t.Errorf("%d bytes: ... %s", len(few), few[len(few)-300:])
	}
	long := text(60, `{"id":"aN","tool":"crm_read","`+strings.Repeat("x", 60)+`":1,"arguments":{"v":[{"$ref":"#/`+strings.Repeat("y", 60)+`N"}]}}`)
	if len(long) < 12<<10 || len(long) > 17<<10 || !strings.Contains(long, " | and at least ") || !strings.HasSuffix(long, " more"+advice) || strings.Contains(long, "…") {
		t.Errorf("%d bytes: ... %s", len(long), long[len(long)-300:])
	}
	same := text(1, `{"id":"aN","tool":"crm_read","arguments":{"v":[`+strings.TrimSuffix(strings.Repeat(`{"$ref":"#/b/x"},`, 200), ",")+`]}}`)
	if want := `a0: #/b/x: there is no call "b" in the plan (200 times); the calls are a0` + advice; !strings.HasSuffix(same, want) || strings.Contains(same, " | ") {
		t.Error(same)
	}
}

func refusal(t *testing.T, v *aggregate.View, arguments string) string {
	t.Helper()
	a := call(t, v, "bulkhead_batch", arguments)
	if !a.IsError {
		t.Errorf("%.300s", a.text())
	}
	return a.text()
}

// TestBatchNulls: hosts that have a model fill in every member send null for those
// that it has left out.
func TestBatchNulls(t *testing.T) {
	v, _ := startBatches(t, aggregate.Options{}, newShop(t, "crm"))
	b := batch(t, v, "bulkhead_batch", `{"deadline_ms":null,"max_result_bytes":null,"fresh":null,"calls":[
		{"id":"a","tool":"crm_read","arguments":null,"after":null,"map":null,"on_error":null},{"id":"b","tool":"crm_read","map": null ,"after":["a"]}]}`)
	if got := b.String(); got != "a ok, b ok" {
		t.Error(got)
	}
	for arguments, want := range map[string]string{
		`{"calls":null}`:                                    "calls: must be a list",
		`{"calls":[{"id":"a","tool":null}]}`:                "a: names no tool",
		`{"calls":[{"id":null,"tool":"crm_read"}]}`:         "needs an id",
		`{"other":null,"calls":[]}`:                         `no argument "other"`,
		`{"calls":[{"id":"a","tool":"crm_read","x":null}]}`: `unknown member "x"`,
	} {
		if text := refusal(t, v, arguments); !strings.Contains(text, want) {
			t.Errorf("%s: %s", arguments, text)
		}
	}
}

func manyCalls(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"n%d","tool":"crm_get"},`, i)
	}
	return b.String()
}
