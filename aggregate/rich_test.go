package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// rich is a fake that offers more than tools.
type rich struct {
	*fake

	mu         sync.Mutex
	items      map[upstream.List][]upstream.Item
	errs       map[upstream.List]error
	read       map[upstream.List]int
	calls      []*upstream.Call
	topics     map[upstream.Topic]int // subscribed how often at the moment
	agreed     int                    // subscriptions altogether
	twice      bool                   // something was subscribed or unsubscribed twice
	refuse     error
	agree      chan struct{} // subscriptions wait for it; nil for not
	tell       upstream.Events
	extensions map[string]json.RawMessage
}

func newRich(t *testing.T, id upstream.ID, tools ...string) *rich {
	r := &rich{
		fake: newFake(t, id, tools...), items: make(map[upstream.List][]upstream.Item), errs: make(map[upstream.List]error),
		read: make(map[upstream.List]int), topics: make(map[upstream.Topic]int),
	}
	r.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls = append(r.calls, c)
		return upstream.ParseResult(fmt.Appendf(nil, `{"by":%q,"op":%q,"name":%q}`, r.id, c.Op, c.Name))
	}
	return r
}

// put replaces a list.
func (r *rich) put(t *testing.T, l upstream.List, raws ...string) {
	t.Helper()
	var list []upstream.Item
	for _, raw := range raws {
		it, err := upstream.ParseItem(r.id, l, json.RawMessage(raw))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, it)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items[l], r.errs[l] = list, nil
}

func (r *rich) failList(l upstream.List, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs[l] = err
}

func (r *rich) Items(_ context.Context, l upstream.List) ([]upstream.Item, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read[l]++
	return slices.Clone(r.items[l]), r.errs[l]
}

func (r *rich) reads(l upstream.List) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read[l]
}

func (r *rich) Watch(ctx context.Context, tell upstream.Events) error {
	r.mu.Lock()
	r.tell = tell
	r.mu.Unlock()
	return r.fake.Watch(ctx, tell)
}

func (r *rich) events() upstream.Events {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tell
}

func (r *rich) Subscribe(ctx context.Context, key upstream.Topic) error {
	r.mu.Lock()
	agree, refuse := r.agree, r.refuse
	r.mu.Unlock()
	if agree != nil {
		select {
		case <-agree:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if refuse != nil {
		return refuse
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics[key]++
	r.agreed++
	r.twice = r.twice || r.topics[key] != 1
	return nil
}

func (r *rich) Unsubscribe(key upstream.Topic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics[key]--
	r.twice = r.twice || r.topics[key] != 0
}

func (r *rich) Extensions() map[string]json.RawMessage { return r.extensions }

// subscribed returns how often each topic is subscribed at the moment, and how
// many subscriptions there have been.
func (r *rich) subscribed() (map[string]int, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]int{}
	for key, n := range r.topics {
		if n != 0 {
			out[key.Key] = n
		}
	}
	return out, r.agreed
}

func (r *rich) last(t *testing.T) *upstream.Call {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) == 0 {
		t.Fatalf("%s was not asked", r.id)
	}
	return r.calls[len(r.calls)-1]
}

func asMember(r *rich) aggregate.Member {
	return aggregate.Member{ID: r.id, Adapter: r, Prefix: string(r.id), Identity: "test"}
}

// ask sends a request and returns its result, or the error object.
func ask(t *testing.T, v *aggregate.View, modern bool, method, params string) (string, *upstream.RPCError) {
	t.Helper()
	raw, err := v.Handle(t.Context(), &aggregate.Request{
		Principal: upstream.Local(), Method: method, Params: json.RawMessage(params), Modern: modern,
	})
	if err == nil {
		return string(raw), nil
	}
	rpc, ok := errors.AsType[*upstream.RPCError](err)
	if !ok {
		t.Fatalf("%s %s: %v is no error object", method, params, err)
	}
	return "", rpc
}

// want fails the test unless a request is answered as it should be.
func want(t *testing.T, v *aggregate.View, modern bool, method, params, result string) {
	t.Helper()
	got, rpc := ask(t, v, modern, method, params)
	if rpc != nil {
		t.Errorf("%s %s: %v", method, params, rpc)
	} else if got != result {
		t.Errorf("%s %s\n got %s\nwant %s", method, params, got, result)
	}
}
