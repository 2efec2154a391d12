package upstream

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Result is what a tool answered.
type Result struct {
	Raw     json.RawMessage // the whole result object, as the upstream sent it
	IsError bool            // result.isError
}

// ParseResult wraps the result object of an upstream. raw must have passed
// [rawjson.Check].
func ParseResult(raw json.RawMessage) (*Result, error) {
	if rawjson.Kind(raw) != '{' {
		return nil, fmt.Errorf("the result is not an object: %.40s", raw)
	}
	r := &Result{Raw: raw}
	if v, ok := rawjson.Get(raw, "isError"); ok {
		r.IsError = string(bytes.TrimSpace(v)) == "true"
	}
	return r, nil
}

// TextResult builds a result of one text item.
func TextResult(text string, isError bool) *Result {
	return newResult([]any{textItem(text)}, nil, isError)
}

// StructuredResult builds a result that says the same twice: as structured
// content and as its JSON text, because some hosts show the model only the one
// and some only the other. v must marshal to a JSON object.
func StructuredResult(v any) (*Result, error) {
	raw, err := marshal(v)
	if err != nil {
		return nil, err
	}
	return newResult([]any{textItem(string(raw))}, raw, false), nil
}

type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func textItem(s string) text { return text{"text", s} }

func newResult(content []any, structured json.RawMessage, isError bool) *Result {
	raw, err := marshal(struct {
		Content    []any           `json:"content"`
		Structured json.RawMessage `json:"structuredContent,omitempty"`
		IsError    bool            `json:"isError,omitempty"`
	}{content, structured, isError})
	if err != nil { // the parts are strings and JSON that marshal has made
		panic("upstream: result does not marshal: " + err.Error())
	}
	return &Result{Raw: raw, IsError: isError}
}

// marshal is json.Marshal without the HTML escaping, which would change what
// an upstream said.
func marshal(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
