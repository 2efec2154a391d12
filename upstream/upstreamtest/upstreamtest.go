// Package upstreamtest is the conformance suite that every adapter passes.
//
// Job: hold an [upstream.Adapter] to what the rest of Bulkhead relies on:
// calls end when their context does, many run at once, Close frees everything
// at any moment and leaves no goroutine, lists and operations other than tool
// calls work or are refused, answers may be too long, no redirect leads to another
// origin, a refused credential is tried anew once, and every failure is an
// *[upstream.Error] of the right kind.
//
// It owns no adapter and no server: whoever tests one brings a [Harness] with
// the tools the suite asks for. It must not know any kind of upstream.
package upstreamtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	Huge   = "huge"   // {}: more than the adapter takes in one answer; it need not be listed
)

// Harness is an adapter with a live upstream behind it. The suite runs Watch,
// where there is one, and Close. Where the adapter is an [upstream.Lister], its
// lists may hold anything; what they hold must work.
type Harness struct {
	Adapter upstream.Adapter
	Web     *Web   // where the upstream is asked over HTTP
	NoWeb   string // why there is none; one of the two must be there
}

// generous bounds what must merely not hang.
const generous = 20 * time.Second

// Run runs the suite. start makes a fresh harness, and cleans up what is not
// the adapter's by t.Cleanup.
func Run(t *testing.T, start func(t *testing.T) Harness) {
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
		"huge answer":              testHuge,
		"redirect elsewhere":       testRedirect,
		"credential refused":       testCredential,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t, start(t))) })
	}
	t.Run("close before use", func(t *testing.T) {
		within(t, "Close", func() { _ = start(t).Adapter.Close() })
	})
}

// session is a running adapter.
type session struct {
	upstream.Adapter
	web     *Web
	noWeb   string
	watched chan error // closed when Watch has returned
}

func open(t *testing.T, h Harness) *session {
	s := &session{Adapter: h.Adapter, web: h.Web, noWeb: h.NoWeb, watched: make(chan error)}
	mine := mark(t)
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
		mine.gone(t)
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
	if took := time.Since(began); took > n*200*time.Millisecond/2 {
		t.Errorf("%d calls of 200 ms took %v: they waited for each other", n, took)
	}
}

func testDeadline(t *testing.T, s *session) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	within(t, "a call past its deadline", func() {
		_, err := s.call(ctx, Sleep, `{"ms":60000}`)
		if e := kinds(t, err, upstream.Timeout); !e.Sent {
			t.Error("Sent is false though the call was running")
		}
	})
	s.works(t)
}

func testCancel(t *testing.T, s *session) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	within(t, "a cancelled call", func() {
		_, err := s.call(ctx, Sleep, `{"ms":60000}`)
		if e := kinds(t, err, upstream.Cancelled); !e.Sent {
			t.Error("Sent is false though the call was running")
		}
	})
	s.works(t)
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

func testHuge(t *testing.T, s *session) {
	within(t, "an answer that is too long", func() {
		_, err := s.call(t.Context(), Huge, `{}`)
		e := kinds(t, err, upstream.UpstreamError)
		if !e.Sent || !strings.Contains(e.Public, "bytes") && !strings.Contains(e.Public, "too large") {
			t.Errorf("of an answer that is too long it says %q, Sent is %v", e.Public, e.Sent)
		}
	})
	s.works(t)
}
