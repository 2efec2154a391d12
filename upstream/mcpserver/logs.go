package mcpserver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// levelTime is how long a call waits for the server to take a new level.
const levelTime = 2 * time.Second

// message takes a notifications/message. It runs on the goroutine that reads
// answers, like progress.
func (d *desk) message(msg []byte, from visit) {
	params, ok := told(msg)
	if !ok {
		return
	}
	level, _ := rawjson.GetString(params, "level")
	rank := upstream.Severity(level)
	if rank == 0 {
		return
	}
	wants := func(v visit) bool { return v.guest != nil && v.guest.log != nil }
	if from.call == nil {
		var w whose
		if from, w = d.only(wants); w != found {
			d.opt.Log.Debug("log message of no call dropped", "upstream", d.opt.ID, "level", level)
			return
		}
	}
	if wants(from) && rank >= from.guest.rank {
		from.guest.log.take(params)
	}
}

// loudness is the level that a legacy server has been told on one connection.
type loudness struct {
	mu   sync.Mutex
	rank int           // 0 before the first
	set  chan struct{} // closed once the server has answered, or has not
}

// lower has a legacy server tell what the client of a call wants to hear, if it
// does not yet. The level is the connection's, so it is never raised again: each
// call filters for itself. A server that fails to take it costs the log only.
func (c *conn) lower(ctx context.Context, g *guest, log *slog.Logger) {
	if g == nil || g.log == nil || c.peer.modern || !c.peer.offers.logging {
		return
	}
	l := &c.logs
	l.mu.Lock()
	before, last, due := l.set, l.rank, l.rank == 0 || g.rank < l.rank
	done := make(chan struct{})
	if due {
		l.rank, l.set = g.rank, done
	}
	l.mu.Unlock()
	if before != nil { // one after another, or the last one to arrive decides
		select {
		case <-before:
		case <-ctx.Done():
		}
	}
	if !due {
		return
	}
	defer close(done)
	limited, cancel := context.WithTimeout(ctx, levelTime)
	defer cancel()
	ans, err := c.link.do(limited, c.peer, request{
		method: methodSetLevel,
		params: append(append([]byte(`{"level":`), rawjson.Quote(g.back.LogLevel)...), '}'),
	})
	if err == nil && ans.rpc == nil {
		return
	}
	if err == nil {
		err = ans.rpc
	}
	log.Debug("the level of log messages could not be set", "server", c.peer.server, "level", g.back.LogLevel, "error", err)
	if ctx.Err() != nil { // it is the call that ended, so the next one may try
		l.mu.Lock()
		if l.set == done {
			l.rank = last
		}
		l.mu.Unlock()
	}
}
