package aggregate

import (
	"encoding/json"
	"slices"
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
	prose      []string          // what other text items of the source's say
}

// payloadOf finds the payload of a result: its structured content; else the only
// text that is an object or a list; else, where every text is one, the list of
// them, because many servers answer each record as a text of its own. It is nil if
// there is none.
func payloadOf(res *upstream.Result) *payload {
	said, notes := contentOf(res)
	p := &payload{items: slices.Concat(said, notes)}
	var texts []json.RawMessage
	var at []int
	for i, item := range said {
		if !isText(item) {
			continue
		}
		text, _ := rawjson.GetString(item, "text")
		if !compound([]byte(text)) || rawjson.Check([]byte(text), rawjson.Limits{}) != nil {
			p.prose = append(p.prose, text)
			continue
		}
		texts, at = append(texts, json.RawMessage(text)), append(at, i)
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
	marks := res.Marks
	if note != "" {
		items = append(items, textPart(note))
		marks.Notes++
	}
	raw := []byte(res.Raw)
	switch {
	case structured && !rawjson.IsNull(value):
		raw = set(raw, memberStructured, value)
	case p.structured:
		raw = rawjson.Delete(raw, memberStructured)
	}
	out := res.With(set(raw, "content", array(items)))
	out.Marks = marks
	return out
}

// contentOf returns what the source has put into the content of a result, and the
// notes that we have put behind it.
func contentOf(res *upstream.Result) (said, notes []json.RawMessage) {
	content, _ := res.Get("content")
	for item := range rawjson.Elements(content) {
		said = append(said, item)
	}
	n := max(len(said)-res.Marks.Notes, 0)
	return said[:n:n], said[n:]
}

// notesOf returns what we say of a result.
func notesOf(res *upstream.Result) []string {
	_, notes := contentOf(res)
	return textsIn(notes)
}

// besides returns the items of content by which a source says more than the value
// of its result, as a list; nil if there are none.
func besides(res *upstream.Result) json.RawMessage {
	said, _ := contentOf(res)
	again := repeating(res)
	var out []json.RawMessage
	for i, item := range said {
		text, _ := rawjson.GetString(item, "text")
		if !isText(item) || strings.TrimSpace(text) != "" && !again(i, text) {
			out = append(out, item)
		}
	}
	if out == nil {
		return nil
	}
	return array(out)
}

// repeating returns what reports of a text, and its place in the content, whether it
// is the value of the result or a part of that.
func repeating(res *upstream.Result) func(at int, text string) bool {
	if structured, ok := res.Get(memberStructured); ok && !compound(structured) {
		word := string(structured)
		if rawjson.Kind(structured) == '"' {
			word = rawjson.String(structured)
		}
		return func(_ int, text string) bool { return text == word || text == string(structured) }
	}
	if p := payloadOf(res); p != nil {
		return func(at int, _ string) bool {
			_, found := slices.BinarySearch(p.texts, at)
			return found
		}
	}
	return func(int, string) bool { return true } // all texts together are it
}
