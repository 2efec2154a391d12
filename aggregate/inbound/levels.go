package inbound

import (
	"encoding/json"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const methodSetLevel = "logging/setLevel"

func badLevel(where string) *upstream.RPCError {
	return badParams("%s must be one of %s", where, strings.Join(upstream.Levels(), ", "))
}

// setLevel answers logging/setLevel, which is of legacy clients and holds for
// the session.
func (r *request) setLevel() *reply {
	level, _ := rawjson.GetString(r.params, "level")
	if upstream.Severity(level) == 0 {
		return &reply{id: r.id, err: badLevel("params.level")}
	}
	r.session.setLevel(level)
	return &reply{id: r.id, result: emptyResult()}
}

// logs reports whether the client of a session wants to hear of a log message
// that belongs to no request: only if it has set a level.
func (s *session) logs(params json.RawMessage) bool {
	_, wanted := s.settled()
	level, _ := rawjson.GetString(params, "level")
	return wanted != "" && upstream.Severity(level) >= upstream.Severity(wanted)
}
