package inbound

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	methodInitialize  = "initialize"
	methodInitialized = "notifications/initialized"
	methodCancelled   = "notifications/cancelled"
	methodPing        = "ping"
	methodToolsList   = "tools/list"
	methodToolsCall   = "tools/call"
	methodListen      = "subscriptions/listen"
	listChanged       = "notifications/tools/list_changed"
)

// request is one request on its way to an answer.
type request struct {
	*message
	era
	session *session
	service Service
	by      upstream.Principal
}

func (s *session) request(m *message, e era) *request {
	return &request{message: m, era: e, session: s, service: s.service, by: s.principal}
}

// work is the work for an admitted request. It blocks. A nil reply means that
// the client gave up and expects none; release is called, in any case, when the
// reply is delivered.
type work func() (out *reply, release func())

// admit returns the answer to a request at once where nothing of ours or of an
// upstream can delay it, otherwise the work for it. Having admitted before the
// next message is read makes a cancellation that follows find its request.
func (s *Server) admit(ctx context.Context, r *request) (now *reply, later work) {
	if r.fault != nil {
		return &reply{id: r.id, err: r.fault}, nil
	}
	if !r.modern && (r.method == methodPing || r.method == methodInitialize) {
		return s.instant(ctx, r), nil
	}
	return s.reserve(ctx, r, func(ctx context.Context) *reply { return s.answer(ctx, r) })
}

// admitListen is admit for subscriptions/listen.
func (s *Server) admitListen(ctx context.Context, r *request, to sink, closing <-chan struct{}) (now *reply, later work) {
	return s.reserve(ctx, r, func(ctx context.Context) *reply { return s.listen(ctx, r, to, closing) })
}

// reserve finds a place for a request among those under way.
func (s *Server) reserve(ctx context.Context, r *request, run func(context.Context) *reply) (now *reply, later work) {
	id := r.id
	if r.session.service == nil {
		id = nil // no session, no ids
	}
	ctx, f, ok, fault := r.session.begin(ctx, id)
	switch {
	case fault != nil:
		return &reply{id: r.id, err: fault}, nil
	case !ok:
		return overloaded(r), nil
	}
	return nil, func() (*reply, func()) {
		out := s.contained(r, func() *reply { return run(ctx) })
		if !f.settle() {
			return nil, f.release
		}
		return out, f.release
	}
}

// instant answers what is answered on the reader, so that it is never queued
// behind anything and that what follows initialize knows its outcome.
func (s *Server) instant(ctx context.Context, r *request) *reply {
	r.session.mu.Lock()
	live := r.session.isLive(r.id)
	r.session.mu.Unlock()
	if live {
		return &reply{id: r.id, err: invalid("a request with the id %.100s is still under way", r.id)}
	}
	if r.method == methodPing {
		return &reply{id: r.id, result: json.RawMessage("{}")}
	}
	out := s.contained(r, func() *reply { return s.answer(ctx, r) })
	if out.err == nil {
		version, _ := rawjson.GetString(out.result, "protocolVersion")
		info, _ := rawjson.Get(r.params, "clientInfo")
		r.session.setNegotiated(version, clientName(info))
	}
	return out
}

// contained runs f and turns a panic into an error.
func (s *Server) contained(r *request, f func() *reply) (out *reply) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic in a request", "method", r.method, "session", r.session.id,
				"panic", p, "stack", string(debug.Stack()))
			out = &reply{id: r.id, err: internalError()}
		}
	}()
	return f()
}

// answer works for a request and blocks.
func (s *Server) answer(ctx context.Context, r *request) *reply {
	out := &reply{id: r.id}
	var err error
	switch r.method {
	case methodToolsList:
		out.result, err = r.service.ListTools(ctx, r.toAggregate())
	case methodToolsCall:
		out.result, err = r.service.CallTool(ctx, r.toAggregate())
	default:
		out.result, err = s.handleByCore(ctx, r)
	}
	if err == nil && out.result == nil {
		err = errors.New("no result")
	}
	if err != nil {
		out.result = nil
		out.err = s.rpcError(ctx, r, err)
	}
	return out
}

func (r *request) toAggregate() *aggregate.Request {
	client := r.client
	if client == "" && !r.modern {
		_, client = r.session.negotiated()
	}
	return &aggregate.Request{
		Principal: r.by,
		Session:   r.session.id,
		Client:    client,
		Params:    r.params,
		Modern:    r.modern,
	}
}

func (s *Server) rpcError(ctx context.Context, r *request, err error) *upstream.RPCError {
	if e, ok := errors.AsType[*upstream.RPCError](err); ok {
		return e
	}
	level := slog.LevelError
	if errors.Is(err, context.Canceled) {
		level = slog.LevelDebug
	}
	s.log.Log(ctx, level, "request failed",
		"method", r.method, "session", r.session.id, "error", err)
	return internalError()
}

func internalError() *upstream.RPCError {
	return &upstream.RPCError{Code: upstream.CodeInternal, Message: "internal error; see the log of the server"}
}

// overloaded is the answer when too many requests are under way. For a call it
// is a result, because that is what reaches the model.
func overloaded(r *request) *reply {
	const why = "overloaded: bulkhead: too many requests of this client are under way; try again when some are answered"
	if r.method != methodToolsCall {
		return &reply{id: r.id, err: &upstream.RPCError{Code: upstream.CodeInternal, Message: why}}
	}
	raw := upstream.TextResult(why, true).Raw
	if r.modern {
		if set, err := rawjson.Set(raw, "resultType", []byte(`"`+mcp.ResultTypeComplete+`"`)); err == nil {
			raw = set
		}
	}
	return &reply{id: r.id, result: raw}
}

// notice handles a notification. It returns at once.
func (s *Server) notice(sess *session, m *message) {
	if m.method != methodCancelled {
		return // nothing else changes anything; initialized is the edge's business
	}
	if id, ok := rawjson.Get(m.params, "requestId"); ok {
		sess.stop(id)
	}
}

// batch admits the messages of a batch and returns the work for them: it runs
// them side by side and returns the text of the answer, nil if there is nothing
// to say. release is called when that is delivered.
func (s *Server) batch(ctx context.Context, sess *session, msgs []message) func() (text []byte, release func()) {
	replies := make([]*reply, len(msgs))
	later := make([]work, len(msgs))
	for i := range msgs {
		m := &msgs[i]
		if !m.wantsAnswer() {
			s.notice(sess, m)
			continue
		}
		e, fault := m.era()
		if m.fault == nil {
			m.fault = fault
		}
		if m.fault == nil && (e.modern || m.method == methodInitialize) {
			m.fault = invalid("%s cannot be part of a batch", m.method)
		}
		replies[i], later[i] = s.admit(ctx, sess.request(m, e))
	}
	return func() ([]byte, func()) {
		releases := make([]func(), len(msgs))
		var wg sync.WaitGroup
		for i, run := range later {
			if run != nil {
				wg.Go(func() { replies[i], releases[i] = run() })
			}
		}
		wg.Wait()
		return joinReplies(replies), func() {
			for _, release := range releases {
				if release != nil {
					release()
				}
			}
		}
	}
}
