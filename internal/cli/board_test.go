package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/admin"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func earlier(d time.Duration) string { return noon.Add(-d).Format(time.RFC3339) }

// sample returns a report of so many sources, of which the second, third and
// fourth are in trouble.
func sample(n int) admin.Report {
	var all []aggregate.SourceStatus
	for i := range n {
		s := aggregate.SourceStatus{Name: fmt.Sprintf("source-%02d", i+1), State: "up", Tools: 3 * i, Server: "server 1.0", Protocol: "2026-07-28",
			Load: &aggregate.LoadStatus{Running: i, Concurrency: 256, Queue: 256, RetryBudget: 1, Circuit: aggregate.CircuitStatus{State: "closed"}}}
		switch i {
		case 0:
			s.Name, s.Load.Concurrency, s.Load.Queue = "crm", 4, 50
			s.Load.Running, s.Load.Waiting = 4, 31
			s.RecoveredAt = earlier(3 * time.Minute)
			s.Load.Quota = &aggregate.QuotaStatus{Left: 31.6, Burst: 50, PerSecond: 10}
		case 1:
			s.Name, s.State, s.Away, s.AwaySince, s.RetryInMS = "warehouse", "down", aggregate.AwayDown, earlier(3*time.Minute), 4000
			s.Error, s.Detail = "it refuses connections", "Post \"https://warehouse.example.com:8443/mcp\": dial tcp 192.0.2.17:8443: connect: connection refused"
			s.LastFailure = &aggregate.FailureStatus{At: earlier(4 * time.Second), Code: "unavailable", Tool: "query"}
		case 2:
			s.Name, s.Away, s.RetryInMS = "tickets", aggregate.AwayFrozen, 130_000
			s.Load.Quota = &aggregate.QuotaStatus{FrozenMS: 130_000}
		case 3:
			s.Name, s.Away, s.AwaySince, s.RetryInMS = "wiki-of-the-whole-company", aggregate.AwayCircuit, earlier(9*time.Second), 11_000
			s.Load.Circuit = aggregate.CircuitStatus{State: "open", Failure: "timeout"}
			s.LastFailure = &aggregate.FailureStatus{At: earlier(2 * time.Hour), Code: "timeout", Tool: "search"}
		case 4:
			s.Load.Tools = map[string]aggregate.CircuitStatus{"export": {State: "open", Failure: "timeout", RetryInMS: 31_000}}
			s.Load.RetryBudget, s.Load.ToolsMore = 0.04, 2
			s.HeldBackMore = 1
		case 5:
			s.State, s.Stale, s.ToolsListed = "connecting", true, earlier(24*time.Hour)
		}
		all = append(all, s)
	}
	r := admin.NewReport(aggregate.Status{Sources: all})
	r.PID, r.Serving, r.Clients, r.Since = 4711, "stdio", []string{"claude-ai"}, noon.Add(-133*time.Minute)
	return r
}

const drawn = `process 4711, stdio, claude-ai, for 2 h
SOURCE              STATE         TOOLS    CALLS  QUEUE          QUOTA
crm                 up                0      4/4  ▮▮▮▯▯ 31/50    ▮▮▮▯▯ 31/50
    back, 3 min ago
warehouse           down              3    1/256  ▯▯▯▯▯ 0/256    -
    Post "https://warehouse.example.com:8443/mcp": dial tcp 192.0.2.17:8443:
      connect: connection refused, for 3 min, tried again in 4 s
    last failure: unavailable in query, 4 s ago
tickets             frozen            6    2/256  ▯▯▯▯▯ 0/256    frozen 2 min
    it asked to be left alone, tried again in 2 min
wiki-of-the-whole…  circuit open      9    3/256  ▯▯▯▯▯ 0/256    -
    left alone after timeout, for 9 s, tried again in 11 s
    last failure: timeout in search, 2 h ago
source-05           up               12    4/256  ▯▯▯▯▯ 0/256    -
    tool export: circuit open after timeout, tried again in 31 s
    and 2 more tools
    1 tool held back
    4 % of the budget for retries is left
source-06           connecting       15    5/256  ▯▯▯▯▯ 0/256    -
    tools as of an earlier run, 24 h ago
source-07           up               18    6/256  ▯▯▯▯▯ 0/256    -
source-08           up               21    7/256  ▯▯▯▯▯ 0/256    -
`

func TestBoard(t *testing.T) {
	for _, n := range []int{1, 8, 40} {
		b := board{width: 80, blocks: true, now: noon}
		got := b.text([]admin.Report{sample(n)})
		if diff := cmp.Diff(drawn, got); n == 8 && diff != "" {
			t.Error(diff)
		}
		for l := range strings.Lines(got) {
			if utf8.RuneCountInString(l) > 81 || strings.HasSuffix(l, " \n") {
				t.Errorf("%d sources: %q", n, l)
			}
		}
		ascii := board{width: 80, color: true, now: noon}
		plain := ascii.text([]admin.Report{sample(n)})
		if strings.ContainsAny(plain, "▮▯") || !strings.Contains(plain, "###-- 31/50") || strings.Contains(got, "\x1b") {
			t.Error(plain)
		}
		if !strings.Contains(plain, "\x1b[32mup          \x1b[0m") {
			t.Errorf("no colour in %q", plain)
		}
	}
	several := board{width: 80, now: noon, verbose: true}
	got := several.text([]admin.Report{sample(1), {PID: 7, Problem: "it does not say how it is: timeout\x1b[2J"}})
	if !strings.Contains(got, "\n\nprocess 7\n    it does not say how it is: timeout\\u001b[2J\n") || !strings.Contains(got, "    server 1.0, MCP 2026-07-28\n") {
		t.Error(got)
	}
	none := board{width: 80}
	if got := none.text(nil); got != "no server runs with this configuration any more\n" {
		t.Error(got)
	}
	old := board{width: 80} // of another version, which says less
	if got := old.text([]admin.Report{{Status: aggregate.Status{Sources: []aggregate.SourceStatus{{Name: "crm"}}}}}); !strings.Contains(got, "crm ") {
		t.Error(got)
	}
}

func TestBars(t *testing.T) {
	b := board{blocks: true}
	for _, tt := range []struct {
		part, whole float64
		want        string
	}{
		{0, 10, "▯▯▯▯▯"}, {0.1, 10, "▮▯▯▯▯"}, {9.9, 10, "▮▮▮▮▯"}, {10, 10, "▮▮▮▮▮"}, {11, 10, "▮▮▮▮▮"}, {1, 0, "▯▯▯▯▯"}, {-1, 10, "▯▯▯▯▯"},
	} {
		if got := b.bar(tt.part, tt.whole); got != tt.want {
			t.Errorf("%g of %g: %s", tt.part, tt.whole, got)
		}
	}
}

func TestInPlace(t *testing.T) {
	if got := inPlace("a\nb\n", 24); got != "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J" {
		t.Errorf("%q", got)
	}
	if got := inPlace(strings.Repeat("x\n", 30), 5); strings.Count(got, "\n") != 4 || !strings.Contains(got, "... 27 more lines") {
		t.Errorf("%q", got)
	}
}

func TestBoardShowsClassesAndMemory(t *testing.T) {
	r := sample(1)
	r.Sources[0].Load = &aggregate.LoadStatus{
		RetryBudget: 1, Classes: map[string]aggregate.QuotaStatus{"search": {Left: 3, Burst: 10}},
		Cache: &aggregate.CacheStatus{Entries: 4, Bytes: 3 << 20, Hits: 7, StaleHits: 2, Coalesced: 5},
	}
	b := board{width: 80, now: time.Now()}
	text := b.text([]admin.Report{r})
	for _, want := range []string{"class search: #---- 3/10", "from memory: 7 answers, 2 of them old; 5 shared; 4 kept (3.0 MiB)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing from\n%s", want, text)
		}
	}
}
