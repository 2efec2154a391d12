package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// How much of a schema is written out. Hosts refuse references and $defs, and a
// model pays for every byte, so schemas are inlined as far as they stay small:
// first with references eight deep, then with fewer, until they fit.
const (
	maxArgumentSchema = 12 << 10
	maxBodySchema     = 24 << 10
	maxAnswerSchema   = 8 << 10
	maxSchemaText     = 1 << 20 // of one schema in the document; a larger one is not looked into
	maxDescription    = 400
)

// attempts are tried one after the other: how many references and how many
// levels deep, and how many bytes of each description.
var attempts = [...]struct{ refs, levels, description int }{
	{8, maxDepth, 400}, {5, maxDepth, 400}, {3, maxDepth, 400}, {2, maxDepth, 400}, {1, maxDepth, 400}, {0, maxDepth, 400},
	{1, 6, 200}, {1, 4, 200}, {1, 3, 200}, {1, 2, 100}, {0, 1, 100}, {0, 1, 0},
}

// answerAttempt is the first attempt at an answer's schema: of that a model
// reads little.
const answerAttempt = 2

// inliner writes one schema of a document without references: what a reference
// means stands in its place, a cycle is closed by a schema that allows
// anything of the type.
type inliner struct {
	doc    *document
	answer bool // an answer's schema: only what tells its shape, see keywords
	refs   int  // how many references deep
	levels int  // how many schemas deep
	words  int  // bytes of a description
	room   int
	level  int
	buf    bytes.Buffer
	open   []string // the references whose meaning is being written
	short  bool     // something was left out
	lost   error    // the first reference that leads nowhere
}

// inline returns schema without references, in at most room bytes, whether it is
// less than the document says, and what could not be followed. It never fails:
// what cannot be told is left free.
func (d *document) inline(schema json.RawMessage, answer bool, room int) (text json.RawMessage, short bool, lost error) {
	for i, a := range attempts {
		if answer && i < answerAttempt {
			continue
		}
		w := inliner{doc: d, answer: answer, refs: a.refs, levels: a.levels, words: a.description, room: room}
		w.schema(schema)
		if w.buf.Len() <= room {
			return w.buf.Bytes(), w.short, w.lost
		}
	}
	return json.RawMessage(`{}`), true, nil
}

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

// schema writes one schema.
func (w *inliner) schema(v json.RawMessage) {
	w.level++
	defer func() { w.level-- }()
	switch rawjson.Kind(v) {
	case '{':
	case 'f':
		w.buf.WriteString(`{"not":{}}`)
		return
	default: // true, and what is no schema
		w.buf.WriteString(`{}`)
		return
	}
	if len(v) > maxSchemaText {
		w.free(nil)
		return
	}
	ref, ok := rawjson.GetString(v, "$ref")
	if !ok {
		w.known(members(v))
		return
	}
	target, last, err := w.doc.resolve(v)
	if err != nil && w.lost == nil {
		w.lost = fmt.Errorf("a schema %w", err)
	}
	if err != nil || rawjson.Kind(target) != '{' || len(target) > maxSchemaText {
		w.free(nil)
		return
	}
	kw := members(target)
	w.beside(kw, v)
	switch {
	case slices.Contains(w.open, ref) || slices.Contains(w.open, last):
		w.free(kw)
	case len(w.open) >= w.refs && !leaf(kw):
		w.free(kw)
	default:
		w.open = append(w.open, last)
		w.known(kw)
		w.open = w.open[:len(w.open)-1]
	}
}

// known writes a schema unless it is too deep inside.
func (w *inliner) known(kw map[string]json.RawMessage) {
	if w.level > w.levels && !leaf(kw) {
		w.free(kw)
		return
	}
	w.object(kw)
}

// beside lays what stands next to a reference over what the reference means:
// what describes it. OpenAPI 3.0 ignores the rest; in 3.1 it would count
// besides, which is rare and only makes the schema stricter.
func (w *inliner) beside(kw map[string]json.RawMessage, v json.RawMessage) {
	for m := range rawjson.Members(v) {
		switch m.Name {
		case "description", "default", "deprecated", "readOnly", "writeOnly", "nullable":
			kw[m.Name] = m.Value
		}
	}
}

// free writes a schema that says of a value no more than its type.
func (w *inliner) free(kw map[string]json.RawMessage) {
	w.short = true
	w.object(map[string]json.RawMessage{
		"type": kw["type"], "nullable": kw["nullable"], "description": kw["description"],
	})
}

// leaf reports whether a schema has none inside.
func leaf(kw map[string]json.RawMessage) bool {
	return !slices.ContainsFunc(keywords[:], func(k keyword) bool {
		return k.as != copied && kw[k.name] != nil
	})
}

func keywordNames() []string {
	out := make([]string, 0, len(keywords))
	for _, k := range keywords {
		out = append(out, k.name)
	}
	return out
}

// object writes the keywords of a schema.
func (w *inliner) object(kw map[string]json.RawMessage) {
	kw = w.modern(kw)
	hidden := w.hidden(kw["properties"])
	if len(hidden) > 0 {
		kw["required"] = without(kw["required"], hidden)
	}
	w.buf.WriteByte('{')
	first := true
	for _, k := range keywords {
		v := kw[k.name]
		if v == nil || (w.answer && !k.answer) {
			continue
		}
		if k.as == copied {
			if v = w.value(k.name, v); v == nil {
				continue
			}
		} else if !fits(k.as, v) || (w.answer && k.name == "additionalProperties" && rawjson.Kind(v) != '{') {
			continue
		}
		if !first {
			w.buf.WriteByte(',')
		}
		first = false
		name := k.name
		if w.answer && name == "oneOf" { // exactly one: no longer, with so little said of each
			name = "anyOf"
		}
		w.buf.Write(rawjson.Quote(name))
		w.buf.WriteByte(':')
		if kind := rawjson.Kind(v); k.name == "additionalProperties" && kind != '{' {
			w.buf.Write(rawjson.OneLine(v)) // as booleans hosts know them
		} else {
			w.inside(k.as, v, hidden)
		}
		if w.buf.Len() > w.room {
			return
		}
	}
	w.buf.WriteByte('}')
}

// inside writes the value of a keyword, with the schemas in it.
func (w *inliner) inside(as treatment, v json.RawMessage, hidden map[string]bool) {
	switch {
	case as == copied:
		w.buf.Write(v)
	case as == one || (as == listOrOne && rawjson.Kind(v) != '['):
		w.schema(v)
	case as == named:
		w.buf.WriteByte('{')
		first := true
		for m := range rawjson.Members(v) {
			if hidden[m.Name] {
				continue
			}
			if !first {
				w.buf.WriteByte(',')
			}
			first = false
			w.buf.Write(rawjson.Quote(m.Name))
			w.buf.WriteByte(':')
			w.schema(m.Value)
			if w.buf.Len() > w.room {
				return
			}
		}
		w.buf.WriteByte('}')
	default:
		w.buf.WriteByte('[')
		first := true
		for e := range rawjson.Elements(v) {
			if !first {
				w.buf.WriteByte(',')
			}
			first = false
			w.schema(e)
			if w.buf.Len() > w.room {
				return
			}
		}
		w.buf.WriteByte(']')
	}
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
		ok = slices.Contains(formats, rawjson.String(v))
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

// brief returns text on one line in at most most bytes: its first paragraph,
// cut at a word.
func brief(text string, most int) string {
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	if most == 0 {
		return ""
	}
	text, _, _ = strings.Cut(text, "\n\n")
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= most {
		return text
	}
	text = strings.ToValidUTF8(text[:most-len("…")], "")
	if i := strings.LastIndexByte(text, ' '); i > most/2 {
		text = text[:i]
	}
	return text + "…"
}
