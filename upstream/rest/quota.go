package rest

import (
	"math"
	"strconv"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
)

// quota returns what the body of an answer says is left of a quota; nil if it says
// nothing, or nothing that makes sense.
func (r *rules) quota(b *body) *upstream.Quota {
	left, ok := numberAt(b, r.left)
	if !ok {
		return nil
	}
	q := &upstream.Quota{Remaining: left}
	if each, ok := numberAt(b, r.restore); ok && each > 0 { // until there is one more
		q.Reset = time.Duration(min(max(1-left, 0)/each, limits.Most.Seconds()) * float64(time.Second))
	}
	return q
}

// numberAt returns the number at p that is not negative; false if there is none.
func numberAt(b *body, p pointer) (float64, bool) {
	if p == nil {
		return 0, false
	}
	v, _ := b.at(p)
	n, err := strconv.ParseFloat(plain(v), 64)
	return n, err == nil && n >= 0 && !math.IsInf(n, 0)
}
