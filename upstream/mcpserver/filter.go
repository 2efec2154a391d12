package mcpserver

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The members of a filter that hold topics (MCP 2026-07-28, subscriptions,
// §Notification Filter; extension tasks).
const (
	filterResources = "resourceSubscriptions"
	filterTasks     = "taskIds"
)

// listenParams returns the params of a subscriptions/listen for every list that
// the server announces, and for topics.
func listenParams(p *peer, topics map[upstream.Topic]*interest) []byte {
	var b bytes.Buffer
	sep := `"notifications":{`
	member := func(name string, value []byte) {
		b.WriteString(sep + `"` + name + `":`)
		b.Write(value)
		sep = ","
	}
	for name, on := range map[string]bool{
		"toolsListChanged": p.offers.toolsChanged, "promptsListChanged": p.offers.promptsChanged,
		"resourcesListChanged": p.offers.resourcesChanged,
	} {
		if on {
			member(name, []byte("true"))
		}
	}
	meta := p.meta
	if uris := keysOf(topics, upstream.NoteUpdated); uris != nil {
		member(filterResources, uris)
	}
	if ids := keysOf(topics, upstream.NoteTask); ids != nil {
		member(filterTasks, ids)
		meta = withTasks(meta)
	}
	if sep != "," {
		b.WriteString(sep)
	}
	b.WriteString("}")
	return ownParams(b.String(), meta)
}

// keysOf returns the keys of the topics of one notification as a JSON array,
// sorted; nil if there are none.
func keysOf(topics map[upstream.Topic]*interest, note string) []byte {
	var out []byte
	byKey := func(a, b upstream.Topic) int { return cmp.Compare(a.Key, b.Key) }
	for _, t := range slices.SortedFunc(maps.Keys(topics), byKey) {
		if t.Note == note {
			out = append(append(out, ','), rawjson.Quote(t.Key)...)
		}
	}
	if out == nil {
		return nil
	}
	out[0] = '['
	return append(out, ']')
}

// withTasks declares the extension without which no task may be listened to
// (extension tasks, §Error Handling). Nothing else is declared on this request.
func withTasks(meta []byte) []byte {
	obj := slices.Concat([]byte("{"), meta, []byte("}"))
	out, err := rawjson.Set(obj, mcp.MetaKeyClientCapabilities, []byte(`{"extensions":{"`+extTasks+`":{}}}`))
	if err != nil {
		return meta
	}
	return out[1 : len(out)-1]
}

// readFilter returns the topics of a filter that a server has granted.
func readFilter(granted json.RawMessage) map[upstream.Topic]bool {
	topics := map[upstream.Topic]bool{}
	for _, uri := range stringList(granted, filterResources) {
		topics[upstream.Topic{Note: upstream.NoteUpdated, Key: uri}] = true
	}
	for _, id := range stringList(granted, filterTasks) {
		topics[upstream.Topic{Note: upstream.NoteTask, Key: id}] = true
	}
	return topics
}
