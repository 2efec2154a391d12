package inbound

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// post handles a POST. The body is read whole before anything runs.
func (s *Server) post(x *exchange) {
	if status, why := checkBody(x.r); status != 0 {
		refuse(x.w, status, why)
		return
	}
	body, ok := s.readBody(x)
	if !ok {
		return
	}
	msgs, batch, fault := scan(body, s.limits())
	switch {
	case fault != nil:
		x.fail(http.StatusBadRequest, &reply{err: fault})
	case batch:
		s.postBatch(x, msgs)
	case !msgs[0].wantsAnswer():
		s.postNotice(x, &msgs[0])
	default:
		s.postRequest(x, &msgs[0])
	}
}

func (s *Server) readBody(x *exchange) ([]byte, bool) {
	control := http.NewResponseController(x.w)
	_ = control.SetReadDeadline(time.Now().Add(bodyWait)) // not supported by test recorders only
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, s.opt.MaxBody))
	if err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			x.fail(http.StatusRequestEntityTooLarge, &reply{id: idIn(body), err: tooLarge(s.opt.MaxBody)})
			return nil, false
		}
		x.w.Header().Set("Connection", "close")
		refuse(x.w, http.StatusRequestTimeout, "the body did not arrive whole in time")
		return nil, false
	}
	_ = control.SetReadDeadline(time.Time{})
	return body, true
}

// postNotice handles a notification, or a response to a question that we never
// asked.
func (s *Server) postNotice(x *exchange, m *message) {
	if !mcp.IsModernProtocol(x.r.Header.Get(mcp.HeaderProtocolVersion)) {
		h := s.legacySession(x, m)
		if h == nil {
			return
		}
		s.notice(h.session, m)
	}
	// A modern client cancels by closing the stream; its notifications over
	// HTTP mean nothing (MCP 2026-07-28, cancellation).
	x.w.WriteHeader(http.StatusAccepted)
}

func (s *Server) postBatch(x *exchange, msgs []message) {
	h := s.legacySession(x, nil)
	if h == nil {
		return
	}
	if version, _ := h.negotiated(); version != mcp.ProtocolVersion20250326 {
		x.fail(http.StatusBadRequest, &reply{err: noBatches()})
		return
	}
	if !accepts(x.r, "application/json") {
		refuse(x.w, http.StatusNotAcceptable, "the Accept header must allow application/json")
		return
	}
	text, release := s.batch(detached(x.r), h.session, msgs)()
	defer release()
	if text == nil {
		x.w.WriteHeader(http.StatusAccepted)
		return
	}
	x.write(http.StatusOK, text)
}

func (s *Server) postRequest(x *exchange, m *message) {
	e, fault := m.era()
	if m.fault == nil {
		m.fault = fault
	}
	switch {
	case m.fault != nil:
		x.fail(http.StatusBadRequest, &reply{id: m.id, err: m.fault})
	case e.modern:
		s.postModern(x, m, e)
	default:
		s.postLegacy(x, m, e)
	}
}

// postModern serves a request that stands alone: a session id is ignored and
// none is given; the client cancels by closing the connection.
func (s *Server) postModern(x *exchange, m *message, e era) {
	if fault := checkHeaders(x.r.Header, m, e); fault != nil {
		x.fail(http.StatusBadRequest, &reply{id: m.id, err: fault})
		return
	}
	r := &request{message: m, era: e, session: s.modern, service: x.svc, by: x.by}
	if m.method == methodListen {
		s.postListen(x, r)
		return
	}
	if !accepts(x.r, "application/json") {
		x.fail(http.StatusNotAcceptable, &reply{id: m.id, err: invalid("the Accept header must allow application/json")})
		return
	}
	now, later := s.admit(x.r.Context(), r)
	x.deliver(now, later, modernStatus)
}

// postLegacy serves initialize, or a request of a session.
func (s *Server) postLegacy(x *exchange, m *message, e era) {
	if version := x.r.Header.Get(mcp.HeaderProtocolVersion); mcp.IsModernProtocol(version) && mcp.IsValidProtocolVersion(version) {
		fault := badParams("params._meta[%q] is required", metaPrefix+"protocolVersion")
		if e.version != "" {
			fault = mismatch(mcp.HeaderProtocolVersion, e.version)
		}
		x.fail(http.StatusBadRequest, &reply{id: m.id, err: fault})
		return
	}
	if !accepts(x.r, "application/json") {
		x.fail(http.StatusNotAcceptable, &reply{id: m.id, err: invalid("the Accept header must allow application/json")})
		return
	}
	if m.method == methodInitialize {
		h := s.newHTTPSession(x.name, x.svc, x.by)
		out, _ := s.admit(detached(x.r), h.request(m, e))
		if out.err == nil {
			x.w.Header().Set(mcp.HeaderSessionID, s.open(h, x.by))
		}
		x.deliver(out, nil, legacyStatus)
		return
	}
	if h := s.legacySession(x, m); h != nil {
		now, later := s.admit(detached(x.r), h.request(m, e))
		x.deliver(now, later, legacyStatus)
	}
}

// deliver writes the answer. Work whose client cancelled it has none; an
// accepted message without an answer is what that looks like over HTTP.
func (x *exchange) deliver(now *reply, later work, status func(*upstream.RPCError) int) {
	if later != nil {
		var release func()
		now, release = later()
		defer release()
	}
	if now == nil {
		x.w.WriteHeader(http.StatusAccepted)
		return
	}
	head, body, tail := now.parts()
	x.write(status(now.err), head, body, tail)
}

// legacyStatus: what is wrong with the message itself is a status, the rest is
// JSON-RPC's business.
func legacyStatus(e *upstream.RPCError) int {
	if e != nil && e.Code == upstream.CodeInvalidRequest {
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// modernStatus maps as MCP 2026-07-28 says (transports, §Streamable HTTP).
func modernStatus(e *upstream.RPCError) int {
	if e == nil {
		return http.StatusOK
	}
	switch e.Code {
	case upstream.CodeMethodNotFound:
		return http.StatusNotFound
	case upstream.CodeInvalidRequest, mcp.HEADER_MISMATCH, mcp.MISSING_REQUIRED_CLIENT_CAPABILITY, mcp.UNSUPPORTED_PROTOCOL_VERSION:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// checkHeaders holds that the headers which repeat the body agree with it (MCP
// 2026-07-28, transports, §Server Validation). Others act on the headers; what
// is executed is the body.
func checkHeaders(h http.Header, m *message, e era) *upstream.RPCError {
	if v := h.Values(mcp.HeaderProtocolVersion); len(v) != 1 || v[0] != e.version {
		return mismatch(mcp.HeaderProtocolVersion, e.version)
	}
	if v := h.Values(mcp.HeaderMethod); len(v) != 1 || v[0] != m.method {
		return mismatch(mcp.HeaderMethod, m.method)
	}
	var member string
	switch m.method {
	case methodToolsCall, "prompts/get":
		member = "name"
	case "resources/read":
		member = "uri"
	default:
		return nil
	}
	want, _ := rawjson.GetString(m.params, member)
	v := h.Values(mcp.HeaderName)
	if len(v) != 1 {
		return mismatch(mcp.HeaderName, want)
	}
	if got, ok := mcp.DecodeHeaderValue(v[0]); !ok || got != want {
		return mismatch(mcp.HeaderName, want)
	}
	return nil
}

func mismatch(header, want string) *upstream.RPCError {
	return &upstream.RPCError{
		Code:    mcp.HEADER_MISMATCH,
		Message: "header mismatch: " + header + " must be sent once and agree with the body, which says " + quoteShort(want),
	}
}

func quoteShort(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "..."
	}
	return string(rawjson.Quote(s))
}

func (s *Server) postListen(x *exchange, r *request) {
	if !accepts(x.r, "text/event-stream") {
		x.fail(http.StatusNotAcceptable, &reply{id: r.id, err: invalid("the Accept header must allow text/event-stream")})
		return
	}
	if _, fault := wantsToolChanges(r.message); fault != nil {
		x.fail(http.StatusOK, &reply{id: r.id, err: fault})
		return
	}
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	events := newEventStream(x.w)
	now, later := s.admitListen(ctx, r, events, s.closing)
	if now != nil {
		x.deliver(now, nil, modernStatus)
		return
	}
	defer events.close()
	out, release := later()
	defer release()
	if out != nil {
		_ = events.push(out.bytes())
	}
}
