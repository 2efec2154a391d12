package mcpserver

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

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
		a.news.changed(upstream.Tools)
	case notePromptsChanged:
		a.news.changed(upstream.Prompts)
	case noteResourcesChanged:
		a.news.changed(upstream.Resources, upstream.Templates)
	case methodProgress:
		a.progress.take(msg)
	case noteAcknowledged:
		a.subs.acknowledged(msg)
	case upstream.NoteUpdated:
		a.news.note(method, "uri", msg)
	case upstream.NoteTask:
		a.news.note(method, "taskId", msg)
	case upstream.NoteElicited:
		a.news.note(method, "elicitationId", msg)
	}
}

// note passes a notification on if its params name what it is about. The reader
// uses its buffer again, so they are copied.
func (n *news) note(method, key string, msg []byte) {
	tell := n.tell.Load()
	if tell == nil || tell.Note == nil {
		return
	}
	params, _ := rawjson.Get(msg, "params")
	if len(params) > maxNote || rawjson.Kind(params) != '{' || rawjson.Check(params, rawjson.Limits{}) != nil {
		n.opt.Log.Debug("unusable notification dropped", "upstream", n.opt.ID, "method", method, "bytes", len(params))
		return
	}
	if what, _ := rawjson.GetString(params, key); what == "" {
		n.opt.Log.Debug("notification about nothing dropped", "upstream", n.opt.ID, "method", method)
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

// news is what the upstream says of its own accord, on the way to whoever
// watches. Notifications are passed on at once; changes of lists, which servers
// tell in bursts, wait to be taken.
type news struct {
	opt  *Options
	tell atomic.Pointer[upstream.Events] // of the running Watch; nil if none
	wake chan struct{}                   // capacity 1: some list has changed

	mu    sync.Mutex
	lists []upstream.List // that have changed
}

func newNews(o *Options) *news { return &news{opt: o, wake: make(chan struct{}, 1)} }

func (n *news) changed(lists ...upstream.List) {
	n.mu.Lock()
	for _, l := range lists {
		if !slices.Contains(n.lists, l) {
			n.lists = append(n.lists, l)
		}
	}
	n.mu.Unlock()
	wake(n.wake)
}

// take returns the lists that have changed since it was last called.
func (n *news) take() []upstream.List {
	n.mu.Lock()
	defer n.mu.Unlock()
	lists := n.lists
	n.lists = nil
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
