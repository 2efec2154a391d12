package aggregate

import (
	"encoding/json"
	"errors"
	"io"
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
	texts      []int    // the places in the content of those that say it, once or each a record of it
	others     []int    // the places of those that are JSON and say something else than the structured content
	prose      []string // what other text items of the source's say
	dropped    int      // how many texts went with others, see claim
}

// payloadOf finds the payload of a result: its structured content; else the only
// text that is an object or a list; else, where every text is one, the list of
// them, because many servers answer each record as a text of its own. It is nil if
// there is none.
func payloadOf(res *upstream.Result) *payload {
	p := &payload{}
	structured, _ := res.Get(memberStructured)
	p.structured = compound(structured)
	said, _ := contentOf(res)
	var texts []json.RawMessage
	var at []int
	for i, item := range said {
		if !isText(item) {
			continue
		}
		switch text, _ := rawjson.GetString(item, "text"); {
		case compound([]byte(text)) && rawjson.Check([]byte(text), rawjson.Limits{}) == nil:
			texts, at = append(texts, json.RawMessage(text)), append(at, i)
		case p.structured && compound([]byte(text)) && isJSON(text):
			p.others = append(p.others, i)
		default:
			p.prose = append(p.prose, text)
		}
	}
	switch {
	case p.structured:
		p.value = structured
		p.compare(texts, at)
		return p
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

// isJSON reports whether a text is JSON that has not passed [rawjson.Check], such
// as an object that names a member twice, or several values one after another.
func isJSON(text string) bool {
	in := json.NewDecoder(strings.NewReader(text))
	for {
		var v json.RawMessage
		switch err := in.Decode(&v); {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return false
		}
	}
}

// compare tells the texts that say what the value says (all of it, or each one of
// its records) from those that say something else.
func (p *payload) compare(texts []json.RawMessage, at []int) {
	if len(texts) == 0 {
		return
	}
	if shaping.AreRows(texts, p.value) {
		p.texts = at
		return
	}
	forms := shaping.FormsOf(p.value)
	for i, text := range texts {
		if forms.Has(text) {
			p.texts = append(p.texts, at[i])
		} else {
			p.others = append(p.others, at[i])
		}
	}
}

// claim has the value stand also for the texts that say something else: they are
// JSON that no rule has been applied to.
func (p *payload) claim() {
	if p.dropped = len(p.others); p.dropped == 0 {
		return
	}
	p.texts = append(p.texts, p.others...)
	slices.Sort(p.texts)
	p.others = nil
}

// with returns the result with another value in place of the payload, and a note
// behind it. Without structured it is said by a text only. One that is no object is
// always said by a text too: older clients are not given it otherwise.
func (p *payload) with(res *upstream.Result, value json.RawMessage, structured bool, note string) *upstream.Result {
	items := []byte{'['}
	add := func(item json.RawMessage) {
		if len(items) > 1 {
			items = append(items, ',')
		}
		items = append(items, item...)
	}
	if len(p.texts) == 0 && !(structured && rawjson.Kind(value) == '{') {
		add(textPart(string(value)))
	}
	content, _ := res.Get("content")
	i, said := -1, 0
	for item := range rawjson.Elements(content) {
		i++
		if said == len(p.texts) || p.texts[said] != i {
			add(item)
			continue
		}
		if said++; said == 1 {
			add(textPart(string(value)))
		}
	}
	marks := res.Marks
	if note != "" {
		add(textPart(note))
		marks.Notes++
	}
	raw := []byte(res.Raw)
	if structured && !rawjson.IsNull(value) {
		raw = set(raw, memberStructured, value)
	} else { // also one that is neither object nor list: it may say the same as a text
		raw = rawjson.Delete(raw, memberStructured)
	}
	out := res.With(set(raw, "content", append(items, ']')))
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
