package aggregate

import (
	"encoding/json"
	"net/http"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Request is one client request as an edge hands it in: framed, checked and
// authenticated.
type Request struct {
	Principal upstream.Principal
	Session   string // the client connection; "" in the modern era over HTTP
	Client    string // the host's own name, e.g. "claude-code"; "" if it did not say
	// ClientVersion is the host's own version; "" if it did not say.
	ClientVersion string
	Method        string          // e.g. "tools/call"
	Params        json.RawMessage // the params object; nil if the client sent none
	// Back is how the client is reached while the request is worked on, and
	// what it says that it can do.
	Back upstream.Back
	// Header holds the Mcp-Param-* fields of a modern request over HTTP, in
	// which arguments may stand a second time; nil elsewhere.
	Header http.Header
	Modern bool // protocol revision 2026-07-28 or later
	// Version is the protocol revision that the client speaks, e.g. "2025-06-18";
	// "" if that is not known.
	Version string
}
