package aggregate

import (
	"encoding/json"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// payload is the JSON that a tool's result is about, and where in it it stands.
type payload struct {
	value json.RawMessage // an object or a list
	// structured says that it is the structured content. Else it is what the texts
	// say.
	structured bool
	items      []json.RawMessage // the content
	texts      []int             // the items that say it, once or each a record of it
	prose      []string          // what other text items say
}

// payloadOf finds the payload of a result: its structured content; else the only
// text that is an object or a list; else, where every text is one, the list of
// them, because many servers answer each record as a text of its own. It is nil if
// there is none.
func payloadOf(res *upstream.Result) *payload {
	p := &payload{}
	content, _ := res.Get("content")
	var texts []json.RawMessage
	var at []int
	for item := range rawjson.Elements(content) {
		p.items = append(p.items, item)
		if !isText(item) {
			continue
		}
		text, _ := rawjson.GetString(item, "text")
		if !compound([]byte(text)) || rawjson.Check([]byte(text), rawjson.Limits{}) != nil {
			p.prose = append(p.prose, text)
			continue
		}
		texts, at = append(texts, json.RawMessage(text)), append(at, len(p.items)-1)
	}
	if structured, _ := res.Get(memberStructured); compound(structured) {
		p.value, p.structured = structured, true
		p.texts = saying(structured, texts, at)
		return p
	}
	switch {
	case len(texts) == 1:
		p.value = texts[0]
	case len(texts) > 1 && p.prose == nil:
		p.value = shaping.List(texts)
	default:
		return nil
	}
	p.texts = at
	return p
}

func compound(v []byte) bool {
	k := rawjson.Kind(v)
	return k == '{' || k == '['
}

// saying returns the places of the texts that say what structured says: all of
// it, or each one of its records.
func saying(structured json.RawMessage, texts []json.RawMessage, at []int) (places []int) {
	for i, text := range texts {
		if shaping.Same(text, structured) {
			places = append(places, at[i])
		}
	}
	if rows := shaping.Rows(structured); places == nil && len(texts) > 0 && len(rows) == len(texts) && shaping.Same(shaping.List(texts), shaping.List(rows)) {
		return at
	}
	return places
}

// with returns the result with another value in place of the payload, and a note
// behind it. Without structured it is said by a text only.
func (p *payload) with(res *upstream.Result, value json.RawMessage, structured bool, note string) *upstream.Result {
	var items []json.RawMessage
	if len(p.texts) == 0 && !structured {
		items = append(items, textPart(string(value)))
	}
	said := 0
	for i, item := range p.items {
		if said == len(p.texts) || p.texts[said] != i {
			items = append(items, item)
			continue
		}
		if said++; said == 1 {
			items = append(items, textPart(string(value)))
		}
	}
	if note != "" {
		items = append(items, textPart(note))
	}
	raw := []byte(res.Raw)
	switch {
	case structured && !rawjson.IsNull(value):
		raw = set(raw, memberStructured, value)
	case p.structured:
		raw = rawjson.Delete(raw, memberStructured)
	}
	out, err := upstream.ParseResult(set(raw, "content", array(items)))
	if err != nil { // it was an object before
		return res
	}
	return out
}

// notesOf returns what the texts of a result say besides its value. Where that is
// structured content only what we have put there counts: the others may say the
// same again.
func notesOf(res *upstream.Result, source upstream.ID) (notes []string) {
	if _, ok := res.Get(memberStructured); !ok {
		if p := payloadOf(res); p != nil {
			notes = p.prose
		}
		return notes
	}
	content, _ := res.Get("content")
	for item := range rawjson.Elements(content) {
		if text, ok := rawjson.GetString(item, "text"); ok && isNote(text, source) {
			notes = append(notes, text)
		}
	}
	return notes
}

// isNote reports whether a text is one that we add to results of a source.
func isNote(text string, source upstream.ID) bool {
	return strings.HasPrefix(text, "["+string(source)+": ")
}
