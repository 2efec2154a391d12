package aggregate

import (
	"encoding/json"
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The members that the 2026-07-28 revision puts on results and earlier ones do
// not have (schema Result, CacheableResult).
const (
	memberResultType = "resultType"
	memberTTL        = "ttlMs"
	memberScope      = "cacheScope"
)

var (
	modernOnly     = []string{memberResultType, memberTTL, memberScope}
	resultComplete = []byte(`"complete"`)
)

// forEra returns a tool result as a client of the given era expects it. The
// bytes are untouched where nothing has to change.
func forEra(result json.RawMessage, modern bool) json.RawMessage {
	if !modern {
		return rawjson.Delete(result, modernOnly...)
	}
	if _, ok := rawjson.Get(result, memberResultType); ok {
		return result
	}
	out, err := rawjson.Set(result, memberResultType, resultComplete)
	if err != nil { // ParseResult has seen that it is an object
		return result
	}
	return out
}

// listPage serialises one page of tools for an era. ttl is how long a modern
// client may keep it, in milliseconds.
func listPage(tools []byte, modern bool, ttl int) json.RawMessage {
	if !modern {
		return fmt.Appendf(nil, `{"tools":%s}`, tools)
	}
	return fmt.Appendf(nil, `{"tools":%s,%q:"complete",%q:%d,%q:"private"}`,
		tools, memberResultType, memberTTL, ttl, memberScope)
}
