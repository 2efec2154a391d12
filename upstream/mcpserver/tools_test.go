package mcpserver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestToolsThroughPages(t *testing.T) {
	a := start(t, "10,000 tools")
	tools, err := a.Tools(t.Context())
	if err != nil || len(tools) != 10_000 {
		t.Fatalf("%d tools, %v", len(tools), err)
	}
	if tools[0].Name != "tool_0" || tools[9_999].Name != "tool_9999" {
		t.Errorf("the order is lost: %s … %s", tools[0].Name, tools[9_999].Name)
	}
}

func TestListChangedOverStdio(t *testing.T) {
	o := quickly()
	o.ProbeTimeout = hanging // it answers: only a busy machine makes it late
	a := newFake(t, "modern, listens", o)
	changes := watch(t, a)
	for limit := time.Now().Add(hanging); changes.Load() < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("no change was heard of")
		}
	}
}

func TestToolsWithoutEnd(t *testing.T) {
	for mode, want := range map[string]string{"cursor loop": "circles", "endless pages": "more than 1000 pages"} {
		a := start(t, mode)
		_, err := a.Tools(t.Context())
		if e := wantKind(t, err, upstream.UpstreamError, true); !strings.Contains(e.Public, want) {
			t.Errorf("%s: the model reads %q", mode, e.Public)
		}
	}
}

func TestOddToolsCostOnlyThemselves(t *testing.T) {
	a := start(t, "odd tools")
	tools, err := a.Tools(t.Context())
	if err != nil || len(tools) != 1 || tools[0].Name != "good" {
		t.Fatalf("%v, %v", tools, err)
	}
	if want := `{"name":"good","inputSchema":{"type":"object"}}`; string(tools[0].Raw) != want {
		t.Errorf("the definition is %s", tools[0].Raw)
	}
	held := a.Held()
	if len(held) != 4 || held[0].Tool != "bad" || !strings.Contains(held[2].Reason, "same name") {
		t.Errorf("held back: %+v", held)
	}
}
