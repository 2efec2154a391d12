package mcpserver

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The notifications that say that a list has changed, or that a stream of
// notifications has begun.
const (
	noteToolsChanged     = "notifications/tools/list_changed"
	notePromptsChanged   = "notifications/prompts/list_changed"
	noteResourcesChanged = "notifications/resources/list_changed"
	noteAcknowledged     = "notifications/subscriptions/acknowledged"
)

const maxNote = 64 << 10 // bytes of the params of one notification

// notified takes the notifications of every link, msg being the whole text,
// which has not been checked yet. It never blocks: it runs on the goroutine that
// reads answers.
func (a *Adapter) notified(method string, msg []byte) {
	switch method {
	case noteToolsChanged:
		a.changes.add(upstream.Tools)
	case notePromptsChanged:
		a.changes.add(upstream.Prompts)
	case noteResourcesChanged:
		a.changes.add(upstream.Resources, upstream.Templates)
	case methodProgress:
		a.progress.take(msg)
	case noteAcknowledged:
		a.subs.acknowledged(msg)
	case upstream.NoteUpdated:
		a.note(method, "uri", msg)
	case upstream.NoteTask:
		a.note(method, "taskId", msg)
	case upstream.NoteElicited:
		a.note(method, "elicitationId", msg)
	}
}

// note passes a notification on if its params name what it is about. The reader
// uses its buffer again, so they are copied.
func (a *Adapter) note(method, key string, msg []byte) {
	tell := a.tell.Load()
	if tell == nil || tell.Note == nil {
		return
	}
	params, _ := rawjson.Get(msg, "params")
	if len(params) > maxNote || rawjson.Kind(params) != '{' || rawjson.Check(params, rawjson.Limits{}) != nil {
		a.opt.Log.Debug("unusable notification dropped", "upstream", a.opt.ID, "method", method, "bytes", len(params))
		return
	}
	if what, _ := rawjson.GetString(params, key); what == "" {
		a.opt.Log.Debug("notification about nothing dropped", "upstream", a.opt.ID, "method", method)
		return
	}
	tell.Note(method, withoutStream(bytes.Clone(params)))
}

// withoutStream removes the id of the stream that a notification came on, which
// means nothing beyond the next hop.
func withoutStream(params json.RawMessage) json.RawMessage {
	meta, _ := rawjson.Get(params, "_meta")
	rest := rawjson.Delete(meta, mcp.MetaKeySubscriptionID)
	if len(rest) == len(meta) {
		return params
	}
	for range rawjson.Members(rest) { // there is more in it
		out, _ := rawjson.Set(params, "_meta", rest)
		return out
	}
	return rawjson.Delete(params, "_meta")
}

// changes are the lists whose change has not been told yet.
type changes struct {
	wake  chan struct{} // capacity 1: there are some
	mu    sync.Mutex
	lists []upstream.List
}

func newChanges() *changes { return &changes{wake: make(chan struct{}, 1)} }

func (c *changes) add(lists ...upstream.List) {
	c.mu.Lock()
	for _, l := range lists {
		if !slices.Contains(c.lists, l) {
			c.lists = append(c.lists, l)
		}
	}
	c.mu.Unlock()
	wake(c.wake)
}

func (c *changes) take() []upstream.List {
	c.mu.Lock()
	defer c.mu.Unlock()
	lists := c.lists
	c.lists = nil
	return lists
}

// wake tells whoever waits on a channel of capacity 1 that there is something
// to do.
func wake(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it knows
	}
}
