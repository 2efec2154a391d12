package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// What bulkhead_sources says stays readable however many sources fail however
// badly.
func TestSourcesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		words := strings.Repeat("something went very wrong here; ", 100)
		var members []aggregate.Member
		for i := range 50 {
			var tools []string
			for j := range 20 {
				tools = append(tools, fmt.Sprintf("tool_with_a_rather_long_name_%02d", j))
			}
			f := newFake(t, upstream.ID(fmt.Sprintf("source-%02d", i)), tools...)
			failing := fails(0, upstream.Error{Kind: upstream.Timeout, Sent: true, Public: words})
			f.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				if strings.HasSuffix(c.Name, "00") {
					return ok()
				}
				return failing(ctx, c)
			}
			members = append(members, limited(f, aggregate.Limits{Failures: 2, CoolDown: time.Hour, Rate: 100, Burst: 100}))
		}
		a, err := aggregate.New(members, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		for i := range 50 {
			for j := range 20 {
				for _, tool := range []int{j, 0, 0, j, 0, 0} { // so that the source's own circuit stays closed
					call(t, v, fmt.Sprintf("source-%02d_tool_with_a_rather_long_name_%02d", i, tool), `{}`)
				}
			}
		}
		got := call(t, v, "bulkhead_sources", `{}`)
		if n := len(got.Structured); n > 64<<10 {
			t.Errorf("%d bytes", n)
		}
		var st aggregate.Status
		if err := json.Unmarshal(got.Structured, &st); err != nil || len(st.Sources) != 50 {
			t.Fatal(err, len(st.Sources))
		}
		for _, s := range st.Sources {
			if s.Load.ToolsMore+len(s.Load.Tools) != 19 || len(s.Load.Tools) == 0 || len(s.Summary) > 250 || s.LastFailure == nil || s.LastFailure.Code == "" {
				t.Fatalf("%+v", s)
			}
		}
		one := call(t, v, "bulkhead_sources", `{"source":"source-07"}`)
		if n := len(one.Structured); n < 3000 || n > 16<<10 {
			t.Errorf("one source takes %d bytes", n)
		}
	})
}

// The summary says what a person would want to hear first.
func TestSummaries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, aggregate.Limits{Failures: 2, CoolDown: time.Minute, Rate: 1, Burst: 50})
		want := func(text string) {
			t.Helper()
			if got := p.source("s", "crm").Summary; got != text {
				t.Errorf("%s, want %s", got, text)
			}
		}
		want("crm answers, 3 tools; 50 of 50 calls left.")
		p.ill.Store(&upstream.Error{Kind: upstream.Timeout, Sent: true})
		p.call("s", "crm_get")
		p.call("s", "crm_get")
		want("crm answers, 3 tools; 48 of 50 calls left; 1 tool left alone after failures: get.")
		p.ill.Store(&upstream.Error{Kind: upstream.Unavailable})
		p.call("s", "crm_act")
		p.call("s", "crm_put")
		time.Sleep(8 * time.Second)
		text := p.source("s", "crm").Summary
		if !strings.HasPrefix(text, "crm is left alone after failures (unavailable) for 8 s, is tried again in ") {
			t.Error(text)
		}
		p.turn(upstream.Down)
		want("crm cannot be reached for 8 s.")
		p.ill.Store(nil)
		p.turn(upstream.Up)
		p.touch()
		synctest.Wait()
		time.Sleep(5 * time.Minute)
		want("crm has answered again for 5 min, 3 tools; 50 of 50 calls left; 1 tool left alone after failures: get.")
	})
}

// Instructions name what is missing, and why where it matters; what is left alone
// for seconds is not missing.
func TestInstructionsNameWhatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		ill  upstream.Error
		want string
	}{
		{upstream.Error{Kind: upstream.NeedsLogin}, "Sources: dwh. Not answering at the moment: crm (needs a sign-in). "},
		{upstream.Error{Kind: upstream.RateLimited, RetryAfter: 10 * time.Minute}, "Sources: dwh. Not answering at the moment: crm (rate limit). "},
		{upstream.Error{Kind: upstream.RateLimited, RetryAfter: 10 * time.Second}, "Sources: crm, dwh. "},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPatient(t, aggregate.Limits{})
			p.ill.Store(&tt.ill)
			p.call("s", "crm_get")
			if got := p.v.Instructions(); !strings.Contains(got, tt.want) {
				t.Error(got)
			}
		})
	}
}
