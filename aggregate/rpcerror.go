package aggregate

import (
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// protocolError is the failure of a request other than a tool call, as a client
// of the given era gets it.
func protocolError(err *upstream.Error, _ bool) *upstream.RPCError {
	if err.RPC != nil {
		return err.RPC
	}
	return &upstream.RPCError{Code: upstream.CodeInternal, Message: failureText(err)}
}
