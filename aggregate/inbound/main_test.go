package inbound_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func TestMain(m *testing.M) {
	egress.Poison()
	goleak.VerifyTestMain(m)
}

// patience is an upper bound that only a hang exceeds.
const patience = time.Minute

// fake is a service with tools that do what a test needs: echo says what it was
// given, block waits to be released or cancelled, stubborn to be released only,
// lines answers with line breaks, big with a megabyte,
// huge with ten, custom does as the test says, panic panics, fail answers a JSON-RPC error.
type fake struct {
	mu         sync.Mutex
	subs       map[int]aggregate.Subscription
	next       int
	inside     int
	entered    chan struct{} // one per call of block
	release    chan struct{} // closed: block returns
	ended      chan error    // what the context of a block said when it was cancelled
	last       *aggregate.Request
	extensions map[string]json.RawMessage
	custom     func(context.Context, *aggregate.Request) // what the tool custom does; set before the first call
}

func newFake() *fake {
	return &fake{
		subs:    make(map[int]aggregate.Subscription),
		entered: make(chan struct{}, 10_000),
		release: make(chan struct{}),
		ended:   make(chan error, 10_000),
	}
}

func (f *fake) Instructions() string { return "Use echo." }

func (f *fake) Handle(ctx context.Context, r *aggregate.Request) (json.RawMessage, error) {
	if r.Method == "tools/list" {
		return f.ListTools(ctx, r)
	}
	if r.Method == "tools/call" {
		return f.CallTool(ctx, r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = r
	return json.RawMessage(fmt.Sprintf(`{"asked":%q}`, r.Method)), nil
}

func (f *fake) Extensions() map[string]json.RawMessage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.extensions
}

func (f *fake) ListTools(_ context.Context, r *aggregate.Request) (json.RawMessage, error) {
	if r.Modern {
		return json.RawMessage(`{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[` + echoTool + `]}`), nil
	}
	return json.RawMessage(`{"tools":[` + echoTool + `]}`), nil
}

const echoTool = `{"name":"echo","inputSchema":{"type":"object"}}`

func (f *fake) CallTool(ctx context.Context, r *aggregate.Request) (json.RawMessage, error) {
	f.mu.Lock()
	f.last = r
	f.mu.Unlock()
	name, _ := rawjson.GetString(r.Params, "name")
	switch name {
	case "echo":
		args, _ := rawjson.Get(r.Params, "arguments")
		return json.RawMessage(fmt.Sprintf(`{"content":[],"structuredContent":{"modern":%v,"client":%q,"arguments":%s}}`,
			r.Modern, r.Client, orNull(args))), nil
	case "block":
		f.count(1)
		defer f.count(-1)
		f.entered <- struct{}{}
		select {
		case <-f.release:
			return json.RawMessage(`{"content":[]}`), nil
		case <-ctx.Done():
			f.ended <- context.Cause(ctx)
			return nil, ctx.Err()
		}
	case "stubborn": // does not mind its context
		f.entered <- struct{}{}
		<-f.release
		return json.RawMessage(`{"content":[]}`), nil
	case "lines":
		return json.RawMessage("{\r\n  \"content\": [\n]}"), nil
	case "huge":
		return json.RawMessage(`{"content":[{"type":"text","text":"` + strings.Repeat("x", 10<<20) + `"}]}`), nil
	case "big":
		return json.RawMessage(`{"content":[{"type":"text","text":"` + strings.Repeat("x", 1<<20) + `"}]}`), nil
	case "custom":
		f.custom(ctx, r)
		return json.RawMessage(`{"content":[]}`), ctx.Err()
	case "panic":
		panic("boom")
	}
	return nil, &upstream.RPCError{Code: upstream.CodeInvalidParams, Message: "unknown tool", Data: json.RawMessage(`{"n":9007199254740993}`)}
}

func orNull(v json.RawMessage) string {
	if v == nil {
		return "null"
	}
	return string(v)
}

func (f *fake) count(d int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inside += d
}

func (f *fake) running() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inside
}

func (f *fake) request() *aggregate.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Subscribe grants everything but what begins with "none:".
func (f *fake) Subscribe(_ context.Context, s aggregate.Subscription) (aggregate.Subscription, func()) {
	none := func(key string) bool { return strings.HasPrefix(key, "none:") }
	s.Resources = slices.DeleteFunc(slices.Clone(s.Resources), none)
	s.Tasks = slices.DeleteFunc(slices.Clone(s.Tasks), none)
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.next
	f.next++
	f.subs[n] = s
	return s, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, n)
	}
}

func (f *fake) subscribers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)
}

// changed tells that the list of tools changed.
func (f *fake) changed() { f.changedList(upstream.Tools) }

func (f *fake) changedList(l upstream.List) {
	f.tell(aggregate.Notice{Method: "notifications/" + string(l) + "/list_changed"}, func(s aggregate.Subscription) bool {
		return slices.Contains(s.Lists, l)
	})
}

// updated tells that a resource changed.
func (f *fake) updated(uri string) {
	n := aggregate.Notice{Method: upstream.NoteUpdated, Key: uri, Params: json.RawMessage(fmt.Sprintf(`{"uri":%q,"_meta":{"n":1e400}}`, uri))}
	f.tell(n, func(s aggregate.Subscription) bool { return slices.Contains(s.Resources, uri) })
}

func (f *fake) tell(n aggregate.Notice, whom func(aggregate.Subscription) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subs {
		if whom(s) {
			s.Tell(n)
		}
	}
}

// awaitEntered waits until n calls of block have begun.
func (f *fake) awaitEntered(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		select {
		case <-f.entered:
		case <-time.After(patience):
			t.Fatalf("%d of %d calls were under way at once", i, n)
		}
	}
}

func (f *fake) awaitCancelled(t testing.TB) {
	t.Helper()
	select {
	case err := <-f.ended:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("the call ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the call was not cancelled")
	}
}

// eventually waits for what happens in another goroutine with no event to wait
// for.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not happen: " + what)
		}
	}
}

func newServer(t testing.TB, f *fake, o inbound.Options) *inbound.Server {
	t.Helper()
	o.Name, o.Version = "bulkhead", "1.2.3"
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := inbound.New(func(name string) (inbound.Service, bool) {
		return f, name == "" || name == "crm"
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wire is a raw client on stdio.
type wire struct {
	t      testing.TB
	in     *io.PipeWriter
	out    *bufio.Reader
	outEnd *io.PipeReader
	cancel context.CancelFunc
	done   chan error
}

// dial starts a stdio conversation, which the test has to end; it is torn down
// at the end of the test at the latest.
func dial(t testing.TB, s *inbound.Server) *wire {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	w := &wire{t: t, in: inW, out: bufio.NewReaderSize(outR, 1<<16), outEnd: outR, cancel: cancel, done: make(chan error, 1)}
	go func() {
		err := s.ServeStdio(ctx, inR, outW)
		outW.Close()
		w.done <- err
		close(w.done)
	}()
	t.Cleanup(func() {
		cancel()
		outR.Close()
		select {
		case <-w.done:
		case <-time.After(patience):
			t.Error("ServeStdio did not return")
		}
	})
	return w
}

func (w *wire) send(lines ...string) {
	w.t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(w.in, strings.Join(lines, "\n")+"\n")
		sent <- err
	}()
	select {
	case err := <-sent:
		if err != nil {
			w.t.Fatal("send:", err)
		}
	case <-time.After(patience):
		w.t.Fatal("the server does not read")
	}
}

func (w *wire) recv() string {
	w.t.Helper()
	type line struct {
		text string
		err  error
	}
	got := make(chan line, 1)
	go func() {
		text, err := w.out.ReadString('\n')
		got <- line{text, err}
	}()
	select {
	case l := <-got:
		if l.err != nil {
			w.t.Fatal("recv:", l.err)
		}
		return strings.TrimSuffix(l.text, "\n")
	case <-time.After(patience):
		w.t.Fatal("no answer")
		return ""
	}
}

// want receives one message and compares it byte for byte.
func (w *wire) want(text string) {
	w.t.Helper()
	if got := w.recv(); got != text {
		w.t.Fatalf("got  %s\nwant %s", got, text)
	}
}

// finish ends the input and returns what else comes out.
func (w *wire) finish() (rest string, err error) {
	w.t.Helper()
	w.in.Close()
	var b bytes.Buffer
	read := make(chan struct{})
	go func() { defer close(read); _, _ = b.ReadFrom(w.out) }()
	select {
	case err = <-w.done:
	case <-time.After(patience):
		w.t.Fatal("ServeStdio did not return")
	}
	<-read
	return b.String(), err
}

// end is finish for a conversation that must be over without more.
func (w *wire) end() {
	w.t.Helper()
	if rest, err := w.finish(); err != nil || rest != "" {
		w.t.Fatalf("at the end: %v, unexpected %q", err, rest)
	}
}

func call(id, tool, args string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + args + `}}`
}

func modernCall(id, tool, args string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + args + `,"_meta":` + modernMeta + `}}`
}

func request(id, method, params string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + params + `}`
}

const modernMeta = `{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"m","version":"1"}}`

func initialize(version string) string {
	return request("0", "initialize", `{"protocolVersion":"`+version+`","capabilities":{},"clientInfo":{"name":"c","version":"1"}}`)
}

const initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`

func cancelled(id string) string {
	return `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `}}`
}

func ping(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"method":"ping"}` }

func pong(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"result":{}}` }

// handshake does a legacy handshake and drops the answer.
func (w *wire) handshake(version string) {
	w.t.Helper()
	w.send(initialize(version))
	if got := w.recv(); !strings.Contains(got, `"protocolVersion":"`+version+`"`) {
		w.t.Fatal(got)
	}
	w.send(initialized)
}
