package aggregate

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The revisions that brought a kind of content. Revisions are dates, and sort
// like them.
const (
	revisionAudio = "2025-03-26"
	revisionLinks = "2025-06-18"
)

const memberStructured = "structuredContent"

// older returns a result as a client of a revision before 2026-07-28 can read
// it: there structured content is an object (MCP schema, CallToolResult), so
// that another is said by a text, and the earliest do not know every kind of
// content. version is "" where it is not known, which then may be any.
func older(res *upstream.Result, raw json.RawMessage, version string) json.RawMessage {
	if structured, ok := res.Get(memberStructured); ok && rawjson.Kind(structured) != '{' {
		raw = rawjson.Delete(raw, memberStructured)
		if !saidByText(res) {
			content, _ := res.Get("content")
			raw = set(raw, "content", array(slices.Insert(slices.Collect(rawjson.Elements(content)), 0, textPart(string(structured)))))
		}
	}
	if version == "" || version >= revisionLinks || !mentions(raw, "resource_link", "audio") {
		return raw
	}
	fit := func(part json.RawMessage) json.RawMessage { return olderPart(part, version) }
	raw = replace(raw, "content", func(parts json.RawMessage) json.RawMessage { return mapElements(parts, fit) }) // of a tool
	return replace(raw, "messages", func(messages json.RawMessage) json.RawMessage {                              // of a prompt
		return mapElements(messages, func(m json.RawMessage) json.RawMessage { return replace(m, "content", fit) })
	})
}

// saidByText reports whether a text of a result, or all of them, say what its
// structured content says.
func saidByText(res *upstream.Result) bool {
	again := repeating(res)
	said, _ := contentOf(res)
	for i, item := range said {
		if text, _ := rawjson.GetString(item, "text"); isText(item) && again(i, text) {
			return true
		}
	}
	return false
}

// olderPart returns one content item as a text where the revision does not know
// its kind.
func olderPart(part json.RawMessage, version string) json.RawMessage {
	switch typ, _ := rawjson.GetString(part, "type"); {
	case typ == "resource_link":
		uri, _ := rawjson.GetString(part, "uri")
		name, _ := rawjson.GetString(part, "name")
		return textPart(fmt.Sprintf("[resource %s: %s]", Printable(name, maxURI), Printable(uri, maxLink)))
	case typ == "audio" && version < revisionAudio:
		mime, _ := rawjson.GetString(part, "mimeType")
		data, _ := rawjson.GetString(part, "data")
		return textPart(fmt.Sprintf("[audio, %s, %d bytes in base64, which this client does not take]", Printable(mime, maxURI), len(data)))
	}
	return part
}

// maxLink is how much of a link's address is shown, in bytes: whoever reads it
// may want to read what it leads to.
const maxLink = 2 << 10

// olderTool returns the definition of a tool as a client of a revision before
// 2026-07-28 can read it: there an output schema describes an object (MCP
// schema, Tool), and hosts drop the whole list over another.
func olderTool(raw []byte) []byte {
	if !mentions(raw, "outputSchema") {
		return raw
	}
	schema, ok := rawjson.Get(raw, "outputSchema")
	if typ, _ := rawjson.GetString(schema, "type"); !ok || typ == "object" {
		return raw
	}
	return rawjson.Delete(raw, "outputSchema")
}
