package openapi

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// treatment is what becomes of a keyword's value.
type treatment uint8

const (
	copied    treatment = iota // a value
	one                        // a schema
	several                    // a list of schemas
	named                      // schemas by name
	listOrOne                  // items: a list of schemas before JSON Schema 2020-12
)

// keyword is one that is kept of a schema.
type keyword struct {
	name   string
	as     treatment
	answer bool // of an answer's schema too
}

// keywords are those that are kept, in the order in which they are written:
// JSON Schema 2020-12 without what refers, identifies or annotates for
// programs. An answer's schema tells the shape only. Services do not keep to
// what they say of their answers beyond that, and a host that checks would
// throw a good answer away.
var keywords = [...]keyword{
	{"type", copied, true}, {"format", copied, false}, {"description", copied, false},
	{"enum", copied, false}, {"const", copied, false}, {"default", copied, false}, {"pattern", copied, false},
	{"minimum", copied, false}, {"maximum", copied, false}, {"exclusiveMinimum", copied, false}, {"exclusiveMaximum", copied, false},
	{"multipleOf", copied, false}, {"minLength", copied, false}, {"maxLength", copied, false},
	{"minItems", copied, false}, {"maxItems", copied, false}, {"uniqueItems", copied, false},
	{"minProperties", copied, false}, {"maxProperties", copied, false}, {"deprecated", copied, false},
	{"items", listOrOne, true}, {"prefixItems", several, false},
	{"properties", named, true}, {"patternProperties", named, false}, {"additionalProperties", one, true},
	{"propertyNames", one, false}, {"required", copied, false},
	{"allOf", several, true}, {"anyOf", several, true}, {"oneOf", several, true}, {"not", one, false},
}

func keywordNames() []string {
	out := make([]string, 0, len(keywords))
	for _, k := range keywords {
		out = append(out, k.name)
	}
	return out
}

func fits(as treatment, v json.RawMessage) bool {
	kind := rawjson.Kind(v)
	switch as {
	case one:
		return kind == '{' || kind == 't' || kind == 'f'
	case several:
		return kind == '[' && !bytes.Equal(bytes.TrimSpace(v[1:]), []byte("]"))
	case named:
		return kind == '{'
	}
	return kind == '{' || kind == '['
}

// modern turns what OpenAPI 3.0 has of its own (§4.7.24) into JSON Schema
// 2020-12: nullable, and exclusive bounds that are booleans.
func (w *inliner) modern(kw map[string]json.RawMessage) map[string]json.RawMessage {
	for bound, exclusive := range map[string]string{"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"} {
		switch rawjson.Kind(kw[exclusive]) {
		case 't':
			kw[exclusive] = kw[bound]
			delete(kw, bound)
		case 'f':
			delete(kw, exclusive)
		}
	}
	if kw["format"] == nil { // the words of OpenAPI 3.1 for files
		switch {
		case rawjson.String(kw["contentEncoding"]) == "base64":
			kw["format"] = json.RawMessage(`"byte"`)
		case rest.TextFile(rawjson.String(kw["contentMediaType"])):
			kw["format"] = kw["contentMediaType"]
		case kw["contentMediaType"] != nil:
			kw["format"] = json.RawMessage(`"binary"`)
		}
	}
	types := typesOf(kw["type"])
	if len(types) > 0 && (w.answer || string(kw["nullable"]) == "true") && !slices.Contains(types, "null") {
		types = append(types, "null")
	}
	if string(kw["nullable"]) == "true" && rawjson.Kind(kw["enum"]) == '[' {
		if !slices.ContainsFunc(slices.Collect(rawjson.Elements(kw["enum"])), func(v json.RawMessage) bool { return rawjson.IsNull(v) }) {
			enum := bytes.TrimRight(kw["enum"], "] \t\r\n")
			if bytes.HasSuffix(enum, []byte("[")) {
				delete(kw, "enum")
			} else {
				kw["enum"] = append(slices.Clone(enum), ",null]"...)
			}
		}
	}
	switch len(types) {
	case 0:
		delete(kw, "type")
	case 1:
		kw["type"] = rawjson.Quote(types[0])
	default:
		kw["type"], _ = json.Marshal(types) // strings
	}
	if slices.Contains(types, "array") && !fits(listOrOne, kw["items"]) { // without it some hosts refuse the tool
		kw["items"] = json.RawMessage(`{}`)
	}
	return kw
}

var schemaTypes = []string{"string", "number", "integer", "boolean", "object", "array", "null"}

// typesOf returns the types that there are in JSON of those that a schema names.
func typesOf(v json.RawMessage) []string {
	var types []string
	add := func(v json.RawMessage) {
		if t := rawjson.String(v); slices.Contains(schemaTypes, t) && !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	add(v)
	for e := range rawjson.Elements(v) {
		add(e)
	}
	return types
}

// formats are those of JSON Schema 2020-12 (validation, §7.3) that hosts know,
// and OpenAPI's two for files; an unknown one makes some refuse the whole tool.
var formats = []string{"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uri-reference", "uuid", "byte", "binary"}

// value returns what is written of a keyword that is copied; nil for nothing.
func (w *inliner) value(name string, v json.RawMessage) json.RawMessage {
	kind := rawjson.Kind(v)
	var ok bool
	switch name {
	case "type", "default", "const":
		ok = true
	case "format":
		ok = slices.Contains(formats, rawjson.String(v)) || rest.TextFile(rawjson.String(v))
	case "description":
		text := brief(rawjson.String(v), w.words)
		return quoteUnlessEmpty(text)
	case "enum":
		ok = kind == '[' && fits(several, v)
	case "pattern":
		ok = portable(rawjson.String(v))
	case "uniqueItems", "deprecated":
		ok = string(v) == "true"
	case "required":
		v = names(v)
		ok = v != nil
	default: // a bound
		ok = kind == '-' || (kind >= '0' && kind <= '9')
	}
	if !ok {
		return nil
	}
	return rawjson.OneLine(v)
}

func quoteUnlessEmpty(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return rawjson.Quote(s)
}

// names returns a list of strings without what is none; nil if nothing is left.
func names(v json.RawMessage) json.RawMessage { return without(v, nil) }

func without(list json.RawMessage, hidden map[string]bool) json.RawMessage {
	var kept []string
	for e := range rawjson.Elements(list) {
		if s := rawjson.String(e); s != "" && !hidden[s] && !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	if kept == nil {
		return nil
	}
	out, _ := json.Marshal(kept) // strings
	return out
}

// hidden returns the properties that are not sent: readOnly ones (OpenAPI 3.1,
// §4.8.24).
func (w *inliner) hidden(properties json.RawMessage) map[string]bool {
	if w.answer {
		return nil
	}
	var out map[string]bool
	for m := range rawjson.Members(properties) {
		said, _ := rawjson.Get(m.Value, "readOnly")
		if said == nil && len(m.Value) < maxSchemaText {
			if target, last, err := w.doc.resolve(m.Value); err == nil && last != "" {
				said, _ = rawjson.Get(target, "readOnly")
			}
		}
		if string(said) == "true" {
			if out == nil {
				out = make(map[string]bool)
			}
			out[m.Name] = true
		}
	}
	return out
}

// portable reports whether a pattern means the same to all hosts: those in
// JavaScript read it as Unicode, in which needless escapes are errors
// (ECMA-262, §22.2.1), and one error costs the tool.
func portable(pattern string) bool {
	for i := 0; i < len(pattern); i++ {
		if pattern[i] == '\\' {
			if i++; i == len(pattern) || !strings.ContainsRune(`dDwWsSbBnrtfv.^$*+?()[]{}|/\`, rune(pattern[i])) {
				return false
			}
		}
	}
	if strings.Contains(strings.ReplaceAll(pattern, "(?:", ""), "(?") || len(pattern) > maxDescription {
		return false
	}
	_, err := regexp.Compile(pattern)
	return pattern != "" && err == nil
}

// members returns an object's members by name; of two of one name the first.
func members(obj json.RawMessage) map[string]json.RawMessage {
	m := make(map[string]json.RawMessage)
	for member := range rawjson.Members(obj) {
		if _, twice := m[member.Name]; !twice {
			m[member.Name] = member.Value
		}
	}
	return m
}
