package upstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Result is what an upstream answered. Raw must not be changed once it is set.
type Result struct {
	Raw     json.RawMessage // the whole result object, as the upstream sent it
	IsError bool            // result.isError
	Gaps    bool            // parts of it could not be had this time: it answers this call and is not kept
	Type    ResultType      // Final unless the adapter says otherwise
	Quota   *Quota          // what the upstream says is left of its quota; nil if it says nothing
	Marks   Marks           // what was done to it since; the zero value as an adapter returns it

	members []rawjson.Member // of Raw; nil if they are to be looked for in it
}

// Marks are what is known of a result that was changed on its way. They stand
// beside it, because nothing in its text could be told from what an upstream says.
type Marks struct {
	// Notes is how many of the last items of its content say something of the
	// result and are not the upstream's.
	Notes int
	// Cut says that it was too long, and its value is not all there: the structured
	// content or, where there is none, what the texts say.
	Cut bool
	// Meta are the members of its _meta that are not the upstream's.
	Meta []string
	// Undeclared says that the structured content is gone that its tool's output
	// schema promises to the client.
	Undeclared bool
}

// Quota is what an upstream says of the quota that a call was counted in.
type Quota struct {
	Remaining float64       // calls, or whatever it counts; not negative
	Reset     time.Duration // until there is more; 0 if it does not say
}

// ResultType says whether a result is the answer (MCP 2026-07-28, basic,
// §Results). Only an adapter knows: a legacy server's resultType is a member of
// its own.
type ResultType uint8

// The types of result.
const (
	Final         ResultType = iota // the answer
	InputRequired                   // questions, and the state to come back with
	TaskCreated                     // a handle of work that goes on (extension io.modelcontextprotocol/tasks)
)

// maxIndexed is how many members of a result are remembered that have to be
// looked for. One that has more is not what the protocol knows, and is searched
// anew each time.
const maxIndexed = 16

// ParseResult wraps the result object of an upstream and notes where its
// members are, so that a long one is walked through once. raw must have passed
// [rawjson.Check].
func ParseResult(raw json.RawMessage) (*Result, error) {
	return IndexedResult(raw, nil)
}

// IndexedResult is [ParseResult] where the members of raw are known already,
// from [rawjson.Index]; nil if they are not.
func IndexedResult(raw json.RawMessage, members []rawjson.Member) (*Result, error) {
	if rawjson.Kind(raw) != '{' {
		return nil, fmt.Errorf("the result is not an object: %.40s", raw)
	}
	if members == nil {
		members = listed(raw)
	}
	r := &Result{Raw: raw, members: members}
	isError, _ := r.Get("isError")
	r.IsError = string(isError) == "true"
	return r, nil
}

// With returns the result with another text, of which all else that is known of it
// holds: whether it is an error too. raw must be an object and have passed
// [rawjson.Check].
func (r *Result) With(raw json.RawMessage) *Result {
	out := *r
	out.Raw, out.members = raw, listed(raw)
	return &out
}

// Alone returns a copy of the result for keeping: what it came in, which may be much
// longer, and where its members are go as soon as the result itself does.
func (r *Result) Alone() *Result {
	out := *r
	out.Raw, out.members = bytes.Clone(r.Raw), nil
	return &out
}

// listed returns the members of an object; nil if there are too many.
func listed(raw json.RawMessage) []rawjson.Member {
	members := make([]rawjson.Member, 0, 4)
	for m := range rawjson.Members(raw) {
		if len(members) == maxIndexed {
			return nil
		}
		members = append(members, m)
	}
	return members
}

// Get returns the value of the member called name.
func (r *Result) Get(name string) (json.RawMessage, bool) {
	if r.members == nil {
		return rawjson.Get(r.Raw, name)
	}
	for _, m := range r.members {
		if m.Name == name {
			return m.Value, true
		}
	}
	return nil, false
}

// TextResult builds a result of one text item.
func TextResult(text string, isError bool) *Result {
	return newResult([]any{textItem(text)}, nil, isError)
}

// StructuredResult builds a result that says the same twice: as structured
// content and as its JSON text, because some hosts show the model only the one
// and some only the other. v must marshal to a JSON object.
func StructuredResult(v any) (*Result, error) {
	raw, err := rawjson.Marshal(v)
	if err != nil {
		return nil, err
	}
	return JSONResult(raw), nil
}

// RefusedResult builds a failed result of what was refused, in words, and of what
// the upstream answered all the same, as content and as structured content. object
// must have passed [rawjson.Check].
func RefusedResult(said string, object json.RawMessage) *Result {
	return newResult([]any{textItem(said), textItem(string(object))}, object, true)
}

// JSONResult is [StructuredResult] of an object that is there as text already and
// has passed [rawjson.Check]. Space between its tokens is left out.
func JSONResult(object json.RawMessage) *Result {
	const head, mid = `{"content":[{"type":"text","text":"`, `"}],"structuredContent":`
	buf := append(make([]byte, 0, len(head)+len(mid)+2*len(object)+len(object)/4+1), head...)
	buf, tight := appendCompact(buf, object, true)
	content := len(buf) + len(`"}]`)
	buf = append(buf, mid...)
	from := len(buf)
	if tight {
		buf = append(buf, object...)
	} else {
		buf, _ = appendCompact(buf, object, false)
	}
	to := len(buf)
	buf = append(buf, '}')
	return &Result{Raw: buf, members: []rawjson.Member{
		{Name: "content", Value: buf[len(`{"content":`):content:content], Start: 1, End: content},
		{Name: "structuredContent", Value: buf[from:to:to], Start: content + 1, End: to},
	}}
}

// appendCompact appends JSON text without space between its tokens; quoted, as
// the inside of a string. In checked text no string has a control character, so
// that only two characters need an escape. It reports whether there was no space.
// Byte by byte is fastest: names and most values are short.
func appendCompact(buf, v []byte, quoted bool) (_ []byte, tight bool) {
	inside, tight := false, true
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == '"':
			inside = !inside
			if quoted {
				buf = append(buf, '\\')
			}
		case c == '\\': // and what it escapes
			if quoted {
				buf = append(buf, '\\')
			}
			if i++; i == len(v) {
				return append(buf, c), tight
			}
			buf = append(buf, c)
			if c = v[i]; quoted && (c == '"' || c == '\\') {
				buf = append(buf, '\\')
			}
		case c <= ' ' && !inside:
			tight = false
			continue
		}
		buf = append(buf, c)
	}
	return buf, tight
}

type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func textItem(s string) text { return text{"text", s} }

func newResult(content []any, structured json.RawMessage, isError bool) *Result {
	raw, err := rawjson.Marshal(struct {
		Content    []any           `json:"content"`
		Structured json.RawMessage `json:"structuredContent,omitempty"`
		IsError    bool            `json:"isError,omitempty"`
	}{content, structured, isError})
	if err != nil { // the parts are strings and JSON that rawjson.Marshal has made
		panic("upstream: result does not marshal: " + err.Error())
	}
	return &Result{Raw: raw, IsError: isError}
}
