package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestMain(m *testing.M) {
	egress.Poison()
	goleak.VerifyTestMain(m)
}

// fake is an upstream under the test's control.
type fake struct {
	id upstream.ID

	mu      sync.Mutex
	tools   []upstream.Tool
	err     error
	state   upstream.State
	why     upstream.Kind // for which it is down
	changed func()
	lists   int
	called  int
	call    func(context.Context, *upstream.Call) (*upstream.Result, error)
	hang    bool // never connects
}

func newFake(t testing.TB, id upstream.ID, tools ...string) *fake {
	t.Helper()
	f := &fake{id: id, state: upstream.Connecting}
	f.set(t, tools...)
	return f
}

func (f *fake) set(t testing.TB, tools ...string) {
	t.Helper()
	var list []upstream.Tool
	for _, name := range tools {
		list = append(list, parse(t, f.id, fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}}`, name)))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tools, f.err = list, nil
}

func parse(t testing.TB, id upstream.ID, raw string) upstream.Tool {
	t.Helper()
	tool, err := upstream.ParseTool(id, json.RawMessage(raw))
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

func (f *fake) Tools(context.Context) ([]upstream.Tool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	return slices.Clone(f.tools), f.err
}

func (f *fake) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	f.mu.Lock()
	call := f.call
	f.called++
	f.mu.Unlock()
	if call == nil {
		return upstream.TextResult(string(f.id)+":"+c.Tool.Name+":"+string(c.Arguments), false), nil
	}
	return call(ctx, c)
}

func (f *fake) Watch(ctx context.Context, tell upstream.Events) error {
	changed := func() { tell.Change("") }
	f.mu.Lock()
	f.changed = changed
	up := !f.hang && f.state != upstream.Down
	if up {
		f.state = upstream.Up
	}
	f.mu.Unlock()
	if up {
		changed()
	}
	<-ctx.Done()
	return nil
}

func (f *fake) Health() upstream.Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	return upstream.Health{State: f.state, Why: f.why}
}

// turn has the connection be in another state.
func (f *fake) turn(s upstream.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
}

func (f *fake) Close() error { return nil }

// fail makes the next lists fail, or succeed for nil.
func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// touch says that the list may have changed.
func (f *fake) touch() {
	f.mu.Lock()
	changed := f.changed
	f.mu.Unlock()
	changed()
}

func (f *fake) listed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lists
}

func member(f *fake) aggregate.Member {
	return aggregate.Member{ID: f.id, Adapter: f, Prefix: string(f.id), Identity: "test"}
}

// start runs an aggregate until the test ends or stop is called.
func start(t *testing.T, opt aggregate.Options, members ...aggregate.Member) (v *aggregate.View, stop func()) {
	t.Helper()
	opt.Plain = true
	a, err := aggregate.New(members, opt)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, a)
}

func run(t testing.TB, a *aggregate.Aggregate) (v *aggregate.View, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	v, ok := a.View("")
	if !ok {
		t.Fatal("there is no view of everything")
	}
	return v, stop
}

func names(t *testing.T, v *aggregate.View) []string {
	t.Helper()
	raw, err := v.ListTools(t.Context(), &aggregate.Request{Principal: upstream.Local()})
	if err != nil {
		t.Fatal(err)
	}
	var l struct{ Tools []struct{ Name string } }
	if err := json.Unmarshal(raw, &l); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	out := []string{}
	for _, tool := range l.Tools {
		out = append(out, tool.Name)
	}
	return out
}

// answer is a decoded tool result.
type answer struct {
	Content    []struct{ Type, Text, Data string }
	Structured json.RawMessage `json:"structuredContent"`
	IsError    bool
	ResultType string
	Meta       map[string]json.RawMessage `json:"_meta"`
}

func (a answer) text() string {
	if len(a.Content) == 0 {
		return ""
	}
	return a.Content[0].Text
}

func call(t *testing.T, v *aggregate.View, tool, arguments string) answer {
	t.Helper()
	return callAs(t, v, &aggregate.Request{Principal: upstream.Local()}, tool, arguments)
}

func callAs(t *testing.T, v *aggregate.View, r *aggregate.Request, tool, arguments string) answer {
	t.Helper()
	r.Params = fmt.Appendf(nil, `{"name":%q,"arguments":%s}`, tool, arguments)
	raw, err := v.CallTool(t.Context(), r)
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatalf("%v in %.200s", err, raw)
	}
	return a
}

// subscribe has notify called after each change of the list of tools.
func subscribe(t *testing.T, v *aggregate.View, notify func()) (cancel func()) {
	t.Helper()
	granted, cancel := v.Subscribe(t.Context(), aggregate.Subscription{
		Principal: upstream.Local(), Lists: []upstream.List{upstream.Tools},
		Tell: func(aggregate.Notice) { notify() },
	})
	if len(granted.Lists) != 1 {
		t.Fatal("the subscription is not granted")
	}
	return cancel
}
