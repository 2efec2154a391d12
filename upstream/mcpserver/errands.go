package mcpserver

import (
	"context"
	"time"
)

const (
	errandCount = 2  // goroutines that send
	errandQueue = 64 // messages that may wait
	errandTime  = 5 * time.Second
)

// errands are messages over HTTP that nobody waits for: cancellations and
// answers to pings. Watch runs them, so that no call has to.
type errands chan func(context.Context)

// add queues a message, or drops it when too many are waiting.
func (e errands) add(send func(context.Context)) {
	select {
	case e <- send:
	default:
	}
}

// run sends until ctx ends.
func (e errands) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case send := <-e:
			limited, cancel := context.WithTimeout(ctx, errandTime)
			send(limited)
			cancel()
		}
	}
}
