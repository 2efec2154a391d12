package aggregate

import (
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// pipeline puts the layers before a member's adapter, outermost first. This is
// the only place where their order is decided; ARCHITECTURE.md says why it is
// this one.
func (a *Aggregate) pipeline(m *member) upstream.Handler {
	return upstream.Chain(
		m.presence.accounted,
		recovered(a.log),
		observed(a, m),
		deadline(a.opt.Deadline),
		permitted(m.Limits.Writes),
		validated(m.CheckSchema, a.log),
		(&shapes{max: a.opt.MaxResult, rests: a.rests, rules: m.Shape, log: m.log}).Layer,
		m.memory.Layer, // the cache, and inside it coalescing
		m.gates.order.Layer,
		m.gates.retry.Layer,
		m.gates.hedge.Layer,
		m.gates.bulkhead.Layer,
		m.gates.breaker.Layer,
		m.gates.breakers.Layer,
		m.gates.throttle.Layer,
		gate.Timeout(m.Attempt),
		m.drifts.Layer,
		m.presence.timed,
		m.gates.hedge.Begun,
	)(m.Adapter.Call)
}

// ownPipeline puts the layers before one of our own tools that still make
// sense where there is no upstream.
func ownPipeline(a *Aggregate, h upstream.Handler) upstream.Handler {
	return upstream.Chain(
		recovered(a.log),
		observed(a, nil),
		deadline(a.opt.Deadline),
		validated(true, a.log),
	)(h)
}

// batchPipeline is [ownPipeline] for a tool that checks its arguments itself.
func batchPipeline(a *Aggregate, h upstream.Handler) upstream.Handler {
	return upstream.Chain(
		recovered(a.log),
		observed(a, nil),
		deadline(a.opt.Deadline),
	)(h)
}
