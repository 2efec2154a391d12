package inbound

import (
	"context"
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

// wantsToolChanges reads the filter of a subscriptions/listen request. Kinds
// that we do not serve yet are not granted.
func wantsToolChanges(m *message) (bool, *upstream.RPCError) {
	filter, ok := rawjson.Get(m.params, "notifications")
	if !ok || rawjson.Kind(filter) != '{' {
		return false, badParams("params.notifications is required and must be an object")
	}
	for f := range rawjson.Members(filter) {
		if e := wrongCase("params.notifications.", f.Name, []string{"toolsListChanged"}); e != nil {
			return false, e
		}
	}
	want, ok := rawjson.Get(filter, "toolsListChanged")
	if k := rawjson.Kind(want); ok && k != 't' && k != 'f' {
		return false, badParams("params.notifications.toolsListChanged must be a boolean")
	}
	return rawjson.Kind(want) == 't', nil
}

// listen serves a subscriptions/listen request (MCP 2026-07-28, subscriptions):
// an acknowledgement of what is granted, a notification for each change, and a
// result when the stream is to end. One that is granted nothing stays open too:
// a client that saw it end would open the next. It returns nil if ctx ends first
// or the stream fails.
func listen(ctx context.Context, r *request) *reply {
	tools, fault := wantsToolChanges(r.message)
	if fault != nil {
		return &reply{id: r.id, err: fault}
	}
	meta := slices.Concat([]byte(`{"`+mcp.MetaKeySubscriptionID+`":`), r.id, []byte("}"))
	done := &reply{id: r.id, result: slices.Concat([]byte(`{"resultType":"complete","_meta":`), meta, []byte("}"))}
	granted := "{}"
	changed := newSignal()
	if tools {
		granted = `{"toolsListChanged":true}`
		// Before the acknowledgement: from then on no change may be missed.
		defer follow(ctx, r.service, r.by, changed.set)()
	}
	ack := slices.Concat([]byte(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":`+granted+`,"_meta":`), meta, []byte("}}"))
	if r.to.push(pieces{ack}) != nil {
		return nil
	}
	note := slices.Concat([]byte(`{"jsonrpc":"2.0","method":"`+listChanged+`","params":{"_meta":`), meta, []byte("}}"))
	if !relay(ctx, changed, note, r.to) {
		return nil
	}
	return done
}

// follow has notify called whenever the list of tools changed.
func follow(ctx context.Context, svc Service, by upstream.Principal, notify func()) (cancel func()) {
	_, cancel = svc.Subscribe(ctx, aggregate.Subscription{
		Principal: by, Lists: []upstream.List{upstream.Tools}, Tell: func(aggregate.Notice) { notify() },
	})
	return cancel
}

// relay sends note for each change until the stream is to end, which
// it reports, or ctx ends or the stream fails.
func relay(ctx context.Context, changed signal, note []byte, to stream) bool {
	for {
		select {
		case <-changed:
			if to.push(pieces{note}) != nil {
				changed.set() // it was not told
				return false
			}
		case <-to.beats():
			if to.alive() != nil {
				return false
			}
		case <-to.ending():
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// legacyListChanged is the notification as sessions get it that did not
// subscribe to anything.
func legacyListChanged() []byte {
	return []byte(`{"jsonrpc":"2.0","method":"` + listChanged + `"}`)
}
