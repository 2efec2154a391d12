package mcpserver

import (
	"net/http"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// settledFor is how long a handshake outweighs what looks like a contradiction.
const settledFor = time.Minute

// contradiction is the failure of a request that was refused because the server
// does not speak the era of the connection, or no longer: another version of it
// may have taken its place. The next handshake finds out what it speaks now.
func contradiction(why error) *upstream.Error {
	return failure(upstream.Unavailable, false, "it does not speak the revision of the protocol that it did before",
		&broken{again: true, forget: true, err: why})
}

// contradictedBy reports whether an error object shows that the era is not what
// we believed. All cases are answered instead of executing the request.
func (p *peer) contradictedBy(method string, rpc *upstream.RPCError) bool {
	if time.Since(p.settled) < settledFor {
		return false
	}
	switch rpc.Code {
	case codeUnsupportedVersion:
		// Before 2026-07-28 the code was free for a server's own use. And a tool may
		// tell of its own troubles with somebody else: what is about us names our
		// version (schema UnsupportedProtocolVersionError), or none.
		requested, _ := rawjson.GetString(rpc.Data, "requested")
		return len(stringList(rpc.Data, "supported")) > 0 && (requested == "" || requested == p.version)
	case upstream.CodeMethodNotFound:
		// Every modern server knows the one (MCP 2026-07-28, server/discover), and
		// this one the other.
		return p.modern && (method == methodDiscover || method == methodTools && p.offers.tools)
	}
	return false
}

// estrangedBy reports whether a response with an HTTP status that refuses a
// request as such is what a server says that does not speak the era of the
// connection. rpc is the error object in it, nil if there is none. Of a request
// that was taken the words would say nothing: a tool may use the same for its own
// troubles.
//
// A server of an earlier revision answers 400 to a version that it does not know
// or a session that is missing (MCP 2025-06-18 and 2025-11-25, transports,
// §Protocol Version Header, §Session Management), some as plain text; a later one
// to what each request has to carry (MCP 2026-07-28, Streamable HTTP, §Server
// Validation). Where only HTTP+SSE is served, nothing takes a POST.
func (p *peer) estrangedBy(status int, rpc *upstream.RPCError, body []byte) bool {
	switch {
	case !p.ready || time.Since(p.settled) < settledFor:
		return false
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return rpc == nil
	case status != http.StatusBadRequest:
		return false
	case rpc == nil:
		rpc = &upstream.RPCError{Message: string(body)}
	}
	text := strings.ToLower(rpc.Message)
	switch {
	case !p.modern && (rpc.Code == codeHeaderMismatch || strings.Contains(text, "io.modelcontextprotocol/")):
		return true
	case rpc.Code == upstream.CodeInvalidParams: // else it is about the arguments
		return false
	case p.modern && strings.Contains(text, "session"): // of which that era has none
		return true
	}
	return strings.Contains(text, "not initialized") || strings.Contains(text, "before initializ") || namesVersion(text)
}

// namesVersion reports whether a text, in small letters, is about revisions of
// the protocol.
func namesVersion(text string) bool {
	return strings.Contains(text, "protocol version") || strings.Contains(text, "protocol-version")
}

// aboutEra reports whether a server refused initialize because it does not speak
// the legacy era, and for no other reason.
func aboutEra(err error) bool {
	e := upstream.AsError("", "", err)
	return e.RPC != nil && (e.RPC.Code == codeUnsupportedVersion || e.RPC.Code == upstream.CodeMethodNotFound ||
		e.RPC.Code == codeHeaderMismatch || strings.Contains(e.RPC.Message, "io.modelcontextprotocol/") ||
		namesVersion(strings.ToLower(e.RPC.Message)))
}
