package aggregate

import (
	"context"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Limits is what one upstream is asked at most, and what may be done to calls of
// it. The zero value sets no limit, makes one attempt, and runs writes one after
// another.
type Limits struct {
	Concurrency int           // calls at once; 0 is any number
	Queue       int           // calls that may wait for one of these places, and for each other
	QueueWait   time.Duration // for a place; 0 is until the deadline

	Rate    float64            // tokens a second; 0 is any number
	Burst   float64            // tokens that can be saved up; at least the dearest call's cost
	Per     Per                // whose calls are counted together
	Costs   map[string]float64 // tokens for a call of a tool, by its own name; 1 for others
	Classes []Class            // tools that are counted apart besides

	Hedge map[string]bool // tools that may be asked twice at once, by their own names

	Attempts int           // in all; 0 and 1 are no retry
	Failures int           // in a row that open the circuit of a tool or of the source; 0 is none
	CoolDown time.Duration // how long it stays open the first time

	Writes      Writes
	Unannotated Writes // of tools that do not say whether they write: Serial or Parallel
	// SerializeBy is an argument: only writes in which it is the same run one
	// after another. "" for all of the upstream.
	SerializeBy string
	apart       bool // each user has a credential of his own
	// TrustAnnotations takes the upstream's word for what may be repeated.
	TrustAnnotations bool
}

// Writes says how calls that change something run beside each other.
type Writes string

// The ways for writes to run. The zero value of Limits.Writes is Serial, that of
// Limits.Unannotated is Parallel.
const (
	Serial   Writes = "serial"   // one after another, as they came
	Parallel Writes = "parallel" // like everything else
	Deny     Writes = "deny"     // not at all
)

// gates are the layers before one upstream that remember something.
type gates struct {
	order    *gate.Order
	retry    *gate.Retry
	bulkhead *gate.Bulkhead
	breaker  *gate.Breaker  // of the whole source
	breakers *gate.Breakers // of each tool
	hedge    *gate.Hedge
	quotas   *quotas
	throttle *gate.Throttle
}

// newGates returns the gates of a member that counts on where others of old do.
func newGates(m Member, old []*member) *gates {
	l := m.Limits
	l.apart = m.Users != nil
	q := newQuotas(l)
	q.inherit(m, old)
	queue := l.Queue
	if l.Concurrency <= 0 {
		queue = -1 // no limit at all
	}
	b := gate.BreakerOptions{Failures: l.Failures, CoolDown: l.CoolDown}
	whole := b
	whole.Whole = true
	return &gates{
		order:    gate.NewOrder(queue, l.line),
		retry:    gate.NewRetry(l.Attempts, m.repeatable),
		bulkhead: gate.NewBulkhead(l.Concurrency, l.Queue, l.QueueWait),
		breaker:  gate.NewBreaker(whole),
		breakers: gate.NewBreakers(b),
		hedge:    gate.NewHedge(l.hedged()),
		quotas:   q,
		throttle: q.throttle(l),
	}
}

// hedged says which calls may be made twice at once; nil for none.
func (l Limits) hedged() func(*upstream.Call) bool {
	if len(l.Hedge) == 0 {
		return nil
	}
	return func(c *upstream.Call) bool { return c.Op == upstream.CallTool && l.Hedge[c.Name] }
}

// line says which line of writes a call stands in, if any. What a tool says of
// itself is enough here: a wrong word harms its own source only.
func (l Limits) line(c *upstream.Call) (string, bool) {
	if c.Tool == nil || c.Tool.Hints.ReadOnly {
		return "", false
	}
	if c.Tool.HasHints && l.Writes == Parallel || !c.Tool.HasHints && l.Unannotated != Serial {
		return "", false
	}
	if l.SerializeBy == "" || rawjson.Kind(c.Arguments) != '{' {
		return "", true
	}
	by, _ := rawjson.Get(c.Arguments, l.SerializeBy)
	if rawjson.Kind(by) == '"' { // however it is escaped
		return rawjson.String(by), true
	}
	return string(by), true
}

// repeatable says whether a call that was sent may be sent again. A wrong word
// would double a write, so the upstream's own counts only where it is trusted.
func (m Member) repeatable(c *upstream.Call) bool {
	if c.Op != upstream.CallTool || c.Tool == nil {
		return c.Op.Reads()
	}
	if m.Limits.TrustAnnotations && (c.Tool.Hints.ReadOnly || c.Tool.Hints.Idempotent) {
		return true // overrides are in the hints already
	}
	said := m.Override[c.Name]
	return said.ReadOnly != nil && *said.ReadOnly || said.Idempotent != nil && *said.Idempotent
}

// permitted refuses calls that may change something where nothing may be changed:
// every tool that does not say that it only reads.
func permitted(w Writes) upstream.Middleware {
	if w != Deny {
		return func(next upstream.Handler) upstream.Handler { return next }
	}
	return func(next upstream.Handler) upstream.Handler {
		return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			if c.Tool != nil && !c.Tool.Hints.ReadOnly {
				return nil, &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: upstream.Denied,
					Public: `nothing may be changed there (writes = "deny"), and this tool does not say that it only reads`}
			}
			return next(ctx, c)
		}
	}
}
