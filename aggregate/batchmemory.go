package aggregate

import (
	chain "container/list"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/cache"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	planLasts = 5 * time.Minute // for which a plan's results can be used again, see batchText
	maxKept   = 16 << 20        // bytes that are remembered, of all clients together; twice that is taken of the system
	planCosts = 768             // bytes: its places in the map and the list, its turn, and the map of its calls
	callCosts = 512             // bytes, besides what it answered
)

// batchMemory remembers what has succeeded of plans, so that a plan that is sent
// again makes only those calls that failed. It belongs to whoever sent it. Where
// there is too much of it, results of reads go first, then those of writes; that a
// write was made is forgotten last of all.
type batchMemory struct {
	mu    sync.Mutex
	plans map[planKey]*batchKept
	whole chain.List // of *batchKept: those that nobody carries out, by when that ended
	short chain.List // the same, but of writes they have only that they were made
	size  int
	timer bool // one is set
}

func newBatchMemory() *batchMemory { return &batchMemory{plans: map[planKey]*batchKept{}} }

// batchKept is what is remembered of one plan.
type batchKept struct {
	memory *batchMemory
	key    planKey
	turn   chan struct{}  // capacity 1: who carries the plan out
	users  int            // guarded by the memory's mu, as are the next
	idle   *chain.Element // of one of the memory's lists; nil while there are users
	until  time.Time
	calls  map[callKey]*keptCall
	size   int
}

// keptCall is a call that was made.
type keptCall struct {
	batchAnswer
	node  string // of the plan
	reads bool
	once  bool // it was good enough for this once: out of date, as it says, or with gaps
	circumstances
	made time.Time
	size int
}

// circumstances are what a read may answer otherwise under.
type circumstances struct {
	as    cache.Key // with which credential, and what the tool is
	state uint64    // of the source, see [changes]
}

// of returns what is remembered of a plan, and waits until nobody else carries
// it out: a client that has given up and asks again gets what the first attempt
// has brought, and nothing is made twice.
func (m *batchMemory) of(ctx context.Context, c *upstream.Call, view upstream.ID, calls json.RawMessage) (k *batchKept, release func(), err error) {
	k = m.enter(planKeyOf(c, view, calls))
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		m.leave(k)
		return nil, nil, unawaited(c, context.Cause(ctx))
	}
	return k, func() {
		<-k.turn
		m.leave(k)
	}, nil
}

// unawaited is the error of a plan whose first sending has not ended in time.
func unawaited(c *upstream.Call, why error) error {
	e := *upstream.AsError("", c.Name, why)
	e.Sent = false
	if e.Kind == upstream.Timeout {
		e.Public = "this plan was sent before and is still being carried out; send it again as it is to have its answer"
	}
	return &e
}

func (m *batchMemory) enter(key planKey) *batchKept {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(time.Now())
	k := m.plans[key]
	if k == nil {
		k = &batchKept{memory: m, key: key, turn: make(chan struct{}, 1), calls: map[callKey]*keptCall{}, size: planCosts}
		m.plans[key] = k
		m.size += k.size
	}
	k.users++
	m.unlist(k)
	return k
}

// unlist takes a plan off the list that it is on, if it is on one. m.mu is held.
func (m *batchMemory) unlist(k *batchKept) {
	if k.idle != nil {
		m.whole.Remove(k.idle) // which does nothing if it is on the other
		m.short.Remove(k.idle)
		k.idle = nil
	}
}

func (m *batchMemory) leave(k *batchKept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if k.users--; k.users > 0 {
		return
	}
	k.until = now.Add(planLasts)
	if len(k.calls) == 0 {
		m.drop(k)
	} else {
		k.idle = m.whole.PushBack(k)
	}
	m.shrink()
	m.wake(now)
}

// wake has memory let go even if nobody asks again. m.mu is held.
func (m *batchMemory) wake(now time.Time) {
	first := m.first()
	if m.timer || first == nil {
		return
	}
	m.timer = true
	time.AfterFunc(first.until.Sub(now), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.timer = false
		now := time.Now()
		m.expire(now)
		m.wake(now)
	})
}

// first returns the plan whose time is up next; nil if there is none. m.mu is held.
func (m *batchMemory) first() (k *batchKept) {
	for _, l := range []*chain.List{&m.short, &m.whole} {
		if e := l.Front(); e != nil && (k == nil || e.Value.(*batchKept).until.Before(k.until)) {
			k = e.Value.(*batchKept)
		}
	}
	return k
}

// expire forgets plans whose time is up. m.mu is held.
func (m *batchMemory) expire(now time.Time) {
	for k := m.first(); k != nil && !k.until.After(now); k = m.first() {
		m.drop(k)
	}
}

// drop forgets a plan that nobody carries out. m.mu is held.
func (m *batchMemory) drop(k *batchKept) {
	m.unlist(k)
	m.size -= k.size
	delete(m.plans, k.key)
}

// shrink holds what is remembered within its bounds; what is oldest goes first.
// m.mu is held.
func (m *batchMemory) shrink() {
	for e := m.whole.Front(); e != nil && m.size > maxKept; e = m.whole.Front() {
		m.shorten(e.Value.(*batchKept))
	}
	for e := m.short.Front(); e != nil && m.size > maxKept; e = m.short.Front() {
		m.drop(e.Value.(*batchKept))
	}
}

// shorten leaves nothing of a plan that nobody carries out but which writes were
// made, and nothing at all if none was. m.mu is held.
func (m *batchMemory) shorten(k *batchKept) {
	m.unlist(k)
	all := k.calls
	k.calls = map[callKey]*keptCall{} // a map keeps the room of what is taken out of it
	for key, c := range all {
		if k.count(-c.size); c.reads {
			continue
		}
		if c.err == nil {
			bare := c.withoutResult()
			c = &bare
		}
		k.set(key, *c)
	}
	if len(k.calls) == 0 {
		m.drop(k)
	} else {
		k.idle = m.short.PushBack(k)
	}
}

// withoutResult returns a write of which it is only known that it was made.
func (c *keptCall) withoutResult() keptCall {
	bare := *c
	bare.batchAnswer = batchAnswer{source: c.source, result: withoutResult()}
	return bare
}

// withoutResult stands for the result of a write that was not kept.
func withoutResult() *upstream.Result {
	res := upstream.TextResult("It succeeded when this plan was sent before; its result was not kept.", false)
	res.Marks.Cut = true
	return res
}

func (k *batchKept) remove(key callKey) {
	if c := k.calls[key]; c != nil {
		k.count(-c.size)
		delete(k.calls, key)
	}
}

func (k *batchKept) count(size int) {
	k.size += size
	k.memory.size += size
}

func (k *batchKept) set(key callKey, c keptCall) {
	k.remove(key)
	if c.size = callCosts; c.result != nil {
		c.size += len(c.result.Raw)
	}
	k.calls[key] = &c
	k.count(c.size)
}

// forget drops what is remembered, but for writes of which nobody knows whether
// they happened, which are not made again for a word, and what they were made from.
func (k *batchKept) forget(p *plan.Plan) {
	stay := p.Under(k.nodes(func(c *keptCall) bool { return c.err != nil }))
	k.memory.mu.Lock()
	defer k.memory.mu.Unlock()
	for key, c := range k.calls {
		if c.err == nil && !stay[c.node] {
			k.remove(key)
		}
	}
}

// written returns the calls of which something was made that changed something, or
// may have.
func (k *batchKept) written() map[string]bool {
	return k.nodes(func(c *keptCall) bool { return !c.reads })
}

// nodes returns the calls of the plan of which such a one is remembered.
func (k *batchKept) nodes(such func(*keptCall) bool) map[string]bool {
	k.memory.mu.Lock()
	defer k.memory.mu.Unlock()
	nodes := map[string]bool{}
	for _, c := range k.calls {
		if such(c) {
			nodes[c.node] = true
		}
	}
	return nodes
}

// get returns what a call brought when the plan was sent before. That a write was
// made is known for as long as the plan is sent again; what was read grows old, and
// is not given again after a change at its source, or if it was out of date or had
// gaps from the first. settled is what a write was made from: if that were read anew,
// the write might be another one and made once more.
func (k *batchKept) get(key callKey, as circumstances, settled bool) (batchAnswer, bool) {
	k.memory.mu.Lock()
	defer k.memory.mu.Unlock()
	c := k.calls[key]
	switch {
	case c == nil || c.reads && c.as != as.as: // it may say another thing now
		return batchAnswer{}, false
	case c.reads && !settled && (c.once || c.state != as.state || time.Since(c.made) >= planLasts):
		return batchAnswer{}, false
	case c.as != as.as && c.err == nil: // made, but who asks may not be allowed to see it any longer
		return batchAnswer{source: c.source, result: withoutResult()}, true
	}
	return c.batchAnswer, true
}

// put remembers a call that succeeded, and one of which nobody knows whether it was
// carried out. Its circumstances are from before the call: who made it may have
// another credential by now.
func (k *batchKept) put(key callKey, c keptCall) {
	failed := c.err != nil || c.result != nil && c.result.IsError
	if failed && !c.unsure {
		return
	}
	c.made = time.Now()
	if c.result != nil {
		c.result = c.result.Alone()
	}
	k.memory.mu.Lock()
	defer k.memory.mu.Unlock()
	k.set(key, c)
	if k.memory.shrink(); k.memory.size <= maxKept {
		return
	}
	if c.reads {
		k.remove(key) // it is made again, which costs time and no more
	} else if c.err == nil {
		k.set(key, c.withoutResult())
	}
}

// unsure reports whether a call that failed may have been carried out, and must
// not be twice: then it is for whoever knows the source to say what happened.
func unsure(e *entry, err *upstream.Error) bool {
	if err == nil || !err.Sent || e.tool.Hints.ReadOnly || e.m.repeatable(&upstream.Call{Op: upstream.CallTool, Name: e.tool.Name, Tool: e.tool}) {
		return false
	}
	switch err.Kind {
	case upstream.WriteOutcomeUnknown, upstream.Unavailable, upstream.Timeout, upstream.Cancelled, upstream.Internal:
		return true
	case upstream.UpstreamError, upstream.RateLimited:
		return err.RPC == nil // an answer that could not be used
	}
	return false
}

// circumstances returns those of a call of this tool at this moment.
func (r *batchRun) circumstances(e *entry) circumstances {
	if e.m == nil {
		return circumstances{}
	}
	return circumstances{
		as:    e.m.memory.partition(r.call.Principal).Key([]byte("plan"), e.tool.Raw),
		state: e.m.memory.changes.beside(r.plan.Key),
	}
}
