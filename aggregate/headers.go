package aggregate

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// checkHeaders holds that the arguments which the tool wants in header fields
// too say the same there: whoever stands before us may have decided by the
// field (MCP 2026-07-28, Streamable HTTP, §Server Validation). The error is an
// *upstream.RPCError. header is nil where there are no header fields.
func checkHeaders(header http.Header, t *upstream.Tool, params json.RawMessage) error {
	if header == nil || !bytes.Contains(t.Raw, []byte("x-mcp-header")) {
		return nil
	}
	schema, _ := rawjson.Get(t.Raw, "inputSchema")
	tool := &mcp.Tool{RawInputSchema: schema}
	lookup := func(name string) (string, bool) {
		values := header.Values(name)
		if len(values) == 0 {
			return "", false
		}
		return values[0], true
	}
	if err := mcp.ValidateParamHeadersLookup(lookup, tool, params); err != nil {
		return &upstream.RPCError{Code: mcp.HEADER_MISMATCH, Message: err.Error()}
	}
	return nil
}
