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
	methodToolsList   = "tools/list"
	methodToolsCall   = "tools/call"
	methodListen      = "subscriptions/listen"
	listChanged       = "notifications/tools/list_changed"
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
	notes   notes       // for progress; nil if the client cannot be told any
	header  http.Header // Mcp-Param-* of a modern request over HTTP; nil elsewhere

	progress func(params json.RawMessage) // for the service; set when the work begins
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
	if !r.era.modern && (r.method == methodPing || r.method == methodInitialize) {
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

// instant answers what is answered on the reader, so that it is never queued
// behind anything and that what follows initialize knows its outcome.
func (d *dispatcher) instant(ctx context.Context, r *request) *reply {
	if err := r.session.free(r.id); err != nil {
		return &reply{id: r.id, err: invalid("%v", err)}
	}
	if r.method == methodPing {
		return &reply{id: r.id, result: json.RawMessage("{}")}
	}
	out := d.answer(ctx, r)
	if out.err == nil {
		version, _ := rawjson.GetString(out.result, "protocolVersion")
		info, _ := rawjson.Get(r.params, "clientInfo")
		r.session.setNegotiated(version, clientName(info))
	}
	return out
}

// work works for an admitted request and blocks. Its progress ends before it
// returns.
func (d *dispatcher) work(ctx context.Context, f *flight, r *request) *reply {
	token := r.progressToken()
	if token == nil || r.notes == nil || r.method != methodToolsCall {
		return d.answer(ctx, r)
	}
	p := newProgress(token, r.notes, f.wanted)
	defer p.settle()
	r.progress = p.add
	return d.answer(ctx, r)
}

// answer works for a request and blocks. A panic is contained. It returns nil
// where a subscription ends without an answer. The value of a panic may hold
// anything, so only its type is logged.
func (d *dispatcher) answer(ctx context.Context, r *request) (out *reply) {
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
	case r.method == methodToolsCall, r.method == methodToolsList:
		result, err = r.service.Handle(ctx, r.toAggregate())
	case r.method == methodListen && r.era.modern && r.to != nil:
		return listen(ctx, r)
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

func (r *request) toAggregate() *aggregate.Request {
	client := r.era.client
	if client == "" && !r.era.modern {
		_, client = r.session.negotiated()
	}
	return &aggregate.Request{
		Principal: r.by,
		Session:   r.session.id,
		Client:    client,
		Method:    r.method,
		Params:    r.params,
		Back:      upstream.Back{Progress: r.progress},
		Header:    r.header,
		Modern:    r.era.modern,
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
	if r.method != methodToolsCall {
		return &reply{id: r.id, err: &upstream.RPCError{Code: upstream.CodeInternal, Message: why}}
	}
	raw := upstream.TextResult(why, true).Raw
	if r.era.modern {
		if set, err := rawjson.Set(raw, "resultType", []byte(`"`+mcp.ResultTypeComplete+`"`)); err == nil {
			raw = set
		}
	}
	return &reply{id: r.id, result: raw}
}

// notice handles a notification. It returns at once.
func (d *dispatcher) notice(s *session, m *message) {
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
