package inbound

import (
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	idleSession = time.Hour   // after which what we keep of a session is dropped; its id stays valid
	sweepEvery  = time.Minute // at most
	maxSessions = 10_000      // kept; beyond, the least recently used idle one is dropped
	maxEnded    = 10_000      // ids of terminated sessions remembered
	maxStreams  = 4           // notification streams of one session
)

// httpSession is a legacy session over Streamable HTTP.
type httpSession struct {
	*session
	upstream string        // whose endpoint
	ended    chan struct{} // closed when the session is terminated

	// Guarded by session.mu.
	used        time.Time
	streams     []signal // the newest is last and gets the messages
	missed      bool     // a change came while there was no stream
	unsubscribe func()   // nil before the first stream
}

// attach adds a notification stream. It reports false if there are too many.
func (h *httpSession) attach(stream signal) bool {
	h.mu.Lock()
	if len(h.streams) >= maxStreams || h.closed {
		h.mu.Unlock()
		return false
	}
	h.streams = append(h.streams, stream)
	if h.missed {
		h.missed = false
		stream.set()
	}
	first := h.unsubscribe == nil
	if first {
		h.unsubscribe = func() {}
	}
	h.mu.Unlock()
	if !first {
		return true
	}
	cancel := h.service.Subscribe(h.changed)
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
func (h *httpSession) detach(stream signal) {
	h.mu.Lock()
	h.streams = slices.DeleteFunc(h.streams, func(s signal) bool { return s == stream })
	h.used = time.Now()
	h.mu.Unlock()
	select {
	case <-stream:
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
		h.streams[n-1].set()
		return
	}
	h.missed = true
}

// drop forgets the session. With terminate its calls and streams end too.
func (h *httpSession) drop(terminate bool) {
	h.mu.Lock()
	unsubscribe := h.unsubscribe
	h.closed = true
	if terminate {
		for _, f := range h.live {
			f.cancel()
		}
	}
	h.mu.Unlock()
	if unsubscribe != nil {
		unsubscribe()
	}
	close(h.ended)
}

// idleSince returns when the session was last used; false if it is in use.
func (h *httpSession) idleSince() (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.used, h.running == 0 && len(h.streams) == 0
}

func (h *httpSession) touch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.used = time.Now()
}

// sessions is the state of legacy sessions. All of it can be lost: an id that
// we sealed is enough to start over.
type sessions struct {
	mu    sync.Mutex
	byID  map[string]*httpSession
	gone  map[string]struct{} // terminated ids
	order []string            // of gone, oldest first
	swept time.Time
}

func newSessions() *sessions {
	return &sessions{byID: make(map[string]*httpSession), gone: make(map[string]struct{})}
}

// open starts a session whose initialize was answered, and returns its id.
func (s *Server) open(h *httpSession, p upstream.Principal) string {
	version, client := h.negotiated()
	id := s.sealID(ticket{Version: version, Upstream: h.upstream, Principal: p.String(), Client: client})
	h.session.id = shortID(id)
	s.sessions.add(id, h)
	return id
}

// resume finds the session with the given id, as it was or anew from what the
// id says. It reports false for an id that is not ours, was terminated, or
// belongs to another endpoint or principal.
func (s *Server) resume(id, name string, svc Service, p upstream.Principal) (*httpSession, bool) {
	t, ok := s.openID(id)
	if !ok || t.Upstream != name || t.Principal != p.String() {
		return nil, false
	}
	if h, ok, gone := s.sessions.get(id); ok || gone {
		return h, ok
	}
	h := s.newHTTPSession(name, svc, p)
	h.session.id = shortID(id)
	h.setNegotiated(t.Version, t.Client)
	return s.sessions.add(id, h)
}

func (s *Server) newHTTPSession(name string, svc Service, p upstream.Principal) *httpSession {
	return &httpSession{
		session:  &session{service: svc, principal: p, max: s.opt.MaxInFlight},
		upstream: name,
		ended:    make(chan struct{}),
		used:     time.Now(),
	}
}

func (t *sessions) get(id string) (h *httpSession, ok, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h, ok = t.byID[id]; ok {
		h.touch()
	}
	_, gone = t.gone[id]
	return h, ok, gone
}

// add keeps h, or returns who is there already; false if the id was terminated.
func (t *sessions) add(id string, h *httpSession) (*httpSession, bool) {
	t.mu.Lock()
	if _, gone := t.gone[id]; gone {
		t.mu.Unlock()
		return nil, false
	}
	if there, ok := t.byID[id]; ok {
		t.mu.Unlock()
		return there, true
	}
	dropped := t.sweep()
	t.byID[id] = h
	t.mu.Unlock()
	for _, d := range dropped {
		d.drop(false)
	}
	return h, true
}

// sweep takes out what has been idle too long, or longest if there are too
// many. It needs t.mu; the caller drops what it returns, without t.mu.
func (t *sessions) sweep() (out []*httpSession) {
	full := len(t.byID) >= maxSessions
	if !full && time.Since(t.swept) < sweepEvery {
		return nil
	}
	t.swept = time.Now()
	var oldest string
	var oldestUsed time.Time
	for id, h := range t.byID {
		used, idle := h.idleSince()
		switch {
		case !idle:
		case time.Since(used) >= idleSession:
			delete(t.byID, id)
			out = append(out, h)
		case oldest == "" || used.Before(oldestUsed):
			oldest, oldestUsed = id, used
		}
	}
	if full && len(out) == 0 && oldest != "" {
		out = append(out, t.byID[oldest])
		delete(t.byID, oldest)
	}
	return out
}

// end terminates a session: its id is refused from now on.
func (t *sessions) end(id string) {
	t.mu.Lock()
	h := t.byID[id]
	delete(t.byID, id)
	if _, gone := t.gone[id]; !gone {
		t.gone[id] = struct{}{}
		t.order = append(t.order, id)
		if len(t.order) > maxEnded {
			delete(t.gone, t.order[0])
			t.order = t.order[1:]
		}
	}
	t.mu.Unlock()
	if h != nil {
		h.drop(true)
	}
}
