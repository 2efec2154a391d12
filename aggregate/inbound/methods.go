package inbound

import (
	"context"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// post handles a POST. The body is read whole before anything runs.
func (e *httpEdge) post(ctx context.Context, x *exchange) {
	if status, why := checkBody(x.r); status != 0 {
		refuse(x.w, status, why)
		return
	}
	body, ok := x.body(e.maxBody)
	if !ok {
		return
	}
	msgs, batch, fault := scan(body, e.rpc.limits)
	switch {
	case fault != nil:
		x.fail(http.StatusBadRequest, &reply{err: fault})
	case batch:
		e.batch(ctx, x, msgs)
	case !msgs[0].wantsAnswer():
		e.notice(x, &msgs[0])
	default:
		e.request(ctx, x, &msgs[0])
	}
}

func (e *httpEdge) request(ctx context.Context, x *exchange, m *message) {
	fault := checkVersion(x.r.Header, m)
	if fault == nil {
		fault = m.fault
	}
	if fault == nil && m.era.modern {
		fault = checkHeaders(x.r.Header, m)
	}
	switch {
	case fault != nil:
		x.fail(http.StatusBadRequest, &reply{id: m.id, err: fault})
	case m.era.modern:
		e.modern(ctx, x, m)
	default:
		e.legacy(ctx, x, m)
	}
}

// notice handles a notification, or a response to a question of ours.
func (e *httpEdge) notice(x *exchange, m *message) {
	if !mcp.IsModernProtocol(x.r.Header.Get(mcp.HeaderProtocolVersion)) {
		h := e.enter(x, m.id)
		if h == nil {
			return
		}
		defer e.sessions.leave(h)
		e.rpc.notice(h.session, m)
	}
	// A modern client cancels by closing the stream; its notifications over
	// HTTP mean nothing (MCP 2026-07-28, cancellation).
	x.w.WriteHeader(http.StatusAccepted)
}

func (e *httpEdge) batch(ctx context.Context, x *exchange, msgs []message) {
	if mcp.IsModernProtocol(x.r.Header.Get(mcp.HeaderProtocolVersion)) {
		x.fail(http.StatusBadRequest, &reply{err: noBatches()})
		return
	}
	h := e.enter(x, nil)
	if h == nil {
		return
	}
	defer e.sessions.leave(h)
	if !x.takes("application/json", nil) {
		return
	}
	run, fault := e.rpc.batch(detached(ctx), h.session, msgs, x.notes())
	if fault != nil {
		x.fail(http.StatusBadRequest, &reply{err: fault})
		return
	}
	text, release := run()
	defer release()
	x.finish()
	switch {
	case text != nil:
		x.answer(http.StatusOK, pieces{text})
	case !x.streams():
		x.w.WriteHeader(http.StatusAccepted)
	}
}

// modern serves a request that stands alone: a session id is ignored and none
// is given; the client cancels by closing the connection.
func (e *httpEdge) modern(ctx context.Context, x *exchange, m *message) {
	crowd := e.crowds.enter(x.by)
	defer e.crowds.leave(x.by, crowd)
	r := &request{message: m, session: crowd.calls, service: x.svc, by: x.by, header: paramFields(x.r.Header)}
	kind := "application/json"
	if m.method == methodListen {
		kind = "text/event-stream"
		ending, stop := x.ending()
		defer stop()
		x.events = newEventStream(x.w, streamWait, ending)
		defer x.events.close()
		r.session, r.to = crowd.listens, x.events
	}
	if x.takes(kind, m.id) {
		x.run(ctx, e.rpc, r, modernStatus)
	}
}

// legacy serves initialize, or a request of a session.
func (e *httpEdge) legacy(ctx context.Context, x *exchange, m *message) {
	if !x.takes("application/json", m.id) {
		return
	}
	if m.method == methodInitialize {
		e.initialize(ctx, x, m)
		return
	}
	if h := e.enter(x, m.id); h != nil {
		defer e.sessions.leave(h)
		x.run(detached(ctx), e.rpc, h.request(m), legacyStatus)
	}
}

func (e *httpEdge) initialize(ctx context.Context, x *exchange, m *message) {
	s := &session{service: x.svc, principal: x.by}
	out, _ := e.rpc.admit(detached(ctx), s.request(m))
	if out.err == nil {
		t, _ := s.settled()
		x.w.Header().Set(mcp.HeaderSessionID, e.sessions.open(x.name, x.by, t))
	}
	x.deliver(out, nil, legacyStatus)
}

// get serves the notification stream of a legacy session.
func (e *httpEdge) get(ctx context.Context, x *exchange) {
	if !x.takes("text/event-stream", nil) {
		return
	}
	h := e.enter(x, nil)
	if h == nil {
		return
	}
	defer e.sessions.leave(h)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := newSignal()
	stream := &reader{wake: changed.set, end: cancel}
	if !h.mail.attach(stream) {
		refuse(x.w, http.StatusConflict, "the session has too many streams open")
		return
	}
	var untold []mail
	defer func() { h.mail.detach(stream, untold) }()
	h.watchLists(ctx)
	ending, stop := x.ending()
	defer stop()
	events := newEventStream(x.w, streamWait, ending)
	defer events.close()
	if events.alive() == nil { // clients wait for the first byte
		untold, _ = relay(ctx, &h.mail, changed, events)
	}
}

// delete ends a legacy session.
func (e *httpEdge) delete(x *exchange) {
	h := e.enter(x, nil)
	if h == nil {
		return
	}
	defer e.sessions.leave(h)
	e.sessions.end(h)
	x.w.WriteHeader(http.StatusNoContent)
}

// enter finds the session that a legacy request belongs to; leave must follow.
// If there is none it answers the request with the given id, and returns nil.
// MCP leaves it to the server to demand a session (transports, §Session
// Management).
func (e *httpEdge) enter(x *exchange, id []byte) *httpSession {
	status := http.StatusBadRequest
	var fault *upstream.RPCError
	version, secret := x.r.Header.Get(mcp.HeaderProtocolVersion), x.r.Header.Get(mcp.HeaderSessionID)
	switch {
	case version != "" && !mcp.IsValidProtocolVersion(version):
		fault = unsupportedVersion(version)
	case secret == "":
		fault = invalid("the Mcp-Session-Id header is missing: send initialize and repeat the id of its answer")
	default:
		if h, ok := e.sessions.enter(secret, x.name, x.svc, x.by); ok {
			return h
		}
		status, fault = http.StatusNotFound, invalid("there is no such session: send initialize again")
	}
	x.fail(status, &reply{id: id, err: fault})
	return nil
}
