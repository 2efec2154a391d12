package inbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// session is what is under way for one client, as this package tells clients
// apart: a stdio or HTTP+SSE connection, a legacy HTTP session, or (shared) the modern HTTP
// requests, which belong to no session.
type session struct {
	id        string // for logs and fairness; says nothing that could be used to join the session
	service   Service
	principal upstream.Principal
	max       int    // requests under way
	shared    bool   // by clients that know nothing of each other: equal ids mean nothing
	ready     func() // called at each notifications/initialized, if not nil; returns at once

	// Of legacy clients only.
	questions questions
	mail      mailbox // what belongs to no request
	watches   watches // have changes put there

	mu      sync.Mutex
	live    map[string]*flight // by the raw bytes of the id
	running int
	closed  bool
	terms   terms  // the zero value before initialize
	level   string // of log messages; "" is none
}

func (s *session) request(m *message) *request {
	return &request{message: m, session: s, service: s.service, by: s.principal}
}

// flight is one request under way.
type flight struct {
	s         *session
	key       string // "" if it cannot be cancelled by id
	cancel    context.CancelFunc
	cancelled bool // by notifications/cancelled; guarded by s.mu
}

// Why a request is not admitted.
var (
	errCrowded = errors.New("too many requests are under way")
	errEnding  = errors.New("the session is ending")
)

// begin admits a request. Unless the session is shared, the request can be
// cancelled by its id, and the id cannot be used again until the request is
// settled or cancelled.
func (s *session) begin(ctx context.Context, id json.RawMessage) (context.Context, *flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, errEnding
	}
	if err := s.isFree(id); err != nil {
		return nil, nil, err
	}
	if s.running >= s.max {
		return nil, nil, errCrowded
	}
	s.running++
	f := &flight{s: s}
	ctx, f.cancel = context.WithCancel(ctx)
	if !s.shared {
		f.key = string(id)
		if s.live == nil {
			s.live = make(map[string]*flight)
		}
		s.live[f.key] = f
	}
	return ctx, f, nil
}

// free returns why a request with the given id cannot be answered now.
func (s *session) free(id json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isFree(id)
}

// isFree needs s.mu.
func (s *session) isFree(id json.RawMessage) error {
	if _, live := s.live[string(id)]; live {
		return fmt.Errorf("a request with the id %.100s is still under way", id)
	}
	return nil
}

// settle takes the request off the table of what can be cancelled and reports
// whether its answer is still wanted.
func (f *flight) settle() bool {
	f.cancel()
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.s.live[f.key] == f {
		delete(f.s.live, f.key)
	}
	return !f.cancelled
}

// wanted reports whether the client still waits for the request.
func (f *flight) wanted() bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
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
// this session is ignored (MCP, cancellation: it may have been answered). The
// client may use the id again at once, although the work may take a while to
// end.
func (s *session) stop(id json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.live[string(id)]; f != nil {
		f.cancelled = true
		f.cancel()
		delete(s.live, f.key)
	}
}

// close refuses further requests, and ends what is under way from us to the
// client: questions, subscriptions and streams. With cancel it ends requests too,
// which are still answered.
func (s *session) close(cancel bool) {
	s.mu.Lock()
	s.closed = true
	if cancel {
		for _, f := range s.live {
			f.cancel()
		}
	}
	s.mu.Unlock()
	s.questions.close()
	s.watches.close()
	s.mail.close()
}

// settled returns what was settled by initialize, and the level of log messages;
// "" is none.
func (s *session) settled() (t terms, level string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.terms, s.level
}

func (s *session) settle(t terms) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.terms = t
}

func (s *session) setLevel(level string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = level
}
