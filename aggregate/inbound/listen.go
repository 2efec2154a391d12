package inbound

import (
	"context"
	"slices"

	"github.com/mark3labs/mcp-go/mcp"

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
// result when closing is closed. It returns nil if ctx ends first or to fails.
func (s *Server) listen(ctx context.Context, r *request, to sink, closing <-chan struct{}) *reply {
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
		defer r.service.Subscribe(changed.set)()
	}
	ack := slices.Concat([]byte(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":`+granted+`,"_meta":`), meta, []byte("}}"))
	if to.push(ack) != nil {
		return nil
	}
	if !tools {
		return done // nothing will ever come
	}
	note := slices.Concat([]byte(`{"jsonrpc":"2.0","method":"`+listChanged+`","params":{"_meta":`), meta, []byte("}}"))
	for {
		select {
		case <-changed:
			// push may write the text or keep it: it gets its own copy.
			if to.push(slices.Clone(note)) != nil {
				return nil
			}
		case <-to.beats():
			if to.alive() != nil {
				return nil
			}
		case <-closing:
			return done
		case <-ctx.Done():
			return nil
		}
	}
}

// legacyListChanged is the notification as sessions get it that did not
// subscribe to anything.
func legacyListChanged() []byte {
	return []byte(`{"jsonrpc":"2.0","method":"` + listChanged + `"}`)
}
