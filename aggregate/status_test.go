package aggregate_test

import (
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"

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

// A source that nobody can connect to because it refuses the token wants somebody
// to see to that, and is not just down.
func TestRefusedConnection(t *testing.T) {
	for why, want := range map[upstream.Kind]aggregate.Absence{
		upstream.NeedsLogin: aggregate.AwayLogin, upstream.Unavailable: aggregate.AwayDown, upstream.Denied: aggregate.AwayDown,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, "crm")
			f.state, f.why = upstream.Down, why
			a, err := aggregate.New([]aggregate.Member{member(f)}, aggregate.Options{Plain: true})
			if err != nil {
				t.Fatal(err)
			}
			_, stop := run(t, a)
			defer stop()
			synctest.Wait()
			if s := a.Status().Sources[0]; s.Away != want || s.State != string(upstream.Down) {
				t.Errorf("%s: %s, %s", why.Code(), s.State, s.Away)
			}
		})
	}
}
