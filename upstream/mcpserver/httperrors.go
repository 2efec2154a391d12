package mcpserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const maxErrorBody = 1 << 20

// refused reads a response that is no success. An error object in it is an
// answer, except where the status alone says what to do.
func refused(p *peer, resp *http.Response) (answer, error) {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var rpc *upstream.RPCError
	if rawjson.Kind(body) == '{' && rawjson.Check(body, rawjson.Limits{}) == nil {
		if e, ok := rawjson.Get(body, "error"); ok && rawjson.Kind(e) == '{' {
			rpc = parseRPCError(e)
		}
	}
	status := &statusError{resp.StatusCode, escape(bounded(string(body), 300))}
	said, tooMuch := limits.Refused(resp.StatusCode, resp.Header, body, nil, time.Now())
	fail := func(kind upstream.Kind, sent bool, public string) (answer, error) {
		e := failure(kind, sent, public, status)
		e.RPC, e.RetryAfter = rpc, said.RetryAfter
		return answer{}, e
	}
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		return fail(upstream.NeedsLogin, false, "it asks for a login")
	case tooMuch:
		return fail(upstream.RateLimited, code >= 500, "it asks to wait") // a gateway may say 5xx halfway
	case code == http.StatusForbidden:
		return fail(upstream.Denied, false, "it refuses access")
	case sessionLost(p, code, rpc, body):
		// The session check comes before everything else, so the request was
		// not executed (MCP 2025-11-25, transports, §Session Management).
		return answer{}, failure(upstream.Unavailable, false, "it has lost the session",
			&broken{again: true, session: true, err: status})
	case p.estrangedBy(code, rpc, body):
		return answer{}, contradiction(status)
	case rpc != nil && code != http.StatusMethodNotAllowed: // which is never about the message
		return answer{rpc: rpc}, nil
	case code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
		return fail(upstream.UpstreamError, false,
			fmt.Sprintf("there is no MCP server at its address (HTTP %d)", code))
	case code/100 == 3:
		return fail(upstream.UpstreamError, false,
			"it redirects to another address, which is not followed; put the final address into the configuration")
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return fail(upstream.Unavailable, true, fmt.Sprintf("it is not available at the moment (HTTP %d)", code))
	default:
		return fail(upstream.UpstreamError, true, fmt.Sprintf("answered HTTP %d", code))
	}
}

// statusError is the HTTP status that a failure comes from.
type statusError struct {
	code int
	text string // the start of the body, escaped
}

func (e *statusError) Error() string {
	if e.text == "" {
		return fmt.Sprintf("HTTP %d %s", e.code, http.StatusText(e.code))
	}
	return fmt.Sprintf("HTTP %d: %s", e.code, e.text)
}

// noEndpoint reports whether err says that what we asked for is not to be had
// at an address, by any status of that meaning (MCP 2025-06-18, transports,
// §Backwards Compatibility, takes every 4xx for it). That a login is missing, or
// that we shall wait, says nothing of the kind.
func noEndpoint(err error) bool {
	if errors.Is(err, errNoStream) {
		return true
	}
	s, ok := errors.AsType[*statusError](err)
	return ok && s.code/100 == 4 && upstream.AsError("", "", err).Kind == upstream.UpstreamError
}

// sessionLost reports whether a response says that our session is unknown. The
// specification demands 404; widespread servers say 400 and "session". One that
// finds fault with the arguments may use the word for one of them.
func sessionLost(p *peer, code int, rpc *upstream.RPCError, body []byte) bool {
	if p.session == "" {
		return false
	}
	return code == http.StatusNotFound ||
		code == http.StatusBadRequest && (rpc == nil || rpc.Code != upstream.CodeInvalidParams) && bytes.Contains(bytes.ToLower(body), []byte("session"))
}

// transportFailure is the failure of a request that got no response. One that
// was not sent may be sent on a new connection, unless its failure says nothing
// about the server.
func transportFailure(err error, sent bool) *upstream.Error {
	e := httpcall.Failure(err, sent)
	if !sent && !httpcall.AboutCredential(err) && !errors.Is(err, context.Canceled) {
		e.Err = &broken{again: true, err: e.Err}
	}
	return e
}
