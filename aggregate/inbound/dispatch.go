package inbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

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
	methodToolsCall   = "tools/call"
	methodListen      = "subscriptions/listen"
)

// dispatcher has JSON-RPC requests answered, whatever they came over.
type dispatcher struct {
	core   handshake
	log    *slog.Logger
	limits rawjson.Limits
}

// request is one request on its way to an answer.
type request struct {
	*message
	session *session
	service Service
	by      upstream.Principal
	to      stream      // for a subscription; nil if there cannot be one
	notes   notes       // for what is told before the answer; nil if nothing can be
	header  http.Header // Mcp-Param-* of a modern request over HTTP; nil elsewhere
}

// work is the work for an admitted request. It blocks. A nil reply means that
// the client gave up and expects none; release is called, in any case, when the
// reply is delivered.
type work func() (out *reply, release func())

// admit returns the answer to a request at once where nothing of ours or of an
// upstream can delay it, otherwise the work for it. Having admitted before the
// next message is read makes a cancellation that follows find its request.
func (d *dispatcher) admit(ctx context.Context, r *request) (now *reply, later work) {
	if r.fault != nil {
		return &reply{id: r.id, err: r.fault}, nil
	}
	if r.isInstant() {
		return d.instant(ctx, r), nil
	}
	ctx, f, err := r.session.begin(ctx, r.id)
	switch {
	case errors.Is(err, errCrowded):
		return overloaded(r), nil
	case err != nil:
		return &reply{id: r.id, err: invalid("%v", err)}, nil
	}
	return nil, func() (*reply, func()) {
		out := d.work(ctx, f, r)
		if !f.settle() {
			out = nil
		}
		return out, f.release
	}
}

// isInstant reports whether a request is answered on the reader, so that it is
// never queued behind anything and that what follows it knows its outcome.
func (r *request) isInstant() bool {
	if r.era.modern {
		return false
	}
	switch r.method {
	case methodPing, methodInitialize, methodSetLevel:
		return true
	}
	return false
}

func (d *dispatcher) instant(ctx context.Context, r *request) *reply {
	if err := r.session.free(r.id); err != nil {
		return &reply{id: r.id, err: invalid("%v", err)}
	}
	switch r.method {
	case methodPing:
		return &reply{id: r.id, result: emptyResult()}
	case methodSetLevel:
		return r.setLevel()
	}
	out := d.answer(ctx, r, upstream.Back{})
	if out.err == nil {
		r.session.settle(termsOf(r.params, out.result))
	}
	return out
}

// work works for an admitted request and blocks. What it has to tell before its
// answer ends before it returns.
func (d *dispatcher) work(ctx context.Context, f *flight, r *request) *reply {
	back, n := r.back(ctx, f)
	if n != nil {
		defer n.settle()
	}
	return d.answer(ctx, r, back)
}

// answer works for a request and blocks. A panic is contained. It returns nil
// where a subscription ends without an answer. The value of a panic may hold
// anything, so only its type is logged.
func (d *dispatcher) answer(ctx context.Context, r *request, back upstream.Back) (out *reply) {
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("panic in a request", "method", r.method, "session", r.session.id,
				"type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			out = &reply{id: r.id, err: internalError()}
		}
	}()
	var result json.RawMessage
	var err error
	switch {
	case routeOf(r.method).of(r.era.modern):
		result, err = r.service.Handle(ctx, r.toAggregate(back))
	case r.method == methodListen && r.era.modern && r.to != nil:
		return listen(ctx, r)
	case r.method == methodSubscribe && !r.era.modern:
		result, err = r.watch(ctx)
	case r.method == methodUnsubscribe && !r.era.modern:
		result, err = r.unwatch()
	default:
		result, err = d.core.answer(ctx, r)
	}
	if err == nil && result == nil {
		err = errors.New("no result")
	}
	if err != nil {
		return &reply{id: r.id, err: d.rpcError(ctx, r, err)}
	}
	return &reply{id: r.id, result: result}
}

func (r *request) toAggregate(back upstream.Back) *aggregate.Request {
	var client clientInfo
	var version string
	if r.era.modern {
		client, version = r.era.said.client, r.era.version
	} else {
		t, _ := r.session.settled()
		client, version = t.client, t.version
	}
	return &aggregate.Request{
		Principal:     r.by,
		Session:       r.session.id,
		Client:        client.name,
		ClientVersion: client.version,
		Method:        r.method,
		Params:        r.params,
		Back:          back,
		Header:        r.header,
		Modern:        r.era.modern,
		Version:       version,
	}
}

func (d *dispatcher) rpcError(ctx context.Context, r *request, err error) *upstream.RPCError {
	if e, ok := errors.AsType[*upstream.RPCError](err); ok {
		return e
	}
	level := slog.LevelError
	if errors.Is(err, context.Canceled) {
		level = slog.LevelDebug
	}
	d.log.Log(ctx, level, "request failed",
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
	const facts = `{"` + aggregate.MetaError + `":{"code":"overloaded","sent":false}}`
	if r.method != methodToolsCall {
		return &reply{id: r.id, err: &upstream.RPCError{Code: upstream.CodeInternal, Message: why, Data: json.RawMessage(facts)}}
	}
	raw, err := rawjson.Add(upstream.TextResult(why, true).Raw, "_meta", []byte(facts))
	if err == nil && r.era.modern {
		raw, err = rawjson.Add(raw, "resultType", []byte(`"`+mcp.ResultTypeComplete+`"`))
	}
	if err != nil { // it is an object
		return &reply{id: r.id, err: internalError()}
	}
	return &reply{id: r.id, result: raw}
}

// notice handles a notification or a response. It returns at once. That the
// client's roots changed is of no use to us: whoever wants them asks for them.
func (d *dispatcher) notice(s *session, m *message) {
	if m.answer != nil {
		s.questions.answer(m.answer)
		return
	}
	switch m.method {
	case methodCancelled:
		if id, ok := rawjson.Get(m.params, "requestId"); ok {
			s.stop(id)
		}
	case methodInitialized:
		if s.ready != nil {
			s.ready()
		}
	}
}
