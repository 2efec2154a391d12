package metrics

import (
	"cmp"
	"encoding/json"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/o200k"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Now is how things are at the moment of writing.
type Now struct {
	Status      aggregate.Status
	Definitions iter.Seq2[upstream.ID, json.RawMessage] // see [aggregate.Definitions]
}

// Write writes everything that was counted and how things are now.
func (m *Metrics) Write(w io.Writer, now Now) error {
	p := &page{}
	p.family("bulkhead_build_info", gauge, "The program; always 1.")
	p.sample("bulkhead_build_info", 1, "version", m.version)
	p.family("process_start_time_seconds", gauge, "When it started, in seconds since the epoch.")
	p.sample("process_start_time_seconds", float64(m.started.UnixMilli())/1000)
	m.writeCalls(p)
	m.writeSources(p)
	m.writeClients(p)
	m.plans.write(p)
	writeStatus(p, now.Status)
	p.family("bulkhead_definition_tokens", gauge, "About how many tokens the listed definitions of tools are, which a model reads at each turn.")
	tokens := make(map[string]int)
	for id, definition := range now.Definitions {
		tokens[cmp.Or(string(id), ours)] += o200k.Estimate(definition)
	}
	for _, name := range slices.Sorted(maps.Keys(tokens)) {
		p.sample("bulkhead_definition_tokens", float64(tokens[name]), "upstream", name)
	}
	_, err := p.out.WriteTo(w)
	return err
}

func (m *Metrics) writeCalls(p *page) {
	m.mu.RLock()
	calls := maps.Clone(m.calls)
	m.mu.RUnlock()
	keys := slices.SortedFunc(maps.Keys(calls), func(a, b callKey) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.op, b.op), cmp.Compare(a.code, b.code))
	})
	p.family("bulkhead_calls_total", counter, "Calls that have ended, by how.")
	for _, k := range keys {
		_, n := calls[k].took.counted()
		p.sample("bulkhead_calls_total", float64(n), "upstream", calls[k].source.name, "mcp_method_name", string(k.op), "code", k.code)
	}
	const took = "mcp_server_operation_duration_seconds"
	p.family(took, histograms, "How long calls took in all; error_type is empty where they did not fail.")
	for _, k := range keys {
		failed := k.code
		if failed == "ok" {
			failed = ""
		}
		p.histogram(took, &calls[k].took, "upstream", calls[k].source.name, "mcp_method_name", string(k.op), "error_type", failed)
	}
}

func (m *Metrics) writeSources(p *page) {
	m.mu.RLock()
	all := slices.SortedFunc(maps.Values(m.sources), func(a, b *source) int { return cmp.Compare(a.name, b.name) })
	m.mu.RUnlock()
	sources := slices.DeleteFunc(slices.Clone(all), func(s *source) bool { return s.name == ours })
	each := func(sources []*source, name, help string, value func(*source) uint64) {
		p.family(name, counter, help)
		for _, s := range sources {
			p.sample(name, float64(value(s)), "upstream", s.name)
		}
	}
	p.family("mcp_client_operation_duration_seconds", histograms, "How long the source took, all attempts of a call together.")
	for _, s := range sources {
		p.histogram("mcp_client_operation_duration_seconds", &s.upstream, "upstream", s.name)
	}
	p.family("bulkhead_queue_duration_seconds", histograms, "How long calls waited for a place or for quota.")
	for _, s := range sources {
		p.histogram("bulkhead_queue_duration_seconds", &s.queue, "upstream", s.name)
	}
	each(sources, "bulkhead_retries_total", "Attempts after the first.", func(s *source) uint64 { return s.retries.Load() })
	each(sources, "bulkhead_hedges_total", "Calls that were made a second time beside the first attempt.", func(s *source) uint64 { return s.hedges.Load() })
	p.family("bulkhead_memory_answers_total", counter, "Calls that were answered from memory or with another call.")
	for _, s := range sources {
		for i, how := range memories {
			p.sample("bulkhead_memory_answers_total", float64(s.memory[i].Load()), "upstream", s.name, "how", how)
		}
	}
	each(all, "bulkhead_result_bytes_total", "Length of results.", func(s *source) uint64 { return s.bytes.Load() })
	each(all, "bulkhead_result_tokens_total", "About how many tokens the results are.", func(s *source) uint64 { return s.tokens.Load() })
}

func (m *Metrics) writeClients(p *page) {
	all := m.clients.all()
	const calls = "bulkhead_client_calls_total"
	p.family(calls, counter, "Calls of tools by clients: begun alone, or beside another that the same connection had running.")
	for _, c := range all {
		p.sample(calls, float64(c.alone), "client", c.name, "version", c.version, "era", era(c.modern), "begun", "alone")
		p.sample(calls, float64(c.beside), "client", c.name, "version", c.version, "era", era(c.modern), "begun", "beside")
	}
	const most = "bulkhead_client_calls_at_once_max"
	p.family(most, gauge, "How many calls one connection had running at once at most.")
	for _, c := range all {
		p.sample(most, float64(c.most), "client", c.name, "version", c.version, "era", era(c.modern))
	}
}

func (s *plans) write(p *page) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const wall = "bulkhead_batch_duration_seconds"
	p.family(wall, histograms, "How long plans of calls took.")
	p.histogram(wall, &s.wall)
	p.family("bulkhead_batch_seconds_total", counter, "Time of plans: their longest chains of calls, and all their calls one after another.")
	p.sample("bulkhead_batch_seconds_total", s.critical.Seconds(), "of", "critical_path")
	p.sample("bulkhead_batch_seconds_total", s.sum.Seconds(), "of", "sum")
	p.family("bulkhead_batch_calls_total", counter, "Calls of plans, by how they ended.")
	for _, code := range slices.Sorted(maps.Keys(s.calls)) {
		p.sample("bulkhead_batch_calls_total", float64(s.calls[code]), "code", code)
	}
	p.family("bulkhead_batch_tokens_total", counter, "About how many tokens models processed for plans, and would have for their calls one by one.")
	p.sample("bulkhead_batch_tokens_total", float64(s.together), "run", "batch")
	p.sample("bulkhead_batch_tokens_total", float64(s.oneByOne), "run", "one_by_one")
	if s.oneByOne > 0 {
		p.family("bulkhead_token_overhead_ratio", gauge, "The former through the latter, since the start.")
		p.sample("bulkhead_token_overhead_ratio", float64(s.together)/float64(s.oneByOne))
	}
}

// circuit is the state of a circuit breaker as a number.
func circuit(state string) float64 {
	switch state {
	case "open":
		return 2
	case "half-open":
		return 1
	}
	return 0
}

func writeStatus(p *page, st aggregate.Status) {
	each := func(name, help string, value func(*aggregate.SourceStatus) (float64, bool)) {
		p.family(name, gauge, help)
		for i := range st.Sources {
			if v, known := value(&st.Sources[i]); known {
				p.sample(name, v, "upstream", st.Sources[i].Name)
			}
		}
	}
	load := func(value func(*aggregate.LoadStatus) float64) func(*aggregate.SourceStatus) (float64, bool) {
		return func(s *aggregate.SourceStatus) (float64, bool) {
			if s.Load == nil {
				return 0, false
			}
			return value(s.Load), true
		}
	}
	each("bulkhead_upstream_up", "1 if the source can be used.", func(s *aggregate.SourceStatus) (float64, bool) {
		if s.State == string(upstream.Up) && s.Away == "" {
			return 1, true
		}
		return 0, true
	})
	each("bulkhead_upstream_tools", "Tools that are offered of it.", func(s *aggregate.SourceStatus) (float64, bool) { return float64(s.Tools), true })
	each("bulkhead_upstream_drift", "Differences seen within the hour between what it declared and what it answers.", func(s *aggregate.SourceStatus) (float64, bool) {
		return float64(len(s.Drift) + s.DriftMore), true
	})
	each("bulkhead_circuit_state", "Its circuit: 0 closed, 1 half-open, 2 open.", load(func(l *aggregate.LoadStatus) float64 { return circuit(l.Circuit.State) }))
	each("bulkhead_circuit_tools", "Tools whose own circuit is not closed.", load(func(l *aggregate.LoadStatus) float64 { return float64(len(l.Tools) + l.ToolsMore) }))
	each("bulkhead_running_calls", "Calls that run.", load(func(l *aggregate.LoadStatus) float64 { return float64(l.Running) }))
	each("bulkhead_waiting_calls", "Calls that wait for a place, for quota or for another write.", load(func(l *aggregate.LoadStatus) float64 { return float64(l.Waiting + l.WritesWaiting) }))
	each("bulkhead_retry_budget", "What is left of the budget for retries, from 0 to 1.", load(func(l *aggregate.LoadStatus) float64 { return l.RetryBudget }))
	each("bulkhead_quota_left", "Calls that are left of the quota: of the user's who has the least.", func(s *aggregate.SourceStatus) (float64, bool) {
		if s.Load == nil || s.Load.Quota == nil {
			return 0, false
		}
		return s.Load.Quota.Left, true
	})
}
