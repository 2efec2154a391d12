package mcpserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/upstreamtest"
)

func TestMain(m *testing.M) {
	egress.Poison()
	if mode := os.Getenv("FAKE_MODE"); mode != "" {
		runFake(mode)
		return
	}
	// They wait more than they compute; -parallel overrides it.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// launcher starts this binary again as a fake server.
func launcher(mode string) mcpserver.Launcher {
	return func(ctx context.Context, name string, arg ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, name, arg...)
		cmd.Env = []string{"FAKE_MODE=" + mode, "GORACE=atexit_sleep_ms=0", "PATH=/usr/bin:/bin"}
		return cmd
	}
}

// hanging is how long anything may take before it counts as hanging. A busy machine
// may need seconds to start a process.
const hanging = time.Minute

// quickly are options with short waits.
func quickly() mcpserver.Options {
	return mcpserver.Options{ID: "fake", ProbeTimeout: 200 * time.Millisecond, ConnectTimeout: hanging}
}

func newFake(t *testing.T, mode string, o mcpserver.Options) *mcpserver.Adapter {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return mcpserver.NewStdio(o, launcher(mode), exe)
}

// watch runs an adapter until the test ends and counts its changes.
func watch(t *testing.T, a *mcpserver.Adapter) *atomic.Int64 {
	t.Helper()
	var changes atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- a.Watch(context.Background(), upstream.Events{Changed: func(upstream.List) { changes.Add(1) }})
	}()
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return &changes
}

func start(t *testing.T, mode string) *mcpserver.Adapter {
	t.Helper()
	a := newFake(t, mode, quickly())
	watch(t, a)
	return a
}

func call(ctx context.Context, a upstream.Adapter, tool, args string) (*upstream.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, hanging)
	defer cancel()
	return a.Call(ctx, &upstream.Call{
		ID: "1", Principal: upstream.Local(), Op: upstream.CallTool, Name: tool, Tool: &upstream.Tool{Name: tool}, Exposed: "x_" + tool,
		Params: json.RawMessage(`{"name":"x_` + tool + `","arguments":` + args + `}`), Arguments: json.RawMessage(args),
		Timing: &upstream.Timing{},
	})
}

func text(r *upstream.Result) string {
	content, _ := rawjson.Get(r.Raw, "content")
	for item := range rawjson.Elements(content) {
		s, _ := rawjson.GetString(item, "text")
		return s
	}
	return ""
}

func wantText(t *testing.T, a upstream.Adapter, send, want string) {
	t.Helper()
	r, err := call(t.Context(), a, "echo", fmt.Sprintf(`{"text":%q}`, send))
	if err != nil {
		t.Fatalf("echo: %v", err)
	}
	if text(r) != want {
		t.Fatalf("echo answered %.80q, want %q", text(r), want)
	}
}

func wantKind(t *testing.T, err error, kind upstream.Kind, sent bool) *upstream.Error {
	t.Helper()
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok {
		t.Fatalf("the error is %T (%v), want an *upstream.Error", err, err)
	}
	if e.Kind != kind || e.Sent != sent {
		t.Fatalf("the error is %s, sent %v (%v), want %s, sent %v", e.Kind, e.Sent, err, kind, sent)
	}
	if e.Upstream != "fake" {
		t.Errorf("the error does not name the upstream: %v", e)
	}
	return e
}

func TestConformanceStdio(t *testing.T) {
	t.Parallel()
	upstreamtest.Run(t, upstreamtest.Fixture{
		Start: func(t *testing.T) upstreamtest.Harness {
			return upstreamtest.Harness{Adapter: newFake(t, "good", quickly())}
		},
		Oversize: func(t *testing.T) upstreamtest.Harness {
			o := quickly()
			o.MaxMessage = upstreamtest.Limit
			return upstreamtest.Harness{Adapter: newFake(t, "long refusals", o)}
		},
		Without: map[upstreamtest.Point]string{
			upstreamtest.Redirect: "a child process has no address", upstreamtest.Renewal: "a child process has its credentials from its start",
		},
	})
}

func TestModesThatMustNotDisturb(t *testing.T) {
	for mode, want := range map[string]string{
		"noise": "hi", "answers twice": "first", "wrong id": "hi", "string id": "hi", "pings": "hi",
		"CRLF": "crlf", "huge stderr": "hi",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			a := start(t, mode)
			for range 3 {
				wantText(t, a, "hi", want)
			}
		})
	}
}

func TestBadAnswersCostOnlyTheirCall(t *testing.T) {
	for _, mode := range []string{"garbage", "duplicate members", "asks for input"} {
		t.Run(mode, func(t *testing.T) {
			o := quickly()
			if mode == "asks for input" {
				o.Era = mcpserver.Modern // a busy machine must not make it legacy
				o.DenyAsk = true
			}
			a := newFake(t, mode, o)
			watch(t, a)
			_, err := call(t.Context(), a, "echo", `{}`)
			wantKind(t, err, upstream.UpstreamError, true)
			if _, err := a.Tools(t.Context()); err != nil {
				t.Errorf("the list after it: %v", err)
			}
		})
	}
}

func TestDeath(t *testing.T) {
	for _, mode := range []string{"dies mid-call", "dies mid-line"} {
		t.Run(mode, func(t *testing.T) {
			a := start(t, mode)
			wantText(t, a, "hi", "hi")
			_, err := call(t.Context(), a, "echo", `{"text":"die"}`)
			e := wantKind(t, err, upstream.Unavailable, true)
			if want := "the server process exited with status 7; restarting"; e.Public != want {
				t.Errorf("the model reads %q, want %q", e.Public, want)
			}
			began := time.Now()
			wantText(t, a, "back", "back")
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it came back after %v", took)
			}
			if h := a.Health(); h.Restarts != 1 {
				t.Errorf("%d restarts, want 1", h.Restarts)
			}
		})
	}
}

func TestClosedStdoutIsDeath(t *testing.T) {
	t.Parallel()
	a := start(t, "closes stdout")
	_, err := call(t.Context(), a, "echo", `{}`)
	wantKind(t, err, upstream.Unavailable, true)
}

func TestExitAtOnce(t *testing.T) {
	a := start(t, "exit at once")
	_, err := call(t.Context(), a, "echo", `{}`)
	e := wantKind(t, err, upstream.Unavailable, false)
	if !strings.Contains(e.Public, "exited with status 3") || strings.Contains(e.Public, "database") {
		t.Errorf("the model reads %q", e.Public)
	}
	if !strings.Contains(err.Error(), "no database configured") {
		t.Errorf("the log does not have the end of stderr: %v", err)
	}
	if e.RetryAfter <= 0 {
		t.Error("RetryAfter is not set")
	}
	if h := a.Health(); h.State != upstream.Down || strings.Contains(h.Err, "database") || !strings.Contains(h.Detail, "no database configured") {
		t.Errorf("health is %+v", h)
	}
}

func TestMissingCommand(t *testing.T) {
	a := mcpserver.NewStdio(quickly(), launcher("good"), "/nonexistent/secret-path/server")
	watch(t, a)
	_, err := call(t.Context(), a, "echo", `{}`)
	e := wantKind(t, err, upstream.Unavailable, false)
	if strings.Contains(e.Public, "secret-path") || !strings.Contains(e.Public, "not found") {
		t.Errorf("the model reads %q", e.Public)
	}
}

func TestHangAtStart(t *testing.T) {
	t.Parallel()
	o := quickly()
	o.ConnectTimeout = 500 * time.Millisecond
	a := newFake(t, "hang at start", o)
	watch(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := call(ctx, a, "echo", `{}`)
	wantKind(t, err, upstream.Timeout, false)
	_, err = call(t.Context(), a, "echo", `{}`)
	e := wantKind(t, err, upstream.Unavailable, false)
	if !strings.Contains(e.Public, "did not answer the handshake within 500ms") {
		t.Errorf("the model reads %q", e.Public)
	}
}

func TestAnswerAfterCancel(t *testing.T) {
	a := start(t, "answers after cancel")
	wantText(t, a, "hi", "hi")
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_, err := call(ctx, a, "sleep", `{"ms":60000}`)
		cancel()
		if err == nil {
			t.Fatal("the call was answered")
		}
		wantText(t, a, "mine", "mine")
	}
}

func TestStopsReading(t *testing.T) {
	t.Parallel()
	a := start(t, "stops reading")
	wantText(t, a, "hi", "hi") // from now on it reads nothing
	big := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 1<<20))
	var wg sync.WaitGroup
	for range 400 { // more than the queue holds
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := call(ctx, a, "echo", big[:100]+big[len(big)-2:])
			if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Kind != upstream.Timeout {
				t.Errorf("the call ended with %v", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := call(ctx, a, "echo", big); err == nil {
		t.Error("a call was answered by a server that does not read")
	}
	wg.Wait()
}

// TestWithdrawnCallsFreeTheirText: what is queued for a child that does not read
// costs no memory once its callers have left.
func TestWithdrawnCallsFreeTheirText(t *testing.T) {
	a := start(t, "stops reading")
	wantText(t, a, "hi", "hi")
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	before := heap()
	args := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 1<<20))
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if _, err := call(ctx, a, "echo", args); err == nil {
			t.Error("a call was answered by a server that does not read")
		}
		cancel()
	}
	if after := heap(); after > before+(40<<20) {
		t.Errorf("the heap grew from %d to %d", before, after)
	}
}

func TestCallWithoutWatchEndsWithItsContext(t *testing.T) {
	a := newFake(t, "good", quickly())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := call(ctx, a, "echo", `{}`)
	wantKind(t, err, upstream.Timeout, false)
	_ = a.Close()
}

func TestFlood(t *testing.T) {
	a := newFake(t, "floods", quickly())
	changes := watch(t, a)
	wantText(t, a, "hi", "hi")
	before := changes.Load()
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	for range 2 {
		wantText(t, a, "hi", "hi")
	}
	runtime.GC()
	runtime.ReadMemStats(&m1)
	if m1.HeapInuse > m0.HeapInuse+(32<<20) {
		t.Errorf("the heap grew from %d to %d", m0.HeapInuse, m1.HeapInuse)
	}
	if n := changes.Load() - before; n > 1000 {
		t.Errorf("200,000 notifications became %d changes", n)
	}
}

func TestSizes(t *testing.T) {
	a := start(t, "50 MB")
	r, err := call(t.Context(), a, "echo", `{}`)
	if err != nil || len(text(r)) != 50<<20 {
		t.Errorf("50 MB: %v", err)
	}
	for _, mode := range []string{"too long, id last", "too long, id first"} {
		o := quickly()
		o.MaxMessage = 1 << 20
		a := newFake(t, mode, o)
		watch(t, a)
		_, err := call(t.Context(), a, "echo", `{}`)
		e := wantKind(t, err, upstream.UpstreamError, true)
		if !strings.Contains(e.Public, "the limit is 1048576") {
			t.Errorf("%s: the model reads %q", mode, e.Public)
		}
	}
}

func TestStderrIsLabelledEscapedAndBounded(t *testing.T) {
	var buf lockedBuffer
	o := quickly()
	o.Log = slog.New(slog.NewTextHandler(&buf, nil))
	a := newFake(t, "huge stderr", o)
	watch(t, a)
	wantText(t, a, "hi", "hi")
	_ = a.Close()
	log := buf.String()
	if len(log) > 2<<20 {
		t.Errorf("the log has %d bytes", len(log))
	}
	for _, want := range []string{"upstream=fake", "stderr lines dropped"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.Contains(log, "\x1b") {
		t.Error("the log has a control character")
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
