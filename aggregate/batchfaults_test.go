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

func manyCalls(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"n%d","tool":"crm_get"},`, i)
	}
	return b.String()
}
