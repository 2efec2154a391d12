package aggregate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	planLasts = 5 * time.Minute // for which a plan's results can be used again
	maxPlans  = 256             // that are remembered, of all clients together
	maxKept   = 64 << 20        // bytes of results that are remembered; the oldest plans go first
)

// batchMemory remembers what has succeeded of plans, so that a plan that is sent
// again makes only those calls that failed. It belongs to whoever sent it.
type batchMemory struct {
	mu    sync.Mutex
	plans map[planKey]*batchKept
	order []planKey // oldest first
	size  int
}

// planKey is a plan of one client.
type planKey [sha256.Size]byte

func newBatchMemory() *batchMemory { return &batchMemory{plans: map[planKey]*batchKept{}} }

// batchKept is what is remembered of one plan.
type batchKept struct {
	memory *batchMemory
	turn   chan struct{} // capacity 1: who carries the plan out
	until  time.Time     // guarded by the memory's mu, as are the next
	users  int
	calls  map[string]batchAnswer
	size   int
}

// of returns what is remembered of a plan, and waits until nobody else carries
// it out: a client that has given up and asks again gets what the first attempt
// has brought, and nothing is made twice.
func (m *batchMemory) of(ctx context.Context, c *upstream.Call, calls json.RawMessage) (k *batchKept, release func(), err error) {
	k = m.enter(planKeyOf(c, calls))
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		m.leave(k)
		return nil, nil, upstream.AsError("", c.Name, context.Cause(ctx))
	}
	return k, func() {
		<-k.turn
		m.leave(k)
	}, nil
}

func planKeyOf(c *upstream.Call, calls json.RawMessage) planKey {
	var text bytes.Buffer
	if json.Compact(&text, calls) != nil { // it has passed the check at the door
		text.Write(calls)
	}
	h := sha256.New()
	for _, part := range []string{c.Principal.Key(), c.Session, c.Name, text.String()} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return planKey(h.Sum(nil))
}

func (m *batchMemory) enter(key planKey) *batchKept {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	k := m.plans[key]
	if k != nil && k.users == 0 && !k.until.After(now) {
		m.drop(k)
	}
	if k == nil {
		k = &batchKept{memory: m, turn: make(chan struct{}, 1), calls: map[string]batchAnswer{}}
		m.plans[key] = k
		m.order = append(m.order, key)
	}
	k.users++
	m.shrink(now)
	return k
}

func (m *batchMemory) leave(k *batchKept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.users--
	k.until = time.Now().Add(planLasts)
	m.shrink(k.until.Add(-planLasts))
	if m.size > 0 {
		time.AfterFunc(planLasts, func() { // memory is let go even if nobody asks again
			m.mu.Lock()
			defer m.mu.Unlock()
			m.shrink(time.Now())
		})
	}
}

// shrink forgets plans that have expired, and the oldest beyond the bounds, but
// none that is being carried out. m.mu is held.
func (m *batchMemory) shrink(now time.Time) {
	kept := m.order[:0]
	over := len(m.order) - maxPlans
	for _, key := range m.order {
		k := m.plans[key]
		if k.users == 0 && (!k.until.After(now) || over > 0 || m.size > maxKept) {
			m.drop(k)
			delete(m.plans, key)
			over--
			continue
		}
		kept = append(kept, key)
	}
	clear(m.order[len(kept):])
	m.order = kept
}

// drop forgets the results of a plan. m.mu is held.
func (m *batchMemory) drop(k *batchKept) {
	m.size -= k.size
	k.calls, k.size = map[string]batchAnswer{}, 0
}

// forget drops what is remembered, but for writes of which nobody knows whether
// they happened: those are not made again for a word.
func (k *batchKept) forget() {
	k.memory.mu.Lock()
	defer k.memory.mu.Unlock()
	lost := map[string]batchAnswer{}
	for step, a := range k.calls {
		if a.err != nil {
			lost[step] = a
		}
	}
	k.memory.drop(k)
	k.calls = lost
}

func (k *batchKept) get(step string) (batchAnswer, bool) {
	k.memory.mu.Lock()
	defer k.memory.mu.Unlock()
	a, ok := k.calls[step]
	return a, ok
}

func (k *batchKept) put(step string, a batchAnswer, reads bool) {
	size := len(step)
	if a.result != nil {
		size += len(a.result.Raw)
	}
	k.memory.mu.Lock()
	defer k.memory.mu.Unlock()
	if a.err == nil && k.memory.size+size > maxKept {
		if reads {
			return // it is made again, which costs time and no more
		}
		a.result = upstream.TextResult("It succeeded when this plan was sent before; its result was too long to keep.", false)
		size = len(step) + len(a.result.Raw)
	}
	k.calls[step] = a
	k.size += size
	k.memory.size += size
}

// stepKey names a call within its plan, with the arguments that it was made with.
func stepKey(s plan.Step) string {
	return fmt.Sprintf("%s\x00%d\x00%x", s.Node.ID, s.Item, sha256.Sum256(s.Arguments))
}
