package metrics

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/o200k"
)

// plans counts plans of calls and what they cost a model.
type plans struct {
	wall histogram

	mu                 sync.Mutex // guards what follows
	critical, sum      time.Duration
	calls              map[string]uint64 // by how they ended
	together, oneByOne uint64            // tokens, see costs
	definitions        json.RawMessage   // whose tokens are known
	tokens             int               // of definitions
}

// Planned counts a plan.
func (m *Metrics) Planned(p *aggregate.Planned) {
	s := &m.plans
	s.wall.observe(p.Wall)
	together, oneByOne := costs(p, s.defined(p.Definitions))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.critical += p.Critical
	s.sum += p.Sum
	s.together += together
	s.oneByOne += oneByOne
	if s.calls == nil {
		s.calls = make(map[string]uint64)
	}
	for i := range p.Calls {
		s.calls[p.Calls[i].Code]++
	}
}

// defined returns how many tokens a list of definitions is.
func (s *plans) defined(list json.RawMessage) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := len(list) == len(s.definitions) && (len(list) == 0 || &list[0] == &s.definitions[0])
	if !same {
		s.definitions, s.tokens = list, o200k.Estimate(list)
	}
	return s.tokens
}

// costs returns what a plan costs a model, and what its calls would have cost one
// after another, in tokens; nothing where none was made. Calls that were skipped
// or had been made before are not compared with anything.
func costs(p *aggregate.Planned, definitions int) (together, oneByOne uint64) {
	var turns [][]o200k.Turn
	for i := range p.Calls {
		if c := &p.Calls[i]; c.Made() {
			turns = append(turns, []o200k.Turn{turn(c)})
		}
	}
	if turns == nil {
		return 0, 0
	}
	all := o200k.Cost(definitions, 0, []o200k.Turn{turn(&p.Whole)})
	one := o200k.Cost(definitions, 0, turns...)
	return uint64(all), uint64(one) //nolint:gosec // neither is negative
}

func turn(c *aggregate.PlannedCall) o200k.Turn {
	const places = 64
	return o200k.Turn{
		Written: o200k.Estimate([]byte(c.Tool)) + o200k.Sample(c.Arguments, places),
		Read:    o200k.Sample(c.Answer, places),
	}
}
