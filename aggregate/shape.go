package aggregate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// toolReadMore is the tool that hands out what was held back.
const toolReadMore = ownPrefix + "read_more"

// shapes bounds what is answered at once, and leaves out of the results of a
// member's tools what the operator does not want to be shown.
type shapes struct {
	max   int // bytes
	rests *restStore
	rules map[string]*shaping.Shaper // by the upstream's own name of the tool
	log   *slog.Logger
	told  sync.Map // what was logged already: a line for each answer would say nothing more
}

// Layer is the middleware. Of a tool's result that is too long it answers what
// fits, with a notice, and keeps the rest for bulkhead_read_more. A result within
// the limit, of which nothing is to be left out, passes untouched.
func (s *shapes) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		res, err := next(ctx, c)
		if err != nil {
			return res, err
		}
		tool := c.Tool != nil && res.Type == upstream.Final
		if tool && s.rules != nil {
			if rule := s.rules[c.Tool.Name]; rule != nil {
				return s.ruled(ctx, rule, c, res)
			}
		}
		switch {
		case len(res.Raw) <= s.max:
			return res, nil
		case !tool:
			return whole(res, c, s.max)
		}
		if limit := max(s.max, declared(c)); len(res.Raw) > limit {
			return s.cut(res, c, limit, hasOutputSchema(c.Tool))
		}
		return res, nil
	}
}

// wholeFactor is how many times the limit a result may have that cannot be cut:
// only a tool's content is text that a model may read in pieces.
const wholeFactor = 8

// whole refuses a result that is too long and must not be cut.
func whole(res *upstream.Result, c *upstream.Call, limit int) (*upstream.Result, error) {
	if len(res.Raw) <= wholeFactor*limit {
		return res, nil
	}
	return nil, &upstream.Error{
		Upstream: c.Upstream, Tool: c.Name, Kind: upstream.UpstreamError, Sent: true,
		Public: fmt.Sprintf("its answer of %d bytes is longer than the %d that may be handed on in one piece (%d times server.max_result)",
			len(res.Raw), wholeFactor*limit, wholeFactor),
	}
}

// A tool may declare how long results the host is to take in (Claude Code
// 2.1.91 and later, which takes 500,000 characters at most).
const (
	memberMaxResult = "anthropic/maxResultSizeChars"
	mostDeclared    = 500_000
)

// declared returns how many bytes of the tool's results its host takes because
// the tool says so; 0 if it says nothing or the host does not ask.
func declared(c *upstream.Call) int {
	if h, ok := HostOf(c.Client); !ok || !h.DeclaredResults {
		return 0
	}
	meta, _ := rawjson.Get(c.Tool.Raw, "_meta")
	value, _ := rawjson.Get(meta, memberMaxResult)
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil || n < 0 {
		return 0
	}
	return int(min(n, mostDeclared))
}

// cut splits a result into its first limit bytes of content and the rest. promised
// says that the client knows of an output schema.
func (s *shapes) cut(res *upstream.Result, c *upstream.Call, limit int, promised bool) (*upstream.Result, error) {
	said, notes := contentOf(res)
	parts := contentParts(said, limit)
	structured, hasStructured := res.Get(memberStructured)
	switch {
	case !hasStructured:
	case len(parts) == 0:
		parts = []json.RawMessage{textPart(string(structured))}
	default: // the text items say the same, or the model reads it after them
		if !repeats(parts, structured) {
			parts = append(parts, textPart(string(structured)))
		}
	}
	envelope := rawjson.Delete(res.Raw, "content", memberStructured)
	if len(envelope) > limit/4 { // members of no known use to the model
		parts = append(parts, textPart(string(envelope)))
		envelope = []byte("{}")
		if res.IsError {
			envelope = []byte(`{"isError":true}`)
		}
	}
	shown, rest := split(parts, limit)
	if len(rest) == 0 { // only longer for saying the same twice, or by its braces and spaces
		var tight bytes.Buffer
		if err := json.Compact(&tight, res.Raw); err != nil {
			return nil, upstream.AsError(c.Upstream, c.Name, err)
		}
		return res.With(tight.Bytes()), nil
	}
	handle := s.rests.put(owner(c), rest, limit)
	notes = append(notes, textPart(notice(c, len(res.Raw), handle, res.IsError)))
	out := res.With(set(envelope, "content", array(append(shown, notes...))))
	out.Marks.Notes = len(notes)
	out.Marks.Cut = res.Marks.Cut || !referable(res, out, rest)
	out.Marks.Undeclared = hasStructured && promised
	return out, nil
}

// referable reports whether the value of a result is still all there after it was
// cut and the rest left out.
func referable(res, cut *upstream.Result, rest []json.RawMessage) bool {
	left := valueOf(cut)
	structured, ok := res.Get(memberStructured)
	switch {
	case ok:
		return rawjson.Kind(left) == rawjson.Kind(structured) && shaping.Same(left, structured)
	case rawjson.Kind(left) == '"': // words, of which there may be megabytes: no more than what is left
		return string(left) != `""` && !slices.ContainsFunc(rest, isText)
	}
	return shaping.Same(left, valueOf(res))
}

func notice(c *upstream.Call, total int, handle string, failed bool) string {
	did := "The call succeeded, but its"
	if failed {
		did = "The"
	}
	more := "The rest is too large to keep; ask for less."
	if handle != "" {
		more = fmt.Sprintf(`For the rest call %s with {"handle":%q}.`, toolReadMore, handle)
	}
	return fmt.Sprintf("[truncated: %s: %s result of %d bytes is longer than one answer may be. %s]",
		c.Upstream, did, total, more)
}

func hasOutputSchema(t *upstream.Tool) bool {
	_, ok := rawjson.Get(t.Raw, "outputSchema")
	return ok
}

// contentParts returns the items of a content. A text in an embedded
// resource that is longer than limit bytes becomes an item of text behind one
// that names the resource, because only text can be cut.
func contentParts(content []json.RawMessage, limit int) []json.RawMessage {
	var parts []json.RawMessage
	for _, item := range content {
		if len(item) > limit {
			resource, _ := rawjson.Get(item, "resource")
			if text, ok := rawjson.GetString(resource, "text"); ok {
				uri, _ := rawjson.GetString(resource, "uri")
				parts = append(parts, textPart("[resource "+Printable(uri, maxURI)+"]"), textPart(text))
				continue
			}
		}
		parts = append(parts, item)
	}
	return parts
}

// maxURI is how much of a resource's address is shown, in bytes.
const maxURI = 200

// repeats reports whether one of the text items is the JSON of structured,
// however it is indented.
func repeats(parts []json.RawMessage, structured json.RawMessage) bool {
	var want, got bytes.Buffer
	if json.Compact(&want, structured) != nil {
		return false
	}
	for _, p := range parts {
		text, ok := rawjson.GetString(p, "text")
		if !ok || len(text) < want.Len() {
			continue
		}
		if got.Reset(); json.Compact(&got, []byte(text)) == nil && bytes.Equal(got.Bytes(), want.Bytes()) {
			return true
		}
	}
	return false
}

// split returns the items that fit into limit bytes, cutting a text item where
// the limit falls into it, and the items that do not.
func split(parts []json.RawMessage, limit int) (shown, rest []json.RawMessage) {
	for i, p := range parts {
		if len(p) <= limit {
			shown, limit = append(shown, p), limit-len(p)
			continue
		}
		head, tail := splitText(p, limit)
		if head != nil {
			shown = append(shown, head)
		} else {
			tail = p
		}
		rest = append(rest, tail)
		return shown, append(rest, parts[i+1:]...)
	}
	return shown, nil
}

// minCut is the least text worth a piece of its own, in bytes.
const minCut = 256

// splitText cuts a text item so that its first piece, as JSON, has at most
// limit bytes. head is nil if the item is no text or the limit too small to cut.
func splitText(item json.RawMessage, limit int) (head, tail json.RawMessage) {
	if limit < minCut || !isText(item) {
		return nil, nil
	}
	text, _ := rawjson.GetString(item, "text")
	at := fitting(text, limit)
	if at == 0 || at == len(text) {
		return nil, nil
	}
	return textPart(text[:at]), textPart(text[at:])
}

func isText(item json.RawMessage) bool {
	typ, _ := rawjson.GetString(item, "type")
	text, _ := rawjson.Get(item, "text")
	return typ == "text" && rawjson.Kind(text) == '"'
}

// fitting returns how much of text, in bytes, fits into a text item of at most
// limit bytes.
func fitting(text string, limit int) int {
	at, size := 0, len(textPart(""))
	for i, r := range text {
		if size += quotedLen(r); size > limit {
			return at
		}
		at = i + utf8.RuneLen(r)
	}
	return at
}

// quotedLen returns how many bytes a character takes in a JSON string.
func quotedLen(r rune) int {
	switch {
	case r == '"', r == '\\', r == '\n', r == '\r', r == '\t', r == '\b', r == '\f':
		return 2
	case r < 0x20, r == 0x2028, r == 0x2029:
		return len(`\u2028`)
	}
	return utf8.RuneLen(r)
}

func textPart(text string) json.RawMessage {
	return fmt.Appendf(nil, `{"type":"text","text":%s}`, rawjson.Quote(text))
}

func array(items []json.RawMessage) []byte {
	out := []byte{'['}
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	return append(out, ']')
}
