package aggregate

import (
	"bytes"
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// controls are arguments that hosts put into calls for themselves and leave
// there: Gemini CLI since March 2026 (google-gemini/gemini-cli, pull request
// 21933). Sources that check their arguments refuse such a call.
var controls = []string{"wait_for_previous"}

// withoutControls returns the params of a call and the arguments in them without
// what a host has put there for itself. What the tool declares is its own.
func withoutControls(t *upstream.Tool, params, arguments json.RawMessage) (json.RawMessage, json.RawMessage) {
	for _, name := range controls {
		if !bytes.Contains(arguments, []byte(name)) {
			continue
		}
		if _, there := rawjson.Get(arguments, name); !there || takes(t, name) {
			continue
		}
		left := rawjson.Delete(arguments, name)
		changed, err := rawjson.Set(params, "arguments", left)
		if err != nil { // the params are an object, or there were no arguments
			continue
		}
		params, arguments = changed, left
	}
	return params, arguments
}

// takes reports whether a tool has an argument of this name.
func takes(t *upstream.Tool, name string) bool {
	_, ok := rawjson.Get(properties(t), name)
	return ok
}
