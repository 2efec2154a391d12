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
	prose      []string // what other text items say
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
	content, _ := res.Get("content")
	var texts []json.RawMessage
	var at []int
	i := -1
	for item := range rawjson.Elements(content) {
		i++
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
	if note != "" {
		add(textPart(note))
	}
	raw := []byte(res.Raw)
	if structured && !rawjson.IsNull(value) {
		raw = set(raw, memberStructured, value)
	} else { // also one that is neither object nor list: it may say the same as a text
		raw = rawjson.Delete(raw, memberStructured)
	}
	out, err := upstream.ParseResult(set(raw, "content", append(items, ']')))
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
