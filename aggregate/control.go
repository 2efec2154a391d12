package aggregate

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// controls are arguments that hosts ask the model for, for themselves, and then
// leave in the call. Sources that check their arguments refuse such a call.
var controls = []string{
	"wait_for_previous",  // Gemini CLI: google-gemini/gemini-cli, pull request 21933, issue 27403
	"task_progress",      // Cline: cline/cline, issues 8256, 9684 and 10426
	"toolCallId",         // n8n up to 2.2.4: n8n-io/n8n, issues 21500 and 21716
	"__tool_use_purpose", // Kiro CLI puts it into the input of every tool, as its hooks show
}

// sent returns the arguments with which a tool is called by what a client has sent.
func (e *entry) sent(arguments json.RawMessage) json.RawMessage {
	arguments = withoutControls(e.tool, arguments)
	if e.m == nil {
		arguments = withoutNulls(e.tool, arguments)
	}
	return arguments
}

// withoutNulls returns the arguments without those members that are null and that the
// tool declares and does not require: hosts that have a model fill in every member send
// null for what it has left out. Only our own tools are known to mean that.
func withoutNulls(t *upstream.Tool, arguments json.RawMessage) json.RawMessage {
	if !bytes.Contains(arguments, []byte("null")) {
		return arguments
	}
	schema, _ := rawjson.Get(t.Raw, "inputSchema")
	needed, _ := rawjson.Get(schema, "required")
	declared, _ := rawjson.Get(schema, "properties")
	var left []string
	for m := range rawjson.Members(arguments) {
		if _, known := rawjson.Get(declared, m.Name); known && rawjson.IsNull(m.Value) && !hasText(needed, m.Name) {
			left = append(left, m.Name)
		}
	}
	return rawjson.Delete(arguments, left...)
}

// hasText reports whether a list has a text.
func hasText(list json.RawMessage, text string) bool {
	for e := range rawjson.Elements(list) {
		if rawjson.String(e) == text {
			return true
		}
	}
	return false
}

// withoutControls returns the arguments of a call without what a host has put
// there for itself: the members of the object itself that have such a name and
// that the tool neither declares nor says that it takes. What is left stays as it is
// written.
func withoutControls(t *upstream.Tool, arguments json.RawMessage) json.RawMessage {
	for _, name := range controls {
		if !bytes.Contains(arguments, []byte(`"`+name+`"`)) {
			continue
		}
		if _, there := rawjson.Get(arguments, name); !there {
			continue
		}
		root, _ := rawjson.Get(t.Raw, "inputSchema")
		if !(&property{root, name, maxApplied}).in(root) {
			arguments = rawjson.Delete(arguments, name)
		}
	}
	return arguments
}

// maxApplied is how many schemas are looked into that apply to the same object. Of
// a tool that has more everything stays.
const maxApplied = 200

// property is the question whether a schema knows a property of some name, or says
// that it takes others than those it knows.
type property struct {
	root json.RawMessage
	name string
	left int // schemas that may still be looked into
}

// in answers it for the keywords of JSON Schema 2020-12 by which a schema speaks
// of the members of the object that it is applied to (core, §10.2 and §10.3.2;
// validation, §6.5).
func (p *property) in(schema json.RawMessage) bool {
	if p.left--; p.left < 0 {
		return true
	}
	for m := range rawjson.Members(schema) {
		switch m.Name {
		case "properties", "dependentSchemas", "dependentRequired":
			if _, ok := rawjson.Get(m.Value, p.name); ok {
				return true
			}
		case "required":
			if hasText(m.Value, p.name) {
				return true
			}
		case "propertyNames":
			if bytes.Contains(m.Value, []byte(`"`+p.name+`"`)) {
				return true
			}
		case "patternProperties":
			for pattern := range rawjson.Members(m.Value) {
				if re, err := regexp.Compile(pattern.Name); err != nil || re.MatchString(p.name) {
					return true
				}
			}
		case "additionalProperties", "unevaluatedProperties":
			if string(m.Value) != "false" {
				return true
			}
		}
		if p.applied(m) {
			return true
		}
	}
	return false
}

// applied looks into the schemas that a keyword applies to the same object.
func (p *property) applied(m rawjson.Member) bool {
	switch m.Name {
	case "if", "then", "else", "not":
		return p.in(m.Value)
	case "allOf", "anyOf", "oneOf":
		for s := range rawjson.Elements(m.Value) {
			if p.in(s) {
				return true
			}
		}
	case "dependentSchemas":
		for s := range rawjson.Members(m.Value) {
			if p.in(s.Value) {
				return true
			}
		}
	case "$ref", "$dynamicRef":
		target, ok := pointed(p.root, rawjson.String(m.Value))
		return !ok || p.in(target)
	}
	return false
}

// pointed returns what a reference within a schema leads to: a JSON pointer (RFC
// 6901) as fragment. ok is false for any other.
func pointed(root json.RawMessage, ref string) (target json.RawMessage, ok bool) {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok || strings.Contains(path, "%") || path != "" && path[0] != '/' {
		return nil, false
	}
	if path == "" {
		return root, true
	}
	for token := range strings.SplitSeq(path[1:], "/") {
		name, escaped := rawjson.Unescape(token)
		if root, ok = rawjson.Get(root, name); !ok || !escaped {
			return nil, false
		}
	}
	return root, true
}
