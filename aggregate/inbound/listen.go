package inbound

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// signal is a mark that something changed since it was last looked at. Marks
// set in between count as one.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// filter is what a subscriptions/listen request asks for, or is granted.
type filter struct{ aggregate.Subscription }

// listNames are the members of a filter that ask for changes of lists.
var listNames = []struct {
	list upstream.List
	name string
}{
	{upstream.Tools, "toolsListChanged"},
	{upstream.Prompts, "promptsListChanged"},
	{upstream.Resources, "resourcesListChanged"},
}

const (
	resourceFilter = "resourceSubscriptions"
	taskFilter     = "taskIds"
)

// readFilter reads the filter of a request. Kinds that we do not know are not
// granted.
func readFilter(m *message) (f filter, fault *upstream.RPCError) {
	raw, ok := rawjson.Get(m.params, "notifications")
	if !ok || rawjson.Kind(raw) != '{' {
		return f, badParams("params.notifications is required and must be an object")
	}
	known := []string{resourceFilter, taskFilter}
	for _, l := range listNames {
		known = append(known, l.name)
	}
	for member := range rawjson.Members(raw) {
		if e := wrongCase("params.notifications.", member.Name, known); e != nil {
			return f, e
		}
	}
	for _, l := range listNames {
		want, ok := rawjson.Get(raw, l.name)
		k := rawjson.Kind(want)
		if ok && k != 't' && k != 'f' {
			return f, badParams("params.notifications.%s must be a boolean", l.name)
		}
		if k == 't' {
			f.Lists = append(f.Lists, l.list)
		}
	}
	if f.Resources, fault = readKeys(raw, resourceFilter); fault == nil {
		f.Tasks, fault = readKeys(raw, taskFilter)
	}
	return f, fault
}

// readKeys reads an array of strings, each of which counts once.
func readKeys(raw json.RawMessage, name string) (keys []string, fault *upstream.RPCError) {
	list, ok := rawjson.Get(raw, name)
	if !ok {
		return nil, nil
	}
	bad := badParams("params.notifications.%s must be an array of at most %d strings", name, maxWatched)
	if rawjson.Kind(list) != '[' {
		return nil, bad
	}
	seen := make(map[string]bool)
	for e := range rawjson.Elements(list) {
		if rawjson.Kind(e) != '"' || len(keys) == maxWatched {
			return nil, bad
		}
		if key := rawjson.String(e); !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// of returns what of f is in granted, as the object of the acknowledgement.
func (f filter) of(granted aggregate.Subscription) json.RawMessage {
	out := json.RawMessage("{}")
	add := func(name string, value any) {
		text, err := json.Marshal(value)
		if err == nil {
			out, _ = rawjson.Add(out, name, text)
		}
	}
	for _, l := range listNames {
		if slices.Contains(f.Lists, l.list) && slices.Contains(granted.Lists, l.list) {
			add(l.name, true)
		}
	}
	for _, k := range []struct {
		name         string
		want, grants []string
	}{{resourceFilter, f.Resources, granted.Resources}, {taskFilter, f.Tasks, granted.Tasks}} {
		given := make(map[string]bool)
		for _, key := range k.grants {
			given[key] = true
		}
		if both := slices.DeleteFunc(slices.Clone(k.want), func(key string) bool { return !given[key] }); len(both) > 0 {
			add(k.name, both)
		}
	}
	return out
}

// listen serves a subscriptions/listen request (MCP 2026-07-28, subscriptions):
// an acknowledgement of what is granted, a notification for each change, and a
// result when the stream is to end. One that is granted nothing stays open too:
// a client that saw it end would open the next. It returns nil if ctx ends first
// or the stream fails.
func listen(ctx context.Context, r *request) *reply {
	want, fault := readFilter(r.message)
	if fault != nil {
		return &reply{id: r.id, err: fault}
	}
	meta := slices.Concat([]byte(`{"`+mcp.MetaKeySubscriptionID+`":`), r.id, []byte("}"))
	var box mailbox
	changed := newSignal()
	box.attach(&reader{wake: changed.set})
	// Before the acknowledgement: from then on no change may be missed.
	granted, cancel := r.follow(ctx, want, &box)
	defer cancel()
	ack := slices.Concat([]byte(`{"notifications":`), want.of(granted), []byte(`,"_meta":`), meta, closingBrace)
	if r.to.push(pieces{noteText("notifications/subscriptions/acknowledged", ack)}) != nil {
		return nil
	}
	if _, ended := relay(ctx, &box, changed, r.to); !ended {
		return nil
	}
	return &reply{id: r.id, result: slices.Concat([]byte(`{"resultType":"complete","_meta":`), meta, closingBrace)}
}

// follow has the notices that want asks for put into box, with the id of the
// subscription in each.
func (r *request) follow(ctx context.Context, want filter, box *mailbox) (granted aggregate.Subscription, cancel func()) {
	ctx, done := context.WithTimeout(ctx, subscribeWait)
	defer done()
	want.Principal = r.by
	want.Tell = func(n aggregate.Notice) {
		if params, err := tagged(n.Params, r.id); err == nil {
			box.put(mail{key: mailKey{n.Method, n.Key}, text: noteText(n.Method, params)})
		}
	}
	return r.service.Subscribe(ctx, want.Subscription)
}

// tagged returns the params of a notification with the id of a subscription in
// their _meta, where other members stay.
func tagged(params, id json.RawMessage) (json.RawMessage, error) {
	if params == nil {
		params = json.RawMessage("{}")
	}
	meta, _ := rawjson.Get(params, "_meta")
	if rawjson.Kind(meta) != '{' {
		meta = json.RawMessage("{}")
	}
	meta, err := rawjson.Set(meta, mcp.MetaKeySubscriptionID, id)
	if err != nil {
		return nil, err
	}
	return rawjson.Set(params, "_meta", meta)
}

// relay sends what comes into box until the stream is to end, which it reports,
// or ctx ends or the stream fails. It returns what it took and could not send.
func relay(ctx context.Context, box *mailbox, changed signal, to stream) (untold []mail, ended bool) {
	for {
		select {
		case <-changed:
			for all := box.collect(); len(all) > 0; all = all[1:] {
				if to.push(pieces{all[0].text}) != nil {
					return all, false
				}
			}
		case <-to.beats():
			if to.alive() != nil {
				return nil, false
			}
		case <-to.ending():
			return nil, true
		case <-ctx.Done():
			return nil, false
		}
	}
}
