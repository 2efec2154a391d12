package inbound

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// session is one client as this package tells clients apart: a stdio
// connection, a legacy HTTP session, or (shared, without an id) the modern
// HTTP requests, which belong to no session.
type session struct {
	id        string // for logs and fairness; says nothing that could be used to join the session
	service   Service
	principal upstream.Principal
	max       int // requests under way

	mu      sync.Mutex
	live    map[string]*flight // by the raw bytes of the id
	running int
	closed  bool
	version string // negotiated by initialize; "" before
	client  string // clientInfo.name of initialize
}

// flight is one request under way.
type flight struct {
	s         *session
	key       string // "" if it cannot be cancelled by id
	cancel    context.CancelFunc
	cancelled bool // by notifications/cancelled; guarded by s.mu
}

// begin admits a request. It reports false, with no error, if too many are
// under way. With an id, the request can be cancelled by it and the id cannot
// be used again until it is settled.
func (s *session) begin(ctx context.Context, id json.RawMessage) (context.Context, *flight, bool, *upstream.RPCError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, false, invalid("the session is ending")
	}
	f := &flight{s: s, key: string(id)}
	if s.isLive(id) {
		return nil, nil, false, invalid("a request with the id %.100s is still under way", id)
	}
	if s.running >= s.max {
		return nil, nil, false, nil
	}
	ctx, f.cancel = context.WithCancel(ctx)
	s.running++
	if f.key != "" {
		if s.live == nil {
			s.live = make(map[string]*flight)
		}
		s.live[f.key] = f
	}
	return ctx, f, true, nil
}

// isLive needs s.mu.
func (s *session) isLive(id json.RawMessage) bool {
	_, live := s.live[string(id)]
	return live && id != nil
}

// settle takes the request off the table of what can be cancelled and reports
// whether its answer is still wanted.
func (f *flight) settle() bool {
	f.cancel()
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.key != "" {
		delete(f.s.live, f.key)
	}
	return !f.cancelled
}

// release gives the place back. It comes after the answer is delivered, so that
// a client which does not read its answers runs out of places, not we out of
// memory.
func (f *flight) release() {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.s.running--
}

// stop cancels the request with the given id; an id that is not under way in
// this session is ignored (MCP, cancellation: it may have been answered).
func (s *session) stop(id json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.live[string(id)]; f != nil {
		f.cancelled = true
		f.cancel()
	}
}

// close refuses further requests.
func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func (s *session) negotiated() (version, client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version, s.client
}

func (s *session) setNegotiated(version, client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version, s.client = version, client
}
