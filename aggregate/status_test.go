package aggregate_test

import (
	"runtime"
	"strconv"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// A source that has listed its tools has as many as it has listed, at any moment
// in which that is asked.
func TestListedMeansOffered(t *testing.T) {
	const n = 2000
	tools := make([]string, n)
	for i := range tools {
		tools[i] = "t" + strconv.Itoa(i)
	}
	f := newFake(t, "crm", tools...)
	a, err := aggregate.New([]aggregate.Member{member(f)}, aggregate.Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	run(t, a)
	for {
		switch s := a.Status().Sources[0]; {
		case s.ToolsListed == "":
			runtime.Gosched()
			continue
		case s.Tools != n || s.State != string(upstream.Up):
			t.Errorf("%d tools, listed at %s, %s", s.Tools, s.ToolsListed, s.State)
		}
		return
	}
}
