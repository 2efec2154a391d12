package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// hub has each topic subscribed once at one upstream, however many clients want
// to be told of it. It outlives the adapter if another one with the same source
// takes its place.
type hub struct {
	mu     sync.Mutex
	source upstream.Subscriber // nil if the upstream tells no changes, or is gone
	topics map[upstream.Topic]*topic
}

// topic is one subscription and who is told.
type topic struct {
	to map[*follower]bool
	// busy is closed when what is under way for the topic has ended; nil while
	// nothing is. Whoever sets it is the only one to ask the upstream.
	busy   chan struct{}
	source upstream.Subscriber // where it is subscribed; nil while it is not
	err    error               // why that failed; set before busy is closed
}

// follower is one client's interest in one topic.
type follower struct {
	key  string // the URI or task id by which the client knows it
	tell func(Notice)
	// expose returns the key under which the client knows own, and the params as
	// it may see them.
	expose func(own string, params json.RawMessage) (string, json.RawMessage)
}

var errNotTold = errors.New("the upstream tells no changes of single things")

func newHub(a upstream.Adapter) *hub {
	h := &hub{topics: make(map[upstream.Topic]*topic)}
	h.source, _ = a.(upstream.Subscriber)
	return h
}

// join has l told of a topic. It returns when the upstream has agreed, or why
// it does not, soon after ctx ends.
func (h *hub) join(ctx context.Context, key upstream.Topic, l *follower) error {
	for {
		h.mu.Lock()
		t := h.topics[key]
		switch {
		case h.source == nil:
			h.mu.Unlock()
			return errNotTold
		case t == nil: // l is told from the start, so that it misses nothing
			t = &topic{to: map[*follower]bool{l: true}, busy: make(chan struct{})}
			h.topics[key] = t
			h.mu.Unlock()
			return h.begin(ctx, key, t, true)
		case t.busy == nil:
			t.to[l] = true
			h.mu.Unlock()
			return nil
		}
		busy := t.busy
		h.mu.Unlock()
		select {
		case <-busy:
			if t.err != nil {
				return t.err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// begin subscribes a topic that the caller has set busy, at the source that is
// there when it is done. Of one that is not new the followers are kept if ctx
// ends, as whoever ended it has another source, and if the source is not there.
func (h *hub) begin(ctx context.Context, key upstream.Topic, t *topic, isNew bool) error {
	for {
		h.mu.Lock()
		source := h.source
		h.mu.Unlock()
		err := errNotTold
		if source != nil {
			err = source.Subscribe(ctx, key)
		}
		gaveUp := err != nil && ctx.Err() != nil
		h.mu.Lock()
		if h.source != source && !gaveUp { // it was replaced meanwhile
			h.mu.Unlock()
			continue
		}
		if err == nil {
			t.source = source
			h.rest(key, t)
			return nil
		}
		if !isNew && (gaveUp || absent(err)) {
			t.source = nil
			h.rest(key, t)
			return err
		}
		if h.topics[key] == t {
			delete(h.topics, key)
		}
		if !gaveUp { // otherwise whoever waits tries for itself
			t.err = err
		}
		close(t.busy)
		h.mu.Unlock()
		return err
	}
}

// absent reports whether a source may agree to the same later.
func absent(err error) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	return ok && (e.Kind == upstream.Unavailable || e.Kind == upstream.Timeout)
}

// rest ends what is under way for a topic, or unsubscribes it if nobody is left.
// h.mu is held, and released.
func (h *hub) rest(key upstream.Topic, t *topic) {
	if len(t.to) > 0 {
		close(t.busy)
		t.busy = nil
		h.mu.Unlock()
		return
	}
	if source := t.source; source != nil {
		h.mu.Unlock()
		source.Unsubscribe(key)
		h.mu.Lock()
	}
	if h.topics[key] == t {
		delete(h.topics, key)
	}
	close(t.busy)
	h.mu.Unlock()
}

// leave has l told no longer.
func (h *hub) leave(key upstream.Topic, l *follower) {
	h.mu.Lock()
	t := h.topics[key]
	if t == nil || !t.to[l] {
		h.mu.Unlock()
		return
	}
	delete(t.to, l)
	if len(t.to) > 0 || t.busy != nil { // who is busy sees to the rest
		h.mu.Unlock()
		return
	}
	t.busy = make(chan struct{})
	h.rest(key, t)
}

// attach puts another adapter in the place of the one before.
func (h *hub) attach(a upstream.Adapter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.source, _ = a.(upstream.Subscriber)
}

// drop forgets everybody: the upstream is gone.
func (h *hub) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.source = nil
	clear(h.topics)
}

// resume subscribes at the present adapter what was subscribed at one before,
// until all is or ctx ends.
func (h *hub) resume(ctx context.Context) {
	wait := relistAfter
	for ctx.Err() == nil {
		key, t, busy := h.astray()
		switch {
		case t == nil:
			return
		case busy == nil:
			if !absent(h.begin(ctx, key, t, false)) { // if it is refused, changes are no longer told
				wait = relistAfter
				continue
			}
			sleepOrSignal(ctx, wait, nil)
			wait = min(2*wait, relistAtMost)
			continue
		}
		select {
		case <-busy:
		case <-ctx.Done():
		}
	}
}

// astray returns a topic that is not subscribed where it should be; nil if there
// is none. If nobody is busy with it, the caller is.
func (h *hub) astray() (key upstream.Topic, t *topic, busy chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, t := range h.topics {
		if t.source == h.source && h.source != nil {
			continue
		}
		if t.busy != nil {
			return key, t, t.busy
		}
		t.busy = make(chan struct{})
		return key, t, nil
	}
	return upstream.Topic{}, nil, nil
}

// note passes on what the upstream tells of a topic.
func (h *hub) note(method string, params json.RawMessage) {
	var member string
	switch method {
	case upstream.NoteUpdated:
		member = "uri"
	case upstream.NoteTask:
		member = "taskId"
	default:
		return
	}
	own, _ := rawjson.GetString(params, member)
	params = rawjson.OneLine(params)
	for _, l := range h.followers(method, own) {
		key, said := l.expose(own, params)
		l.tell(Notice{Method: method, Key: key, Params: said})
	}
}

// maxAbove is how many levels above a resource are looked at for who follows one.
const maxAbove = 64

// followers returns who wants to be told of own, or of a resource that it is
// below (MCP schema, ResourceUpdatedNotification).
func (h *hub) followers(method, own string) (out []*follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	add := func(key string) {
		if t := h.topics[upstream.Topic{Note: method, Key: key}]; t != nil {
			for l := range t.to {
				out = append(out, l)
			}
		}
	}
	add(own)
	if method != upstream.NoteUpdated || len(own) > maxURIText {
		return out
	}
	at := len(own)
	for range maxAbove {
		if at = strings.LastIndexAny(own[:at], "/?#"); at <= 0 {
			break
		}
		if at+1 < len(own) {
			add(own[:at+1])
		}
		if !strings.ContainsRune("/?#", rune(own[at-1])) { // else the next one adds it
			add(own[:at])
		}
	}
	return out
}
