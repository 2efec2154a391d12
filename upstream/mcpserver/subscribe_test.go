package mcpserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

func updated(uri string) upstream.Topic { return upstream.Topic{Note: upstream.NoteUpdated, Key: uri} }

func subscribe(t *testing.T, a *mcpserver.Adapter, topic upstream.Topic) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hanging)
	defer cancel()
	return a.Subscribe(ctx, topic)
}

// do has the library do something and returns what it says.
func do(t *testing.T, a *mcpserver.Adapter, tool, arg string) string {
	t.Helper()
	q, _ := json.Marshal(map[string]string{"text": arg})
	r, err := call(t.Context(), a, tool, string(q))
	if err != nil {
		t.Errorf("%s: %v", tool, err)
		return ""
	}
	return text(r)
}

func TestSubscribe(t *testing.T) {
	everyLibrary(t, func(t *testing.T, a *mcpserver.Adapter, e *ear, _ func()) {
		for _, uri := range []string{"lib://a", "lib://b"} {
			if err := subscribe(t, a, updated(uri)); err != nil {
				t.Fatal(err)
			}
		}
		if err := subscribe(t, a, updated("lib://a")); err != nil {
			t.Errorf("once more: %v", err)
		}
		eventually(t, "the channel for notifications is open", func() bool {
			do(t, a, "update", "lib://a")
			return e.heard(`"lib://a"`) > 0
		})
		do(t, a, "update", "lib://b")
		do(t, a, "update", "lib://c")
		eventually(t, "an update", func() bool { return e.heard(`notifications/resources/updated {"uri":"lib://b","n":`) == 1 })
		err := subscribe(t, a, updated("secret:x"))
		if err == nil {
			t.Fatal("a secret is granted")
		}
		if e := wantOneOf(t, err, upstream.Denied, upstream.NotFound); e.Kind == upstream.NotFound && e.RPC == nil {
			t.Errorf("the error object is lost: %v", err)
		}
		if err := subscribe(t, a, upstream.Topic{Note: "notifications/other", Key: "x"}); err == nil {
			t.Error("an unknown notification is granted")
		}
		a.Unsubscribe(updated("lib://a"))
		a.Unsubscribe(updated("lib://never"))
		eventually(t, "it is unsubscribed", func() bool { return do(t, a, "state", "") == "lib://b" })
		if e.heard("lib://c")+e.heard("subscriptionId") != 0 {
			t.Errorf("heard %v", e.notes)
		}
	})
}

// wantOneOf checks that err is an *upstream.Error of one of the kinds.
func wantOneOf(t *testing.T, err error, kinds ...upstream.Kind) *upstream.Error {
	t.Helper()
	e := upstream.AsError("", "", err)
	if !slices.Contains(kinds, e.Kind) {
		t.Errorf("the error is %v (%s), want %v", err, e.Kind, kinds)
	}
	return e
}

func TestSubscriptionsAreRenewed(t *testing.T) {
	t.Parallel()
	everyLibrary(t, func(t *testing.T, a *mcpserver.Adapter, e *ear, lose func()) {
		var want []string
		for i := range 20 {
			uri := fmt.Sprintf("lib://%02d", i)
			want = append(want, uri)
			if err := subscribe(t, a, updated(uri)); err != nil {
				t.Fatal(err)
			}
		}
		a.Unsubscribe(updated("lib://00"))
		gone := 0
		for range 2 {
			gone = e.heard(`updated {"uri":"lib://00"}`) // perhaps as long as it was subscribed
			before := e.heard(`updated {"uri":"lib://19"}`)
			lose()
			eventually(t, "they are renewed", func() bool {
				r, err := call(t.Context(), a, "state", `{}`)
				return err == nil && text(r) == strings.Join(want[1:], " ")
			})
			eventually(t, "what may have been missed is told", func() bool { return e.heard(`updated {"uri":"lib://19"}`) > before })
		}
		if e.heard(`updated {"uri":"lib://00"}`) != gone {
			t.Error("what was unsubscribed is told")
		}
	})
}

// A server that has just started again may be too busy to be subscribed to.
func TestRenewalIsTriedAgain(t *testing.T) {
	t.Parallel()
	var busy atomic.Int32
	h := &sessions{library: newLibrary(false)}
	a := newHTTP(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte("resources/subscribe")) && busy.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		h.ServeHTTP(w, r)
	})).URL, quickly())
	e := hear(t, a)
	for _, uri := range []string{"lib://a", "lib://b"} {
		if err := subscribe(t, a, updated(uri)); err != nil {
			t.Fatal(err)
		}
	}
	busy.Store(3)
	h.restart()
	eventually(t, "they are renewed", func() bool {
		r, err := call(t.Context(), a, "state", `{}`)
		return err == nil && text(r) == "lib://a lib://b"
	})
	eventually(t, "what may have been missed is told", func() bool {
		return e.heard(`{"uri":"lib://a"}`) > 0 && e.heard(`{"uri":"lib://b"}`) > 0
	})
	// Whoever waits for the answer is told at once.
	busy.Store(1)
	wantOneOf(t, subscribe(t, a, updated("lib://c")), upstream.Unavailable)
	a.Unsubscribe(updated("lib://a"))
	eventually(t, "it is unsubscribed", func() bool { return do(t, a, "state", "") == "lib://b" })
}

func TestListChanges(t *testing.T) {
	everyLibrary(t, func(t *testing.T, a *mcpserver.Adapter, e *ear, _ func()) {
		for kind, lists := range map[string][]upstream.List{
			"tools": {upstream.Tools}, "prompts": {upstream.Prompts}, "resources": {upstream.Resources, upstream.Templates},
		} {
			eventually(t, kind+" have changed", func() bool {
				do(t, a, "tell", `{"jsonrpc":"2.0","method":"notifications/`+kind+`/list_changed"}`)
				for _, l := range lists {
					if e.count(l) == 0 {
						return false
					}
				}
				return true
			})
		}
		if e.count("") != 1 || e.count(upstream.Skills) != 0 {
			t.Errorf("changes: %v", e.lists)
		}
	})
}

func TestNotesAreChecked(t *testing.T) {
	everyLibrary(t, func(t *testing.T, a *mcpserver.Adapter, e *ear, _ func()) {
		tell := func(method, params string) {
			do(t, a, "tell", `{"jsonrpc":"2.0","method":"notifications/`+method+`","params":`+params+`}`)
		}
		eventually(t, "the channel is open", func() bool {
			tell("resources/updated", `{"uri":"open"}`)
			return e.heard("open") > 0
		})
		for _, params := range []string{
			`{"n":1}`, `[]`, `null`, `{"uri":7}`, `{"uri":""}`, `{"uri":"bad","a":1,"a":2}`, `{"uri":"bad","x":"` + strings.Repeat("x", 70<<10) + `"}`,
		} {
			tell("resources/updated", params)
			tell("tasks", params)
		}
		tell("tasks", `{"taskId":"t1","n":1e400,"_meta":{"io.modelcontextprotocol/subscriptionId":1,"v":1}}`)
		tell("elicitation/complete", `{"elicitationId":"e1","_meta":{"io.modelcontextprotocol/subscriptionId":1}}`)
		eventually(t, "the last one", func() bool { return e.heard("e1") == 1 })
		if e.heard(`notifications/tasks {"taskId":"t1","n":1e400,"_meta":{"v":1}}`) != 1 || e.heard(`complete {"elicitationId":"e1"}`) != 1 || e.heard("bad") != 0 {
			t.Errorf("heard %v", e.notes)
		}
	})
}

func TestTasksAreListenedTo(t *testing.T) {
	for name, make := range libraries {
		t.Run(name, func(t *testing.T) {
			a, _ := make(t)
			e := hear(t, a)
			err := subscribe(t, a, upstream.Topic{Note: upstream.NoteTask, Key: "task 1"})
			if !strings.Contains(name, "modern") {
				wantKind(t, err, upstream.Denied, false)
				return
			}
			if err != nil || do(t, a, "state", "") != "task 1" {
				t.Fatal(err)
			}
			do(t, a, "tell", `{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"task 1","status":"working"}}`)
			eventually(t, "its state", func() bool { return e.heard("working") > 0 })
		})
	}
}

// TestOneBadTopicCostsOnlyItself: a server that refuses a stream for one of its
// topics has the others refused no longer.
func TestOneBadTopicCostsOnlyItself(t *testing.T) {
	t.Parallel()
	l := newLibrary(true)
	a := newHTTP(t, serve(t, l).URL, quickly())
	hear(t, a)
	var wg sync.WaitGroup
	for i := range 40 {
		uri := fmt.Sprintf("lib://%02d", i)
		if i%10 == 5 {
			uri = fmt.Sprintf("poison:%d", i)
		}
		wg.Go(func() {
			err := subscribe(t, a, updated(uri))
			if bad := strings.HasPrefix(uri, "poison"); bad != (err != nil) {
				t.Errorf("%s: %v", uri, err)
			} else if bad {
				wantKind(t, err, upstream.InvalidArguments, true)
			}
		})
	}
	wg.Wait()
	if got := strings.Fields(l.state()); len(got) != 36 {
		t.Errorf("subscribed are %v", got)
	}
}

// TestReplacingTheStreamLosesNothing tells updates without a pause while the
// topics change all the time.
func TestReplacingTheStreamLosesNothing(t *testing.T) {
	t.Parallel()
	l := newLibrary(true)
	a := newHTTP(t, serve(t, l).URL, quickly())
	e := hear(t, a)
	if err := subscribe(t, a, updated("lib://steady")); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	last := 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(4 * time.Millisecond):
				// No further ahead than arrives while a stream lingers, on a busy machine too.
				if last < 10 || e.heard(fmt.Sprintf(`"n":%d}`, last-9)) > 0 {
					last = l.update("lib://steady")
				}
			}
		}
	})
	for i := range 30 {
		if err := subscribe(t, a, updated(fmt.Sprint("lib://", i))); err != nil {
			t.Error(err)
		}
		if i%3 == 0 {
			a.Unsubscribe(updated(fmt.Sprint("lib://", i)))
		}
	}
	close(stop)
	wg.Wait()
	eventually(t, "the last update", func() bool { return e.heard(fmt.Sprintf(`"n":%d}`, last)) > 0 })
	for n := 1; n <= last; n++ {
		if e.heard(fmt.Sprintf(`"n":%d}`, n)) == 0 {
			t.Errorf("update %d of %d is lost", n, last)
		}
	}
	eventually(t, "there is one stream left", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.streams) == 1
	})
	if l.opened < 5 {
		t.Errorf("only %d streams were opened, this tests nothing", l.opened)
	}
}

// TestSubscribeEnds: a server that confirms nothing costs no more than the
// subscription.
func TestSubscribeEnds(t *testing.T) {
	l := newLibrary(true)
	l.noAck = true
	a := newHTTP(t, serve(t, l).URL, quickly())
	e := hear(t, a)
	do(t, a, "update", "lib://a") // it is connected to now
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := a.Subscribe(ctx, updated("lib://a"))
	wantKind(t, err, upstream.Timeout, true)
	do(t, a, "tell", `{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)
	eventually(t, "its lists are heard all the same", func() bool { return e.count(upstream.Prompts) > 0 })
	done := make(chan error, 1)
	go func() { done <- a.Subscribe(context.WithoutCancel(t.Context()), updated("lib://b")) }()
	time.Sleep(50 * time.Millisecond)
	_ = a.Close()
	wantOneOf(t, <-done, upstream.Unavailable)
	wantKind(t, a.Subscribe(t.Context(), updated("lib://c")), upstream.Unavailable, false)
	a.Unsubscribe(updated("lib://b"))
}

// TestNoSubscriptionsWithoutTheCapability: the server is not asked.
func TestNoSubscriptionsWithoutTheCapability(t *testing.T) {
	for name, a := range map[string]*mcpserver.Adapter{
		"stdio": newFake(t, "good", quickly()), "http": newHTTP(t, serve(t, &legacy{}).URL, quickly()),
		"modern": newHTTP(t, serve(t, http.HandlerFunc(modernStreams)).URL, quickly()),
	} {
		t.Run(name, func(t *testing.T) {
			hear(t, a)
			wantKind(t, subscribe(t, a, updated("lib://a")), upstream.Denied, false)
		})
	}
}
