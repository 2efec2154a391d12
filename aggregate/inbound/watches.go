package inbound

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	methodSubscribe   = "resources/subscribe"
	methodUnsubscribe = "resources/unsubscribe"

	maxWatched    = 1000             // resources, and tasks, that a client may subscribe to at once
	subscribeWait = 10 * time.Second // for upstreams to agree to a subscription
)

// changingLists are the lists whose changes clients are told.
func changingLists() []upstream.List {
	return []upstream.List{upstream.Tools, upstream.Prompts, upstream.Resources}
}

// watches are the subscriptions of one legacy client. The zero value is ready
// for use.
type watches struct {
	mu        sync.Mutex
	closed    bool
	lists     *watch
	resources map[string]*watch // by URI
}

// watch is one subscription, or the place for it while it is made.
type watch struct{ cancel func() }

// subscribe makes a subscription that puts its notices into the mailbox of s,
// and returns what is granted.
func (s *session) subscribe(ctx context.Context, what aggregate.Subscription) (granted aggregate.Subscription, cancel func()) {
	ctx, done := context.WithTimeout(ctx, subscribeWait)
	defer done()
	what.Principal = s.principal
	what.Tell = func(n aggregate.Notice) {
		if n.Method == methodMessage && !s.logs(n.Params) {
			return
		}
		s.mail.put(mail{key: mailKey{n.Method, n.Key}, text: noteText(n.Method, n.Params)})
	}
	return s.service.Subscribe(ctx, what)
}

// watchLists has the changes of all lists told from now on.
func (s *session) watchLists(ctx context.Context) {
	w := &s.watches
	w.mu.Lock()
	if w.closed || w.lists != nil {
		w.mu.Unlock()
		return
	}
	place := &watch{}
	w.lists = place
	w.mu.Unlock()
	_, cancel := s.subscribe(ctx, aggregate.Subscription{Session: s.id, Lists: changingLists()})
	w.keep(cancel, func() bool { place.cancel = cancel; return true })
}

// keep has a subscription kept by what takes it under the lock. If that does not
// want it, or everything is over, it is cancelled.
func (w *watches) keep(cancel func(), take func() bool) {
	w.mu.Lock()
	kept := !w.closed && take()
	w.mu.Unlock()
	if !kept {
		cancel()
	}
}

// watch answers resources/subscribe.
func (r *request) watch(ctx context.Context) (json.RawMessage, error) {
	uri, fault := r.uri()
	if fault != nil {
		return nil, fault
	}
	w := &r.session.watches
	place, fault := w.place(uri)
	if fault != nil || place == nil {
		return emptyResult(), asError(fault)
	}
	if r.session.ready != nil {
		r.session.ready()
	}
	granted, cancel := r.session.subscribe(ctx, aggregate.Subscription{Resources: []string{uri}})
	if len(granted.Resources) == 0 {
		cancel()
		w.remove(uri, place)
		data, _ := json.Marshal(map[string]string{"uri": uri}) // strings always marshal
		return nil, &upstream.RPCError{
			Code: mcp.RESOURCE_NOT_FOUND, Message: "Resource not found, or its changes are not told", Data: data,
		}
	}
	w.keep(cancel, func() bool { place.cancel = cancel; return w.resources[uri] == place })
	return emptyResult(), nil
}

// unwatch answers resources/unsubscribe.
func (r *request) unwatch() (json.RawMessage, error) {
	uri, fault := r.uri()
	if fault != nil {
		return nil, fault
	}
	if cancel := r.session.watches.remove(uri, nil); cancel != nil {
		cancel()
	}
	r.session.mail.drop(mailKey{upstream.NoteUpdated, uri})
	return emptyResult(), nil
}

// uri is a copy: what the session remembers must not hold on to the message.
func (r *request) uri() (string, *upstream.RPCError) {
	uri, _ := rawjson.GetString(r.params, "uri")
	if uri == "" {
		return "", badParams("params.uri is required and must be a string that is not empty")
	}
	return uri, nil
}

// place makes the place for a subscription; nil if there is one already.
func (w *watches) place(uri string) (*watch, *upstream.RPCError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return nil, invalid("%v", errEnding)
	case w.resources[uri] != nil:
		return nil, nil
	case len(w.resources) >= maxWatched:
		return nil, badParams("a session may subscribe to %d resources at once", maxWatched)
	case w.resources == nil:
		w.resources = make(map[string]*watch)
	}
	place := &watch{}
	w.resources[uri] = place
	return place, nil
}

// remove takes a subscription out and returns how to end it; nil if there is
// none. With a place it takes out no other.
func (w *watches) remove(uri string, place *watch) (cancel func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.resources[uri]
	if found == nil || place != nil && found != place {
		return nil
	}
	delete(w.resources, uri)
	return found.cancel
}

// close ends all subscriptions and makes no further ones.
func (w *watches) close() {
	w.mu.Lock()
	w.closed = true
	var all []*watch
	if w.lists != nil {
		all = append(all, w.lists)
	}
	for _, place := range w.resources {
		all = append(all, place)
	}
	w.lists, w.resources = nil, nil
	var cancels []func()
	for _, place := range all {
		if place.cancel != nil { // else whoever is making it will see that all is over
			cancels = append(cancels, place.cancel)
		}
	}
	w.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
}

func emptyResult() json.RawMessage { return json.RawMessage("{}") }

// asError avoids an error that holds a nil pointer.
func asError(e *upstream.RPCError) error {
	if e == nil {
		return nil
	}
	return e
}
