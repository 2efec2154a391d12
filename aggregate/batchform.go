package aggregate

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// planForm returns the calls of a valid plan in a form that is the same for plans that
// say the same: who sends one again may have written it anew.
func planForm(calls json.RawMessage) []byte {
	out := []byte{'['}
	for call := range rawjson.Elements(unescaped(calls)) {
		out = append(canonicalObject(out, call, func(m rawjson.Member) ([]byte, bool) { return m.Value, !needless(m) }), ',')
	}
	return append(out, ']')
}

// needless reports whether a member of a call says what holds without it.
func needless(m rawjson.Member) bool {
	switch m.Name {
	case "arguments":
		return rawjson.IsNull(m.Value) || isEmpty(m.Value)
	case "after":
		for range rawjson.Elements(m.Value) {
			return false
		}
		return true
	case "on_error":
		return rawjson.IsNull(m.Value) || rawjson.String(m.Value) == string(plan.Skip)
	}
	return rawjson.IsNull(m.Value)
}

// argumentForm is [planForm] for the arguments of a call.
func argumentForm(arguments json.RawMessage) []byte { return canonical(nil, unescaped(arguments)) }

// unescaped returns a JSON text whose strings have no other escapes than they need.
// Those with half of a surrogate pair, which has no other spelling, stay as they are:
// they are not equal for being no text.
func unescaped(v json.RawMessage) json.RawMessage {
	if bytes.IndexByte(v, '\\') < 0 {
		return v
	}
	out := make([]byte, 0, len(v))
	for {
		from := bytes.IndexByte(v, '"')
		if from < 0 {
			return append(out, v...)
		}
		to := from + 1
		for v[to] != '"' {
			if v[to] == '\\' {
				to++
			}
			to++
		}
		text := v[from : to+1]
		if bytes.IndexByte(text, '\\') >= 0 {
			if plain := rawjson.String(text); !strings.ContainsRune(plain, utf8.RuneError) {
				text = rawjson.Quote(plain)
			}
		}
		out, v = append(append(out, v[:from]...), text...), v[to+1:]
	}
}
