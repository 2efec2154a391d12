package aggregate

import (
	"bytes"
	"errors"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// maxChecked is how long arguments are looked at before they are sent: to decode
// them costs many times their length.
const maxChecked = 1 << 20

// checkBut returns what is certainly wrong with arguments of which parts are not
// known yet, "" if nothing is. Null stands at the paths in open for now.
func (s *schemaCache) checkBut(t *upstream.Tool, arguments []byte, open [][]string) string {
	if len(arguments) > maxChecked {
		return ""
	}
	if len(open) == 0 {
		return s.check(t, arguments)
	}
	if schema, _ := rawjson.Get(t.Raw, "inputSchema"); slices.ContainsFunc(open, func(p []string) bool { return len(p) == 0 }) || turns(schema) {
		return ""
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](s.validate(t, arguments))
	if !ok {
		return ""
	}
	sure := certain(invalid, open)
	return told(sure[:min(len(sure), maxProblems)])
}

// turns reports whether a schema may forbid something because a part of the value
// is allowed, which cannot be told as long as that part is not known.
func turns(schema []byte) bool {
	return slices.ContainsFunc([]string{`"if"`, `"not"`, `"dependen`, `"unevaluated`}, func(word string) bool {
		return bytes.Contains(schema, []byte(word))
	})
}

// certain lists the faults that do not depend on what is not known.
func certain(e *jsonschema.ValidationError, open [][]string) []string {
	var out []string
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf: // a fault only if each alternative has one
		for _, cause := range e.Causes {
			sure := certain(cause, open)
			if len(sure) == 0 {
				return nil
			}
			out = append(out, sure...)
		}
		return out
	}
	if len(e.Causes) == 0 && settled(e, open) {
		return []string{problem(e)}
	}
	for _, cause := range e.Causes {
		out = append(out, certain(cause, open)...)
	}
	return out
}

// settled reports whether a single fault stands whatever comes in at the paths in
// open: it lies apart from them, or is about something else around them.
func settled(e *jsonschema.ValidationError, open [][]string) bool {
	for _, path := range open {
		n := min(len(path), len(e.InstanceLocation))
		if !slices.Equal(path[:n], e.InstanceLocation[:n]) {
			continue
		}
		if len(e.InstanceLocation) >= len(path) {
			return false
		}
		switch e.ErrorKind.(type) {
		case *kind.Type, *kind.Required, *kind.AdditionalProperties, *kind.MinProperties, *kind.MaxProperties, *kind.MinItems, *kind.MaxItems:
		default:
			return false
		}
	}
	return true
}
