package inbound

import (
	"container/list"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	idleSession = time.Hour // after which what we keep of a session is dropped; its id stays valid
	maxSessions = 10_000    // kept; beyond, the least recently used idle one is dropped
	maxEnded    = 10_000    // ids of terminated sessions remembered
)

// sessionTable is the state of legacy HTTP sessions. All of it can be lost: an
// id that we sealed is enough to start over.
type sessionTable struct {
	seal        seal
	maxInFlight int // of one session

	mu    sync.Mutex
	byID  map[string]*httpSession
	idle  *list.List          // of the *httpSession without users, least recently used first
	gone  map[string]struct{} // terminated ids
	order []string            // of gone, oldest first
}

func newSessionTable(s seal, maxInFlight int) *sessionTable {
	return &sessionTable{
		seal: s, maxInFlight: maxInFlight,
		byID: make(map[string]*httpSession), idle: list.New(), gone: make(map[string]struct{}),
	}
}

// open returns the id of a new session. Nothing is kept of it until it is used.
func (t *sessionTable) open(upstreamName string, p upstream.Principal, by terms) string {
	t.sweep()
	return t.seal.sealID(ticket{
		Version: by.version, Upstream: upstreamName, Principal: p.Key(), Client: by.client.name, ClientVersion: by.client.version,
		Capabilities: boundCapabilities(by.capabilities, sealedBytes),
	})
}

// enter finds the session with the given id, as it was or anew from what the id
// says; leave must follow. It reports false for an id that is not ours, was
// terminated, or belongs to another endpoint or principal.
func (t *sessionTable) enter(id, upstreamName string, svc Service, p upstream.Principal) (*httpSession, bool) {
	h, gone := t.take(id, nil)
	if gone {
		return nil, false
	}
	if h == nil {
		tk, ok := t.seal.openID(id)
		if !ok || tk.Upstream != upstreamName || tk.Principal != p.Key() {
			return nil, false
		}
		fresh := &httpSession{
			session: &session{
				id: shortID(id), service: svc, principal: p, max: t.maxInFlight,
				terms: newTerms(tk.Version, clientInfo{tk.Client, tk.ClientVersion}, tk.Capabilities),
			},
			secret: id, upstream: upstreamName,
		}
		if h, gone = t.take(id, fresh); gone {
			return nil, false
		}
	}
	if h.upstream != upstreamName || h.principal != p {
		t.leave(h)
		return nil, false
	}
	return h, true
}

// take returns the session that is kept under an id, marked as used, or keeps
// and returns fresh.
func (t *sessionTable) take(id string, fresh *httpSession) (h *httpSession, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, gone = t.gone[id]; gone {
		return nil, true
	}
	if h = t.byID[id]; h == nil && fresh != nil {
		h = fresh
		t.byID[id] = h
	}
	if h == nil {
		return nil, false
	}
	h.users++
	if h.idle != nil {
		t.idle.Remove(h.idle)
		h.idle = nil
	}
	return h, false
}

// leave ends a use of a session.
func (t *sessionTable) leave(h *httpSession) {
	t.mu.Lock()
	h.users--
	h.used = time.Now()
	if h.users == 0 && t.byID[h.secret] == h {
		h.idle = t.idle.PushBack(h)
	}
	t.mu.Unlock()
	t.sweep()
}

// sweep drops what has been idle too long, or longest if there are too many.
func (t *sessionTable) sweep() {
	for {
		h := t.expired()
		if h == nil {
			return
		}
		h.close(false)
	}
}

// expired takes out the session that is to be dropped next, if any.
func (t *sessionTable) expired() *httpSession {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.idle.Front()
	if first == nil {
		return nil
	}
	h := first.Value.(*httpSession)
	if len(t.byID) <= maxSessions && time.Since(h.used) < idleSession {
		return nil
	}
	t.idle.Remove(first)
	delete(t.byID, h.secret)
	return h
}

// end terminates a session: its id is refused from now on.
func (t *sessionTable) end(h *httpSession) {
	t.mu.Lock()
	delete(t.byID, h.secret)
	if _, gone := t.gone[h.secret]; !gone {
		t.gone[h.secret] = struct{}{}
		t.order = append(t.order, h.secret)
		if len(t.order) > maxEnded {
			delete(t.gone, t.order[0])
			t.order = t.order[1:]
		}
	}
	t.mu.Unlock()
	h.close(true)
}

// stopAsking ends all questions: when no more requests are taken there will be
// no answers.
func (t *sessionTable) stopAsking() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.byID {
		h.questions.close()
	}
}
