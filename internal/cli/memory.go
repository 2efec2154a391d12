package cli

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// slack is how much garbage may gather before it is collected, however small
	// the live heap is. Without it a few megabytes of live heap mean a collection
	// every few megabytes, which costs more than the calls do.
	slack = 12 << 20
	// tendEvery is how often it is looked whether there is nothing to do.
	tendEvery = time.Second
	// quiet is how much is allocated in that time when there is nothing to do.
	quiet = 256 << 10
	// worthwhile is how much must have been allocated since memory was given back
	// last for doing it again.
	worthwhile = 1 << 20
)

// tendMemory trades memory for time while there is work, and gives it back to
// the system when there is none, until ctx ends.
func tendMemory(ctx context.Context) {
	// The collector starts when the heap has doubled. An allocation that is never
	// touched counts for that and takes up no memory.
	ballast := make([]byte, slack)
	defer runtime.KeepAlive(ballast)
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var before, given uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		if now-before < quiet && now-given > worthwhile {
			debug.FreeOSMemory()
			metrics.Read(sample) // itself it allocates too
			now = sample[0].Value.Uint64()
			given = now
		}
		before = now
	}
}
