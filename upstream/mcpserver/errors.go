package mcpserver

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const maxMessageText = 2 << 10 // bytes of an upstream's error message that the model sees

// broken marks a failure that says something about the connection and not only
// about one call.
type broken struct {
	// again: the request was provably not executed, and a new connection may
	// well execute it.
	again bool
	// forget: the server contradicted the era we believed in.
	forget bool
	// session: the server no longer knows our session.
	session bool
	// hung: not even connecting succeeds, so trying at once is pointless.
	hung bool
	err  error
}

func (b *broken) Error() string { return b.err.Error() }
func (b *broken) Unwrap() error { return b.err }

var (
	errStopped     = errors.New("the adapter is stopped")
	errNotAServer  = errors.New("not a usable answer to a handshake")
	errUnknownEra  = errors.New("unknown protocol revision")
	errNoStream    = errors.New("the server offers no stream of notifications")
	errConnectTime = errors.New("connecting took too long")
	errNoList      = errors.New("the server declares no such list")
)

func failure(kind upstream.Kind, sent bool, public string, err error) *upstream.Error {
	return &upstream.Error{Kind: kind, Sent: sent, Public: public, Err: err}
}

// ended is the failure of a call whose context has ended.
func ended(ctx context.Context, sent bool) *upstream.Error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errStopped):
		return failure(upstream.Unavailable, sent, "the connection to it was closed", cause)
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded):
		return failure(upstream.Timeout, sent, "no answer in time", cause)
	}
	return failure(upstream.Cancelled, sent, "", cause)
}

// rpcFailure is the failure of a request that was answered with an error object.
// One that asks to wait counts as sent all the same: a tool may say so halfway.
func rpcFailure(rpc *upstream.RPCError) *upstream.Error {
	e := &upstream.Error{Kind: upstream.UpstreamError, Sent: true, RPC: rpc, Public: bounded(rpc.Message, maxMessageText), Err: rpc}
	if said, ok := limits.RefusedRPC(rpc.Code, rpc.Message, rpc.Data, time.Now()); ok {
		e.Kind, e.RetryAfter = upstream.RateLimited, said.RetryAfter
	} else if rpc.Code == upstream.CodeInvalidParams {
		e.Kind = upstream.InvalidArguments
	}
	return e
}

// contradicts reports whether an error object shows that the era is not what
// we believed. Both cases are answered instead of executing the request.
func contradicts(p *peer, method string, rpc *upstream.RPCError) bool {
	switch rpc.Code {
	case codeUnsupportedVersion:
		// Before 2026-07-28 the code was free for a server's own use. And a tool may
		// tell of its own troubles with somebody else: what is about us names our
		// version (schema UnsupportedProtocolVersionError), or none.
		requested, _ := rawjson.GetString(rpc.Data, "requested")
		return len(stringList(rpc.Data, "supported")) > 0 && (requested == "" || requested == p.version)
	case upstream.CodeMethodNotFound:
		return p.modern && method == methodTools && p.offers.tools
	}
	return false
}

// wantsHandshake reports whether the text of a refusal asks for initialize.
// It counts only where the request was refused as such (HTTP 400): a tool may
// use the same words for its own troubles.
func wantsHandshake(rpc *upstream.RPCError) bool {
	text := strings.ToLower(rpc.Message)
	return strings.Contains(text, "not initialized") || strings.Contains(text, "before initializ")
}

// startFailure is the failure to start a child. The model gets no path.
func startFailure(err error) *upstream.Error {
	public := "its command could not be started"
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		public = "its command was not found; install it or correct the command in the configuration"
	case errors.Is(err, fs.ErrPermission):
		public = "its command is not executable"
	}
	return failure(upstream.Unavailable, false, public, err)
}
