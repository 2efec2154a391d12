package aggregate_test

import (
	"runtime"
	"strconv"
	"strings"
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

// The last failure reads as its caller was told it: what only reads has carried out
// nothing that could be told twice.
func TestTheLastFailureSaysWhatItsCallerWasTold(t *testing.T) {
	const carriedOut = "may have been carried out"
	for _, kind := range []upstream.Kind{upstream.Timeout, upstream.Unavailable, upstream.UpstreamError, upstream.Internal} {
		for annotations, may := range map[string]bool{`,"annotations":{"readOnlyHint":true}`: false, ``: true} {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, "crm")
				f.tools = append(f.tools, parse(t, "crm", `{"name":"get","inputSchema":{"type":"object"}`+annotations+`}`))
				f.call = failing(upstream.Error{Kind: kind, Sent: true})
				a, err := aggregate.New([]aggregate.Member{member(f)}, aggregate.Options{Plain: true})
				if err != nil {
					t.Fatal(err)
				}
				v, _ := run(t, a)
				told := call(t, v, "crm_get", `{}`).text()
				last := a.Status().Sources[0].LastFailure
				if last == nil || last.Text != told || strings.Contains(told, carriedOut) != may {
					t.Errorf("with %q: %+v, the caller was told %q", annotations, last, told)
				}
			})
		}
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
