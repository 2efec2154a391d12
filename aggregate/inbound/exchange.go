package inbound

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// exchange is one HTTP request and what it is about.
type exchange struct {
	w      http.ResponseWriter
	r      *http.Request
	name   string // of the upstream whose endpoint it is; "" is everything
	svc    Service
	by     upstream.Principal
	until  time.Time    // when what proves that ends; zero is never
	events *eventStream // nil if the answer is not a stream
	later  *upgrade     // nil if it cannot become one
}

// body reads the body whole. If that fails it answers and returns false.
func (x *exchange) body(most int64) ([]byte, bool) {
	control := http.NewResponseController(x.w)
	_ = control.SetReadDeadline(time.Now().Add(bodyWait)) // not supported by test recorders only
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, most))
	if err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			x.fail(http.StatusRequestEntityTooLarge, &reply{id: idIn(body), err: tooLarge(most)})
			return nil, false
		}
		x.w.Header().Set("Connection", "close")
		refuse(x.w, http.StatusRequestTimeout, "the body did not arrive whole in time")
		return nil, false
	}
	_ = control.SetReadDeadline(time.Time{})
	return body, true
}

// takes reports whether the client takes an answer of the given type. If not it
// answers so.
func (x *exchange) takes(kind string, id []byte) bool {
	if accepts(x.r, kind) {
		return true
	}
	x.fail(http.StatusNotAcceptable, &reply{id: id, err: invalid("the Accept header must allow %s", kind)})
	return false
}

// isBy reports whether the method is the only possible one. If not it answers so.
func (x *exchange) isBy(method string) bool {
	if x.r.Method == method {
		return true
	}
	x.disallow(method)
	return false
}

func (x *exchange) disallow(allowed string) {
	x.w.Header().Set("Allow", allowed)
	refuse(x.w, http.StatusMethodNotAllowed, x.r.Method+" is not possible here")
}

// refuse answers a request that did not get as far as JSON-RPC.
func refuse(w http.ResponseWriter, status int, why string) {
	(&exchange{w: w}).fail(status, &reply{err: invalid("%s", why)})
}

// fail writes an answer with a status.
func (x *exchange) fail(status int, r *reply) { x.write(status, r.text()) }

// run has a request answered.
func (x *exchange) run(ctx context.Context, rpc *dispatcher, r *request, status func(*upstream.RPCError) int) {
	if x.events == nil && r.tells() {
		r.notes = x.notes()
	}
	now, later := rpc.admit(ctx, r)
	x.deliver(now, later, status)
}

// deliver writes the answer. Work whose client cancelled it has none; an
// accepted message without an answer is what that looks like over HTTP.
func (x *exchange) deliver(now *reply, later work, status func(*upstream.RPCError) int) {
	if later != nil {
		var release func()
		now, release = later()
		defer release()
	}
	x.finish()
	switch {
	case now != nil:
		x.answer(status(now.err), now.text())
	case !x.streams():
		x.w.WriteHeader(http.StatusAccepted)
	}
}

// notes returns where goes what is told before the answer; nil if the client
// wants no stream. Whoever sends no Accept header is not asked to understand one.
func (x *exchange) notes() notes {
	if len(x.r.Header.Values("Accept")) == 0 || !accepts(x.r, "text/event-stream") {
		return nil
	}
	x.later = newUpgrade(x.w, x.r)
	return x.later
}

// finish waits until everything before the answer is told.
func (x *exchange) finish() {
	if x.later != nil {
		x.events = x.later.finish()
	}
}

// streams reports whether the answer has begun as a stream.
func (x *exchange) streams() bool { return x.events != nil && x.events.started }

// answer writes JSON text as the last event if the answer has begun as a stream,
// otherwise as the body.
func (x *exchange) answer(status int, text pieces) {
	if x.streams() {
		_ = x.events.push(text) // if it fails the client is gone: nobody is left to be told
		return
	}
	x.write(status, text)
}

// write writes JSON text as the body.
func (x *exchange) write(status int, text pieces) {
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(text.size()))
	h.Set("X-Content-Type-Options", "nosniff")
	// Errors below mean that the client is gone: nobody is left to be told.
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(writeWait))
	x.w.WriteHeader(status)
	for _, p := range text {
		if _, err := x.w.Write(p); err != nil {
			return
		}
	}
}

type baseKey struct{}

// lives is how long what does not end with its request may go on.
type lives struct {
	work    context.Context // until the server gives up
	streams context.Context // until it begins to stop
}

// detached returns, for the context of an HTTP request, that of work which does
// not end when the client leaves: a legacy client cancels by a notification only (MCP 2025-11-25,
// transports, §Sending Messages). It ends when the server does.
func detached(ctx context.Context) context.Context {
	if l, ok := ctx.Value(baseKey{}).(*lives); ok {
		return l.work
	}
	return context.WithoutCancel(ctx)
}

// streams returns, for the context of an HTTP request, that of streams, which end
// in good order as soon as the server begins to stop.
func streams(ctx context.Context) context.Context {
	if l, ok := ctx.Value(baseKey{}).(*lives); ok {
		return l.streams
	}
	return context.WithoutCancel(ctx)
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
