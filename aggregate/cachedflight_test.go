package aggregate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// coalescing runs "crm" with annotations that are trusted, and h behind it.
func coalescing(t *testing.T, opt aggregate.Options, h handler) *aggregate.View {
	t.Helper()
	v, _ := start(t, opt, limited(annotated(t, h), aggregate.Limits{TrustAnnotations: true}))
	names(t, v)
	synctest.Wait()
	return v
}

// getAs calls crm_get and returns what is heard of it.
func getAs(ctx context.Context, t *testing.T, v *aggregate.View, r *aggregate.Request) string {
	t.Helper()
	if r.Params == nil {
		r.Params = []byte(`{"name":"crm_get","arguments":{}}`)
	}
	raw, err := v.CallTool(ctx, r)
	if err != nil {
		t.Error(err)
		return ""
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Error(err)
	}
	return heard(a)
}

func TestEqualReadsAreOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		v := coalescing(t, aggregate.Options{}, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			time.Sleep(time.Second)
			return upstream.TextResult(c.Principal.String()+" "+c.Name+string(c.Arguments), false), nil
		})
		var w sync.WaitGroup
		for i := range 60 {
			who, arguments := []string{"alice", "bob"}[i%2], []string{`{"a":1,"b":2}`, ` {"b":2,"a":1}`, `{"a":2}`}[i%3]
			w.Go(func() {
				r := &aggregate.Request{Principal: upstream.NewPrincipal("x", who), Session: fmt.Sprint(i),
					Params: fmt.Appendf(nil, `{"name":"crm_get","arguments":%s}`, arguments)}
				got := getAs(t.Context(), t, v, r)
				if !strings.HasPrefix(got, "x/"+who+" get{") && !strings.HasPrefix(got, "x/"+who+" get {") || (i%3 == 2) != strings.Contains(got, `"a":2}`) {
					t.Errorf("%s was answered %s", who, got)
				}
			})
		}
		w.Wait()
		if n := o.arrivals(); n != 4 {
			t.Errorf("%d calls for four questions", n)
		}
		for range 3 {
			w.Go(func() { call(t, v, "crm_put", `{}`) })
			w.Go(func() { call(t, v, "crm_act", `{}`) })
		}
		w.Wait()
		if n := o.arrivals(); n != 10 {
			t.Errorf("%d calls for six writes", n-4)
		}
	})
}

// A failure is everybody's who waits for it, and nobody's who comes later.
func TestFailuresAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		v := coalescing(t, aggregate.Options{}, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			time.Sleep(time.Second)
			if o.arrivals() == 1 {
				panic("canary")
			}
			return nil, lost(c, upstream.Denied, true)
		})
		for i, want := range []string{"internal: crm: ", "denied: crm: "} {
			var w sync.WaitGroup
			for range 5 {
				w.Go(func() {
					if got := getAs(t.Context(), t, v, &aggregate.Request{Principal: upstream.Local()}); !strings.HasPrefix(got, want) {
						t.Error(got)
					}
				})
			}
			if w.Wait(); o.arrivals() != i+1 {
				t.Errorf("%d calls", o.arrivals())
			}
		}
	})
}

// Whoever leaves takes nothing from the others, even the first; the last one
// cancels the call. Each has its own deadline.
func TestWaitersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cancelled time.Duration
		began := time.Now()
		v := coalescing(t, aggregate.Options{Deadline: 10 * time.Second}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			<-ctx.Done()
			cancelled = time.Since(began)
			return nil, upstream.AsError(c.Upstream, c.Name, ctx.Err())
		})
		var w sync.WaitGroup
		leaves := func(after time.Duration, want string, at time.Duration) {
			w.Go(func() {
				ctx := t.Context()
				if after > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(ctx)
					time.AfterFunc(after, cancel)
				}
				got := getAs(ctx, t, v, &aggregate.Request{Principal: upstream.Local()})
				if !strings.HasPrefix(got, want) || time.Since(began) != at {
					t.Errorf("after %s: %s, want %s after %s", time.Since(began), got, want, at)
				}
			})
			synctest.Wait()
		}
		leaves(time.Second, "cancelled: ", time.Second)
		leaves(0, "timeout: crm: no answer within 10s", 10*time.Second)
		time.Sleep(4 * time.Second)
		leaves(0, "timeout: crm: no answer within 10s", 14*time.Second)
		if w.Wait(); cancelled != 14*time.Second {
			t.Errorf("cancelled after %s", cancelled)
		}
	})
}

// What is told meanwhile reaches everybody who wants it, until they have their
// answer; the upstream is told what they want.
func TestProgressAndLogReachEveryWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		v := coalescing(t, aggregate.Options{}, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			for i := range 3 {
				time.Sleep(time.Second)
				if c.Back.Progress != nil {
					c.Back.Progress(fmt.Appendf(nil, `{"progress":%d}`, i))
				}
				if c.Back.Log != nil {
					c.Back.Log(fmt.Appendf(nil, `{"level":%q}`, c.Back.LogLevel))
				}
			}
			return ok()
		})
		var mu sync.Mutex
		told := map[string]string{}
		var w sync.WaitGroup
		for i, who := range []string{"a", "b", "c", "quiet", "logs", "logs"} {
			r := &aggregate.Request{Principal: upstream.Local(), Session: "s"}
			tell := func(params json.RawMessage) {
				mu.Lock()
				defer mu.Unlock()
				told[who] += string(params)
			}
			switch who {
			case "quiet":
			case "logs":
				r.Back.Log, r.Back.LogLevel = tell, "info"
			default:
				r.Back.Progress = tell
			}
			w.Go(func() {
				time.Sleep(time.Duration(i) * 300 * time.Millisecond)
				getAs(t.Context(), t, v, r)
			})
		}
		w.Wait()
		all := `{"progress":0}{"progress":1}{"progress":2}`
		if told["a"] != all || told["b"] != all || told["c"] != all || told["quiet"] != "" {
			t.Error(told)
		}
		if told["logs"] != strings.Repeat(`{"level":"info"}{"level":"info"}`, 3) {
			t.Error(told["logs"])
		}
		if n := o.arrivals(); n != 3 {
			t.Errorf("%d calls for those who want progress, nothing, and log messages", n)
		}
	})
}

// A question goes to one who waits. The others then ask for themselves, each
// answers their own, and nobody is told what was made of another's.
func TestAQuestionEndsTheSharing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		v := coalescing(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			time.Sleep(time.Second)
			return elicit(ctx, c)
		})
		var w sync.WaitGroup
		for i := range 4 {
			answer := fmt.Sprintf(`{"action":"accept","content":{"n":%d}}`, i)
			var asked atomic.Int32
			w.Go(func() {
				r := &aggregate.Request{Principal: upstream.Local(), Back: upstream.Back{
					Capabilities: []byte(`{"elicitation":{}}`),
					Ask: func(context.Context, upstream.Question) (json.RawMessage, error) {
						asked.Add(1)
						time.Sleep(time.Hour)
						return []byte(answer), nil
					},
				}}
				if got := getAs(t.Context(), t, v, r); got != "told "+answer || asked.Load() != 1 {
					t.Errorf("%d: %s after %d questions", i, got, asked.Load())
				}
			})
			synctest.Wait()
		}
		if w.Wait(); o.arrivals() != 4 {
			t.Errorf("%d calls", o.arrivals())
		}
	})
}

// The upstream knows a call as one of a conversation: if those who wait in it
// have gone, it is nobody else's question.
func TestAQuestionStaysInItsConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := coalescing(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			time.Sleep(2 * time.Second)
			return elicit(ctx, c)
		})
		asks := func(session string) *aggregate.Request {
			return &aggregate.Request{Principal: upstream.Local(), Session: session, Back: upstream.Back{
				Capabilities: []byte(`{"elicitation":{}}`),
				Ask: func(context.Context, upstream.Question) (json.RawMessage, error) {
					t.Errorf("%s was asked", session)
					return nil, nil
				},
			}}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var w sync.WaitGroup
		w.Go(func() { getAs(ctx, t, v, asks("first")) })
		synctest.Wait()
		if got := getAs(t.Context(), t, v, asks("second")); !strings.HasPrefix(got, "refused: the client that could be asked has gone") {
			t.Error(got)
		}
		w.Wait()
	})
}

// What asks for input, and the handle of a task, are shared with nobody.
func TestWhatIsPersonalIsNotShared(t *testing.T) {
	elicits := &upstream.Error{Upstream: "crm", Tool: "get", Kind: upstream.UpstreamError, Sent: true,
		RPC: &upstream.RPCError{Code: -32042, Message: "open", Data: []byte(`{"elicitations":[{"mode":"url","url":"https://a","elicitationId":"e","message":"m"}]}`)}}
	for name, answers := range map[string]handler{
		"questions": func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return &upstream.Result{Raw: []byte(`{"resultType":"input_required","inputRequests":{},"requestState":"s"}`), Type: upstream.InputRequired}, nil
		},
		"a task": func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return &upstream.Result{Raw: []byte(`{"resultType":"task","taskId":"t"}`), Type: upstream.TaskCreated}, nil
		},
		"an address": func(context.Context, *upstream.Call) (*upstream.Result, error) { return nil, elicits },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o oracle
				v := coalescing(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
					defer o.enter(c)()
					time.Sleep(time.Second)
					return answers(ctx, c)
				})
				var w sync.WaitGroup
				for range 3 {
					w.Go(func() {
						r := modernRequest(upstream.Local(), `{"name":"crm_get","arguments":{}}`)
						r.Back.Capabilities = []byte(`{"elicitation":{"url":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}`)
						if raw, err := v.CallTool(t.Context(), r); err != nil {
							t.Errorf("%s, %v", raw, err)
						}
					})
				}
				if w.Wait(); o.arrivals() != 3 {
					t.Errorf("%d calls", o.arrivals())
				}
			})
		})
	}
}

// What the client can do may change the answer.
func TestClientsThatCanDoOtherThingsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		v := coalescing(t, aggregate.Options{}, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			time.Sleep(time.Second)
			return ok()
		})
		ask := func(context.Context, upstream.Question) (json.RawMessage, error) { return nil, nil }
		var w sync.WaitGroup
		for range 3 {
			for _, back := range []upstream.Back{
				{}, {Capabilities: []byte(`{"elicitation":{}}`), Ask: ask}, {Capabilities: []byte(`{"roots":{}}`), Ask: ask}, {Capabilities: []byte(`{ "roots": {}}`), Ask: ask},
			} {
				w.Go(func() { getAs(t.Context(), t, v, &aggregate.Request{Principal: upstream.Local(), Back: back}) })
			}
		}
		if w.Wait(); o.arrivals() != 3 {
			t.Errorf("%d calls", o.arrivals())
		}
	})
}

// The log tells who was answered with another, and after how long.
func TestTheLogTellsWhatMemoryDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		var mu sync.Mutex
		f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			time.Sleep(time.Second)
			return ok()
		})
		m := limited(f, aggregate.Limits{TrustAnnotations: true})
		m.Cache = aggregate.Cache{TTL: 10 * time.Second, Stale: time.Minute}
		v, _ := start(t, aggregate.Options{Log: slog.New(slog.NewJSONHandler(locked{&mu, &logged}, nil))}, m)
		names(t, v)
		synctest.Wait()
		logged.Reset()
		var w sync.WaitGroup
		w.Go(func() { call(t, v, "crm_get", `{}`) })
		time.Sleep(400 * time.Millisecond)
		call(t, v, "crm_get", `{}`)
		w.Wait()
		call(t, v, "crm_get", `{}`)
		time.Sleep(20 * time.Second)
		call(t, v, "crm_get", `{}`)
		time.Sleep(2 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		got := map[string]string{}
		for line := range strings.Lines(logged.String()) {
			var l struct {
				Memory         string
				Total          float64 `json:"total_ms"`
				Upstream       float64 `json:"upstream_ms"`
				Own            float64 `json:"own_ms"`
				Attempts       int
				Outcome, Level string
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			got[l.Memory] += fmt.Sprint(l.Total, l.Upstream, l.Own, l.Attempts, l.Outcome, l.Level)
		}
		want := map[string]string{"": "1000 1000 0 1okINFO", "coalesced": "600 600 0 0okINFO", "cached": "0 0 0 0okINFO",
			"stale": "0 0 0 0okINFO", "renewal": "1000 1000 0 1okINFO"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// locked is a buffer for several.
type locked struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}
