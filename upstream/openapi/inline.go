package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

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
