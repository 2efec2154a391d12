package inbound

import (
	"container/list"
	"context"
	"slices"
	"time"
)

// maxStreams is how many notification streams a session may have open.
const maxStreams = 4

// httpSession is what we keep of a legacy session over Streamable HTTP.
type httpSession struct {
	*session
	secret   string // the id that the client sends
	upstream string // whose endpoint

	// Guarded by the mu of the table.
	users int           // HTTP requests that are under way
	used  time.Time     // when the last of them ended
	idle  *list.Element // nil while there are users

	// Guarded by session.mu.
	streams     []*changeStream // the newest is last and gets the messages
	missed      bool            // a change came while there was no stream
	unsubscribe func()          // nil before the first stream
}

// changeStream is one open notification stream.
type changeStream struct {
	changed signal
	end     context.CancelFunc
}

// attach adds a notification stream. It reports false if there are too many.
func (h *httpSession) attach(s *changeStream) bool {
	h.mu.Lock()
	if len(h.streams) >= maxStreams || h.closed {
		h.mu.Unlock()
		return false
	}
	h.streams = append(h.streams, s)
	if h.missed {
		h.missed = false
		s.changed.set()
	}
	first := h.unsubscribe == nil
	if first {
		h.unsubscribe = func() {}
	}
	h.mu.Unlock()
	if !first {
		return true
	}
	cancel := follow(context.TODO(), h.service, h.principal, h.changed)
	h.mu.Lock()
	closed := h.closed
	h.unsubscribe = cancel
	h.mu.Unlock()
	if closed {
		cancel()
	}
	return true
}

// detach removes a stream; what it has not delivered goes to the next.
func (h *httpSession) detach(s *changeStream) {
	h.mu.Lock()
	h.streams = slices.DeleteFunc(h.streams, func(other *changeStream) bool { return other == s })
	h.mu.Unlock()
	select {
	case <-s.changed:
		h.changed()
	default:
	}
}

// changed marks one stream only: MCP (transports, §Multiple Connections)
// forbids to send a message on several.
func (h *httpSession) changed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.streams); n > 0 {
		h.streams[n-1].changed.set()
		return
	}
	h.missed = true
}

// drop gives back what the session holds. With terminate its calls and streams
// end too; without, it has none.
func (h *httpSession) drop(terminate bool) {
	h.close(terminate)
	h.mu.Lock()
	unsubscribe := h.unsubscribe
	for _, s := range h.streams {
		s.end()
	}
	h.mu.Unlock()
	if unsubscribe != nil {
		unsubscribe()
	}
}
