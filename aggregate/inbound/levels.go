package inbound

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const methodSetLevel = "logging/setLevel"

// levels are the severities of log messages, the least severe first (MCP,
// logging, §Log Levels; RFC 5424, section 6.2.1).
var levels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// severity orders levels; -1 is none.
func severity(level string) int { return slices.Index(levels, level) }

func badLevel(where string) *upstream.RPCError {
	return badParams("%s must be one of %s", where, strings.Join(levels, ", "))
}

// setLevel answers logging/setLevel, which is of legacy clients and holds for
// the session.
func (r *request) setLevel() *reply {
	level, _ := rawjson.GetString(r.params, "level")
	if severity(level) < 0 {
		return &reply{id: r.id, err: badLevel("params.level")}
	}
	r.session.setLevel(level)
	return &reply{id: r.id, result: json.RawMessage("{}")}
}
