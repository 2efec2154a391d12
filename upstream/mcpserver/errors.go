package mcpserver

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
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
	errNoAnswer    = errors.New("no answer to the era probe")
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
