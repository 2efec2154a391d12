// Package upstreamtest is the conformance suite that every adapter passes.
//
// Job: hold an [upstream.Adapter] to what the rest of Bulkhead relies on:
// calls end when their context does, many run at once, Close frees everything
// at any moment, lists and operations other than tool calls work or are refused,
// every failure is an *[upstream.Error] of the right kind, answers that are too
// long and redirects do no harm, a token is replaced once, and neither a goroutine
// nor an idle connection is left.
//
// It owns no adapter and no server: whoever tests one brings a [Fixture] with
// the tools the suite asks for. It must not know any kind of upstream.
package upstreamtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The tools that the upstream behind a harness offers.
const (
	Echo   = "echo"   // {"text": s}: one text item s
	Sleep  = "sleep"  // {"ms": n}: one text item, after n milliseconds
	Fail   = "fail"   // {}: a result with isError
	Refuse = "refuse" // {}: the upstream says that the arguments are wrong
)

// Harness is an adapter with a live upstream behind it. The suite runs Watch,
// where there is one, and Close. Where the adapter is an [upstream.Lister], its
// lists may hold anything; what they hold must work.
type Harness struct {
	Adapter upstream.Adapter
}

// Fixture makes harnesses of one kind of upstream. Each point that needs an
// upstream which misbehaves is either provoked or named in Without.
type Fixture struct {
	// Start makes a fresh harness, and cleans up what is not the adapter's by
	// t.Cleanup.
	Start func(t *testing.T) Harness
	// Trapped does the same with a trap between the two: the adapter asks by
	// [Trap.Client], what it asks stands behind [Trap.Before], and an answer may
	// have [Limit] bytes. It is for kinds that ask over HTTP.
	Trapped func(t *testing.T, p *Trap) Harness
	// Oversize makes a harness whose Refuse is answered with more than [Limit],
	// which is all that the adapter takes. It is for those to whom answers come in
	// other ways than to HTTP requests.
	Oversize func(t *testing.T) Harness
	// Without says why there can be no such thing at this kind of upstream.
	Without map[Point]string
}

// Point is something that only some kinds of upstream can do.
type Point string

// The points.
const (
	Oversize Point = "an answer that is too long"
	Redirect Point = "a redirect to another origin"
	Renewal  Point = "a token that has ended"
)

// generous bounds what must merely not hang.
const generous = time.Minute

// Run runs the suite. No test may leave a goroutine behind.
func Run(t *testing.T, f Fixture) {
	for name, test := range map[string]func(*testing.T, *session){
		"lists its tools":          testTools,
		"answers":                  testAnswers,
		"runs calls at once":       testConcurrent,
		"deadline mid-call":        testDeadline,
		"cancel mid-call":          testCancel,
		"sends nothing when ended": testEnded,
		"unknown tool":             testUnknown,
		"unknown operation":        testUnknownOp,
		"lists what else there is": testLists,
		"reads":                    testReads,
		"close while busy":         testCloseBusy,
		"close twice":              testCloseTwice,
	} {
		t.Run(name, func(t *testing.T) {
			alone(t)
			test(t, open(t, f.Start(t)))
		})
	}
	t.Run("close before use", func(t *testing.T) {
		alone(t)
		h := f.Start(t)
		within(t, "Close", func() { _ = h.Adapter.Close() })
	})
	for point, test := range map[Point]func(*testing.T, *session, *Trap){Oversize: testOversize, Redirect: testRedirect, Renewal: testRenewal} {
		t.Run(string(point), func(t *testing.T) {
			alone(t)
			p := &Trap{}
			start, err := f.provoked(point, p)
			if err != nil {
				t.Fatal(err)
			}
			if start == nil {
				t.Skip("not at this kind: " + f.Without[point])
			}
			test(t, open(t, start(t)), p)
		})
	}
}

// provoked returns what makes a harness for a point; nil if there is no such thing.
func (f *Fixture) provoked(point Point, p *Trap) (start func(*testing.T) Harness, err error) {
	switch {
	case point == Oversize && f.Oversize != nil:
		start = f.Oversize
	case f.Trapped != nil:
		start = func(t *testing.T) Harness { return f.Trapped(t, p) }
	}
	reason, without := f.Without[point]
	if without == (start != nil) || without && reason == "" {
		return nil, fmt.Errorf("the fixture has to say either how to provoke %s, or in Without why there is none", point)
	}
	return start, nil
}

// session is a running adapter.
type session struct {
	upstream.Adapter
	watched chan error // closed when Watch has returned
}

func open(t *testing.T, h Harness) *session {
	s := &session{Adapter: h.Adapter, watched: make(chan error)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if w, ok := h.Adapter.(upstream.Watcher); ok {
		go func() {
			defer close(s.watched)
			if err := w.Watch(ctx, upstream.Events{}); err != nil {
				t.Errorf("Watch: %v", err)
			}
		}()
	} else {
		close(s.watched)
	}
	t.Cleanup(func() {
		within(t, "Close", func() { _ = s.Close() })
		within(t, "Watch after Close", func() { <-s.watched })
		cancel()
		disconnected(t)
	})
	if _, err := s.call(t.Context(), Echo, `{"text":"ready"}`); err != nil {
		t.Fatalf("the first call: %v", err)
	}
	return s
}

func (s *session) call(ctx context.Context, tool, args string) (*upstream.Result, error) {
	params := fmt.Sprintf(`{"name":"exposed_%s","arguments":%s}`, tool, args)
	return s.Call(ctx, &upstream.Call{
		ID: "test", Principal: upstream.Local(), Op: upstream.CallTool, Name: tool, Tool: &upstream.Tool{Name: tool},
		Exposed: "exposed_" + tool, Params: json.RawMessage(params), Arguments: json.RawMessage(args),
		Timing: &upstream.Timing{},
	})
}

func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(generous):
		t.Errorf("%s hangs", what)
	}
}

// kinds checks that err is an *upstream.Error of one of the kinds.
func kinds(t *testing.T, err error, want ...upstream.Kind) *upstream.Error {
	t.Helper()
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok {
		t.Errorf("the error is %T (%v), want an *upstream.Error", err, err)
		return &upstream.Error{}
	}
	if !slices.Contains(want, e.Kind) {
		t.Errorf("the error is %s (%v), want %v", e.Kind, err, want)
	}
	return e
}

// text returns the text of the first content item.
func text(r *upstream.Result) string {
	content, _ := rawjson.Get(r.Raw, "content")
	for item := range rawjson.Elements(content) {
		s, _ := rawjson.GetString(item, "text")
		return s
	}
	return ""
}

func testTools(t *testing.T, s *session) {
	tools, err := s.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, tool := range tools {
		have[tool.Name] = true
		if tool.Upstream == "" || len(tool.Raw) == 0 {
			t.Errorf("tool %q lacks its upstream or its definition", tool.Name)
		}
	}
	for _, name := range []string{Echo, Sleep, Fail, Refuse} {
		if !have[name] {
			t.Errorf("tool %q is not listed", name)
		}
	}
}

func testAnswers(t *testing.T, s *session) {
	const odd = "é \u2028 <&> \" \\ \x00 \n"
	args, _ := json.Marshal(map[string]string{"text": odd})
	r, err := s.call(t.Context(), Echo, string(args))
	if err != nil || text(r) != odd || r.IsError {
		t.Errorf("echo: %v, %v", r, err)
	}
	if r, err = s.call(t.Context(), Fail, `{}`); err != nil || !r.IsError {
		t.Errorf("a failing tool is a result with isError: %v, %v", r, err)
	}
	_, err = s.call(t.Context(), Refuse, `{}`)
	kinds(t, err, upstream.InvalidArguments)
}

func testConcurrent(t *testing.T, s *session) {
	const n = 200
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			if _, err := s.call(t.Context(), Sleep, `{"ms":200}`); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
			want := fmt.Sprint("call ", i)
			r, err := s.call(t.Context(), Echo, fmt.Sprintf(`{"text":%q}`, want))
			if err != nil || text(r) != want {
				t.Errorf("call %d was answered %v, %v", i, r, err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > n*200*time.Millisecond*3/4 {
		t.Errorf("%d calls of 200 ms took %v: they waited for each other", n, took)
	}
}

func testDeadline(t *testing.T, s *session) {
	within(t, "a call past its deadline", func() {
		running(t, upstream.Timeout, func(after time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			_, err := s.call(ctx, Sleep, `{"ms":60000}`)
			return err
		})
	})
	s.works(t)
}

func testCancel(t *testing.T, s *session) {
	within(t, "a cancelled call", func() {
		running(t, upstream.Cancelled, func(after time.Duration) error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			defer time.AfterFunc(after, cancel).Stop()
			_, err := s.call(ctx, Sleep, `{"ms":60000}`)
			return err
		})
	})
	s.works(t)
}

// running ends a call some time after it was made, and later if it was not running
// by then: on a busy machine that may take longer.
func running(t *testing.T, kind upstream.Kind, endCall func(after time.Duration) error) {
	t.Helper()
	for _, after := range []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second} {
		if kinds(t, endCall(after), kind).Sent {
			return
		}
	}
	t.Error("Sent is false though the call was running")
}

func (s *session) works(t *testing.T) {
	t.Helper()
	if r, err := s.call(t.Context(), Echo, `{"text":"on"}`); err != nil || text(r) != "on" {
		t.Errorf("the next call: %v, %v", r, err)
	}
}

func testEnded(t *testing.T, s *session) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.call(ctx, Echo, `{"text":"x"}`)
	if e := kinds(t, err, upstream.Cancelled); e.Sent {
		t.Error("Sent is true for a call that had ended before it began")
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = s.call(late, Echo, `{"text":"x"}`)
	if e := kinds(t, err, upstream.Timeout); e.Sent {
		t.Error("Sent is true for a call whose deadline had passed before it began")
	}
}

func testUnknown(t *testing.T, s *session) {
	_, err := s.call(t.Context(), "no_such_tool", `{}`)
	kinds(t, err, upstream.InvalidArguments, upstream.NotFound, upstream.UpstreamError)
	s.works(t)
}

func testCloseBusy(t *testing.T, s *session) {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := s.call(t.Context(), Sleep, `{"ms":60000}`)
			kinds(t, err, upstream.Unavailable, upstream.Cancelled)
		})
	}
	time.Sleep(50 * time.Millisecond) // let them get going
	within(t, "Close while calls run", func() { _ = s.Close() })
	within(t, "calls after Close", wg.Wait)
	within(t, "a call after Close", func() {
		_, err := s.call(t.Context(), Echo, `{"text":"x"}`)
		if e := kinds(t, err, upstream.Unavailable); e.Sent {
			t.Error("Sent is true for a call after Close")
		}
	})
}

func testCloseTwice(t *testing.T, s *session) {
	within(t, "Close twice", func() {
		_ = s.Close()
		_ = s.Close()
	})
	within(t, "the list after Close", func() { _, _ = s.Tools(t.Context()) })
}
