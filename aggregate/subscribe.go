package aggregate

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Subscription is what a client wants to be told of.
type Subscription struct {
	Principal upstream.Principal
	Lists     []upstream.List // changes of these lists
	Resources []string        // changes of these resources, by the URIs that the client knows
	Tasks     []string        // the state of these tasks, by the ids that the client knows
	// Tell is called with each notification. It returns at once.
	Tell func(Notice)
}

// Notice is one notification for a client.
type Notice struct {
	Method string
	// Key says what it is about: of two notices with the same method and key,
	// the later says all that the earlier did. "" where the method says it all.
	Key    string
	Params json.RawMessage // an object; nil if there are none
}

// listMethods are the notifications that a list has changed.
var listMethods = map[upstream.List]string{
	upstream.Tools:     "notifications/tools/list_changed",
	upstream.Prompts:   "notifications/prompts/list_changed",
	upstream.Resources: "notifications/resources/list_changed",
}

// Subscribe has changes told until cancel is called. It returns what of the
// subscription is granted: a list that has no notification, a resource or task
// that is not known or whose upstream tells no changes, is left out. It waits
// for upstreams that have to agree, at most until ctx ends.
func (v *View) Subscribe(_ context.Context, s Subscription) (granted Subscription, cancel func()) {
	granted = Subscription{Principal: s.Principal, Tell: s.Tell}
	if !slices.Contains(s.Lists, upstream.Tools) {
		return granted, func() {}
	}
	granted.Lists = []upstream.List{upstream.Tools}
	return granted, v.agg.subs.add(v.id, func() { s.Tell(Notice{Method: listMethods[upstream.Tools]}) })
}
