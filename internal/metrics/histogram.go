package metrics

import (
	"sync/atomic"
	"time"
)

// bounds are those that the OpenTelemetry conventions for MCP ask for
// (https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md,
// mcp.server.operation.duration).
var bounds = [...]time.Duration{
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute,
}

// histogram counts durations. The zero value has counted none.
type histogram struct {
	counts [len(bounds) + 1]atomic.Uint64 // of each bound those up to it and above the one before
	sum    atomic.Int64                   // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// counted returns how many durations there were up to each bound and in all.
func (h *histogram) counted() (upTo [len(bounds)]uint64, all uint64) {
	for i := range upTo {
		all += h.counts[i].Load()
		upTo[i] = all
	}
	return upTo, all + h.counts[len(upTo)].Load()
}
