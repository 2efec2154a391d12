// Package metrics counts what the server does, for whoever watches it.
//
// Job: be told of calls and plans ([Metrics] is an aggregate.Observer), and write
// what was counted in the text format of Prometheus
// (https://prometheus.io/docs/instrumenting/exposition_formats/). docs/metrics.md
// says what each figure means.
// It owns the names, the labels and their bounds, and token_overhead_ratio. It
// must not know how calls are carried out and who may read the figures.
//
// What a label may say is a closed set: the name of a source from the
// configuration, a method of MCP, a code of a failure, and of clients what 32 of
// them call themselves. No label, and nothing else here, holds an argument, a
// result, an address, a user or a tool.
package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/o200k"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	// maxSources bounds the sources that are told apart, because a configuration
	// that is read again may have others each time.
	maxSources = 1024
	// What stands in place of a source's name begins as no name can.
	others = "_other" // whatever is beyond the bound
	ours   = "_own"   // our own tools
	// looked is of how many results one is looked at for how many tokens a byte
	// is: looking costs more than counting a call.
	looked = 16
)

// Metrics holds what was counted since the start.
type Metrics struct {
	version string
	started time.Time
	clients clients
	plans   plans

	mu      sync.RWMutex // guards what follows
	sources map[upstream.ID]*source
	calls   map[callKey]*callSeries
}

var _ aggregate.Observer = (*Metrics)(nil)

// New returns metrics that have counted nothing yet. version is that of this
// program.
func New(version string) *Metrics {
	return &Metrics{
		version: version, started: time.Now(), clients: newClients(),
		sources: make(map[upstream.ID]*source), calls: make(map[callKey]*callSeries),
	}
}

// callKey tells calls apart.
type callKey struct {
	source upstream.ID
	op     upstream.Op
	code   string
}

// callSeries counts the calls with one key.
type callSeries struct {
	source *source
	took   histogram
}

// source counts the calls to one source.
type source struct {
	name            string
	upstream, queue histogram
	retries, hedges atomic.Uint64
	memory          [len(memories)]atomic.Uint64
	results, bytes  atomic.Uint64
	tokens          atomic.Uint64 // of results, estimated
	perByte         atomic.Uint64 // tokens a byte, in 65536ths
}

// memories are the ways in which a call is answered without asking the source.
var memories = [...]string{"cached", "stale", "coalesced"}

// Asked counts a call of a client among those that it has running.
func (m *Metrics) Asked(r *aggregate.Request) func() { return m.clients.asked(r) }

// Called counts a call that has ended.
func (m *Metrics) Called(c *upstream.Call, o aggregate.Outcome) {
	key := callKey{c.Upstream, c.Op, o.Code}
	m.mu.RLock()
	s := m.calls[key]
	m.mu.RUnlock()
	if s == nil {
		s = m.newSeries(key)
	}
	s.took.observe(o.Took)
	s.source.called(c.Timing, o.Result)
}

func (m *Metrics) newSeries(key callKey) *callSeries {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.calls[key]; s != nil {
		return s
	}
	src := m.sources[key.source]
	if src == nil && len(m.sources) >= maxSources {
		key.source = others
		src = m.sources[others]
	}
	if src == nil {
		src = &source{name: string(key.source)}
		if src.name == "" {
			src.name = ours
		}
		m.sources[key.source] = src
	}
	s := m.calls[key]
	if s == nil {
		s = &callSeries{source: src}
		m.calls[key] = s
	}
	return s
}

func (s *source) called(t *upstream.Timing, res *upstream.Result) {
	if t.Attempts > 0 {
		s.upstream.observe(t.Upstream)
		s.queue.observe(t.Queued)
		more := t.Attempts - 1
		if t.Hedged {
			s.hedges.Add(1)
			more--
		}
		if more > 0 {
			s.retries.Add(uint64(more))
		}
	}
	if t.Memory != "" {
		for i, how := range memories {
			if t.Memory == how {
				s.memory[i].Add(1)
			}
		}
	}
	if res == nil || len(res.Raw) == 0 {
		return
	}
	if s.results.Add(1)%looked == 1 {
		s.perByte.Store(uint64(o200k.Sample(res.Raw, 4)) << 16 / uint64(len(res.Raw))) //nolint:gosec // neither is negative
	}
	s.bytes.Add(uint64(len(res.Raw)))
	s.tokens.Add(uint64(len(res.Raw)) * s.perByte.Load() >> 16)
}
