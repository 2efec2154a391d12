package aggregate

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// planKey is a plan of one client.
type planKey [sha256.Size]byte

// planKeyOf tells plans apart that say something else, see [planForm]. A client of the
// modern revision has no session; its name is what is left to know it by.
func planKeyOf(c *upstream.Call, view upstream.ID, calls json.RawMessage) planKey {
	return digest([]byte(c.Principal.Key()), []byte(c.Session), []byte(c.Client), []byte(view), []byte(c.Name), planForm(calls))
}

// callKey is a call of a plan with its arguments, and the source that it goes to; of
// equal ones that are made for a list, so many were before it.
type callKey struct {
	sum    [sha256.Size]byte
	before int
}

// keyOf tells a call from all others of its plan, and from the same one to
// another source that has its name now. A write is the same whatever it would be
// made with by now, or a read behind it that answers otherwise had it made twice; of
// those that are made for a list, what they are made with tells them apart, wherever
// in the list that stands by now. What is our own is not remembered: it costs
// nothing.
func (r *batchRun) keyOf(s plan.Step, e *entry) callKey {
	if e.m == nil {
		return callKey{}
	}
	var arguments []byte
	if s.Item >= 0 || e.tool.Hints.ReadOnly {
		arguments = argumentForm(s.Arguments)
	}
	key := callKey{sum: digest([]byte(s.Node.ID), []byte(e.m.Identity), []byte(e.tool.Name), arguments)}
	if s.Item >= 0 {
		key.before = r.equals.before(key.sum)
	}
	return key
}

// equals counts the calls of a plan that nothing but their place in a list tells
// apart. It makes no difference which of them is which.
type equals struct {
	mu   sync.Mutex
	seen map[[sha256.Size]byte]int
}

// before returns how many of these there were before.
func (q *equals) before(sum [sha256.Size]byte) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.seen == nil {
		q.seen = map[[sha256.Size]byte]int{}
	}
	q.seen[sum]++
	return q.seen[sum] - 1
}

func digest(parts ...[]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}
