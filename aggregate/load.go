package aggregate

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// LoadStatus is how busy a source is, and what it may still be asked.
type LoadStatus struct {
	Running     int `json:"running"` // calls
	Waiting     int `json:"waiting"` // calls
	Concurrency int `json:"concurrency"`
	// ConcurrencyNow is less than Concurrency while the source has said that it
	// is too much.
	ConcurrencyNow int          `json:"concurrencyNow,omitempty"`
	Queue          int          `json:"queue"`                   // calls that may wait
	WritesWaiting  int          `json:"writesWaiting,omitempty"` // for each other
	Quota          *QuotaStatus `json:"quota,omitempty"`         // nil if there is none
	// Classes are the quotas of tools that are counted apart besides, by their
	// names in the configuration.
	Classes map[string]QuotaStatus `json:"classes,omitempty"`
	Circuit CircuitStatus          `json:"circuit"` // of the whole source
	// Tools are those whose own circuit is not closed.
	Tools map[string]CircuitStatus `json:"tools,omitempty"`
	// ToolsMore is how many there are beside those named.
	ToolsMore int `json:"toolsMore,omitempty"`
	// RetryBudget is what is left of it, from 0 to 1.
	RetryBudget float64      `json:"retryBudget"`
	Cache       *CacheStatus `json:"cache,omitempty"` // nil while nothing was kept or shared
}

// QuotaStatus is what is left of a source's quota: of the user's who has the
// least, where each has one of their own.
type QuotaStatus struct {
	Left      float64 `json:"left"`               // calls
	Burst     float64 `json:"burst"`              // calls that may be left; 0 where nothing is counted
	PerSecond float64 `json:"perSecond"`          // calls that come in, now
	Per       Per     `json:"per"`                // whose calls are counted together
	FrozenMS  int64   `json:"frozenMs,omitempty"` // until the source may be asked again, as it said
}

// CircuitStatus is the condition of a circuit breaker.
type CircuitStatus struct {
	State     string `json:"state"` // closed, open or half-open
	Since     string `json:"since,omitempty"`
	RetryInMS int64  `json:"retryInMs,omitempty"`
	Failure   string `json:"failure,omitempty"` // the code of the failure that opened it
}

func (m *member) load() *LoadStatus {
	g := m.gates
	b := g.bulkhead.State()
	s := &LoadStatus{
		Running: b.Running, Waiting: b.Waiting, Concurrency: b.Most, Queue: b.Queue, WritesWaiting: g.order.Waiting(),
		Circuit: circuit(g.breaker.Status()), RetryBudget: rounded(g.retry.Budget()),
		Quota: scarcest(g.quotas.all.State(), m.Limits.Per), Cache: m.memory.status(),
	}
	if l := m.Limits; s.Quota == nil && l.Rate > 0 { // nobody has called it yet
		s.Quota = &QuotaStatus{Left: l.Burst, Burst: l.Burst, PerSecond: rounded(l.Rate), Per: cmp.Or(l.Per, PerUpstream)}
	}
	for _, c := range g.quotas.classes {
		q := scarcest(c.quotas.State(), m.Limits.classPer())
		if q == nil { // not used yet
			q = &QuotaStatus{Left: c.Burst, Burst: c.Burst, PerSecond: rounded(c.Rate), Per: m.Limits.classPer()}
		}
		if s.Classes == nil {
			s.Classes = make(map[string]QuotaStatus, len(g.quotas.classes))
		}
		s.Classes[c.Name] = *q
	}
	if b.Limit < b.Most {
		s.ConcurrencyNow = b.Limit
	}
	if open := g.breakers.Status(); len(open) > 0 {
		s.Tools = make(map[string]CircuitStatus, min(len(open), maxNamed))
		for _, tool := range slices.Sorted(maps.Keys(open))[:min(len(open), maxNamed)] {
			s.Tools[Printable(tool, 200)] = circuit(open[tool])
		}
		s.ToolsMore = len(open) - len(s.Tools)
	}
	return s
}

// maxNamed is how many tools with an open circuit are named for one source.
const maxNamed = 20

// scarcest returns the quota that has the least left; nil where nothing is
// counted and nothing frozen.
func scarcest(quotas map[string]gate.BucketState, per Per) *QuotaStatus {
	if per == "" {
		per = PerUpstream
	}
	var least *QuotaStatus
	for _, q := range quotas {
		frozen := max(time.Until(q.Frozen), 0)
		s := &QuotaStatus{Per: per, FrozenMS: frozen.Milliseconds()}
		if q.Most < unlimited {
			s.Left, s.Burst, s.PerSecond = rounded(q.Tokens), q.Burst, rounded(q.Rate)
		} else if frozen == 0 {
			continue
		}
		if least == nil || s.FrozenMS > least.FrozenMS || s.FrozenMS == least.FrozenMS && s.Left < least.Left {
			least = s
		}
	}
	return least
}

func circuit(b gate.BreakerStatus) CircuitStatus {
	return CircuitStatus{State: string(b.State), Since: stamp(b.Since), RetryInMS: b.RetryIn.Milliseconds(), Failure: b.Failure}
}

func rounded(f float64) float64 { return math.Round(f*100) / 100 }
