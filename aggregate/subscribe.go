package aggregate

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Subscription is what a client wants to be told of.
type Subscription struct {
	Principal upstream.Principal
	// Session is whose elicitations are told to be complete, and who is told that a
	// source is back of which it was told that it cannot be used, see
	// [Request].Session; "" for nobody. The latter is a log message, which is to be
	// passed on only if its level is wanted.
	Session   string
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
	upstream.Resources: "notifications/resources/list_changed", // of templates too
}

// maxJoining is how many topics of one subscription are agreed on at a time.
const maxJoining = 16

// Subscribe has changes told until cancel is called. It returns what of the
// subscription is granted: a list that has no notification, a resource or task
// that is not known or whose upstream tells no changes, is left out. It waits
// for upstreams that have to agree, at most until ctx ends.
func (v *View) Subscribe(ctx context.Context, s Subscription) (granted Subscription, cancel func()) {
	granted = Subscription{Principal: s.Principal, Tell: s.Tell}
	for _, l := range s.Lists {
		if listMethods[l] != "" && !slices.Contains(granted.Lists, l) {
			granted.Lists = append(granted.Lists, l)
		}
	}
	cancels := []func(){v.agg.subs.add(&subscriber{v.id, granted.Lists, party{s.Principal, s.Session}, s.Tell})}
	var wants []want
	for _, uri := range s.Resources {
		if m, own, _ := v.locate(ctx, uri); m != nil {
			l := &follower{key: uri, tell: s.Tell, expose: asIs}
			if uri != own {
				l.expose = aliased(m.ID)
			}
			wants = append(wants, want{m.hub, upstream.Topic{Note: upstream.NoteUpdated, Key: own}, l})
		}
	}
	for _, task := range s.Tasks {
		if m, own, ok := v.taskOf(s.Principal, task); ok {
			l := &follower{key: task, tell: s.Tell}
			l.expose = func(_ string, params json.RawMessage) (string, json.RawMessage) {
				return task, m.exposeTask(s.Principal, params)
			}
			wants = append(wants, want{m.hub, upstream.Topic{Note: upstream.NoteTask, Key: own}, l})
		}
	}
	for i, ok := range joinAll(ctx, wants) {
		if !ok {
			continue
		}
		w := wants[i]
		cancels = append(cancels, func() { w.hub.leave(w.topic, w.follower) })
		if w.topic.Note == upstream.NoteTask {
			granted.Tasks = append(granted.Tasks, w.key)
		} else {
			granted.Resources = append(granted.Resources, w.key)
		}
	}
	return granted, sync.OnceFunc(func() {
		for _, cancel := range cancels {
			cancel()
		}
	})
}

// asIs is for a client that knows a resource by the upstream's own URI.
func asIs(own string, params json.RawMessage) (string, json.RawMessage) { return own, params }

// aliased is for a client that knows one by its alias.
func aliased(id upstream.ID) func(string, json.RawMessage) (string, json.RawMessage) {
	return func(own string, params json.RawMessage) (string, json.RawMessage) {
		uri := alias(id, own)
		if set, err := rawjson.Set(params, "uri", rawjson.Quote(uri)); err == nil { // it is an object
			params = set
		}
		return uri, params
	}
}

// want is one topic that a client wants to be told of.
type want struct {
	hub   *hub
	topic upstream.Topic
	*follower
}

// joinAll joins them side by side and reports which of them were agreed to.
func joinAll(ctx context.Context, wants []want) []bool {
	joined := make([]bool, len(wants))
	slots := make(chan struct{}, maxJoining)
	var w sync.WaitGroup
	for i, t := range wants {
		slots <- struct{}{}
		w.Go(func() {
			joined[i] = t.hub.join(ctx, t.topic, t.follower) == nil
			<-slots
		})
	}
	w.Wait()
	return joined
}

// subscribers are told when the catalog has changed.
type subscribers struct {
	mu   sync.Mutex
	subs map[*subscriber]bool
}

type subscriber struct {
	upstream upstream.ID // "" for any
	lists    []upstream.List
	who      party
	tell     func(Notice)
}

// change is that of one list of one view.
type change struct {
	upstream upstream.ID
	list     upstream.List
}

func (s *subscribers) add(sub *subscriber) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs == nil {
		s.subs = make(map[*subscriber]bool)
	}
	s.subs[sub] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, sub)
	}
}

// tell notifies everybody of whose lists changed says that they have. It does so
// outside the lock, but one after another: tell functions return at once.
func (s *subscribers) tell(changed func(change) bool) {
	for _, sub := range s.all() {
		for _, l := range sub.lists {
			if changed(change{sub.upstream, l}) {
				sub.tell(Notice{Method: listMethods[l]})
			}
		}
	}
}

// tellParty notifies one conversation of one user.
func (s *subscribers) tellParty(p party, n Notice) {
	for _, sub := range s.all() {
		if sub.who == p {
			sub.tell(n)
		}
	}
}

// reaches reports whether there is a way to tell one conversation anything.
func (s *subscribers) reaches(p party) bool {
	return slices.ContainsFunc(s.all(), func(sub *subscriber) bool { return sub.who == p })
}

func (s *subscribers) all() []*subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.subs))
}
