package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// elicit asks as a legacy upstream does, and answers with what it was told.
func elicit(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	answer, err := c.Back.Ask(ctx, question("name?"))
	if ctx.Err() != nil {
		return nil, upstream.AsError("crm", "get", context.Cause(ctx))
	}
	if err != nil {
		return upstream.TextResult("refused: "+err.Error(), true), nil
	}
	return upstream.TextResult("told "+string(answer), false), nil
}

func question(message string) upstream.Question {
	return upstream.Question{Method: upstream.AskElicitation, Params: fmt.Appendf(nil, `{"message":%q}`, message)}
}

func TestModernClientLegacyUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			answers := make([]string, 3)
			var w sync.WaitGroup
			for i := range 2 {
				w.Go(func() {
					time.Sleep(time.Duration(i) * 20 * time.Millisecond)
					raw, _ := c.Back.Ask(ctx, question(fmt.Sprint("q", i)))
					answers[i] = string(raw)
				})
			}
			w.Wait()
			raw, _ := c.Back.Ask(ctx, upstream.Question{Method: upstream.AskElicitation,
				Params: []byte(`{"mode":"url","elicitationId":"e","url":"https://a","message":"open"}`)})
			answers[2] = string(raw)
			return upstream.TextResult(strings.Join(answers, " "), false), nil
		})
		began := time.Now()
		first := must(t, v, modernRequest(alice, getX))
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("asked after %s", took)
		}
		want := fmt.Sprintf(`{"resultType":"input_required","inputRequests":{"q1":{"method":"elicitation/create","params":{"message":"[crm] q0"}},`+
			`"q2":{"method":"elicitation/create","params":{"message":"[crm] q1"}}},"requestState":%q}`, *first.State)
		if diff := cmp.Diff(want, first.raw); diff != "" {
			t.Error(diff)
		}
		time.Sleep(4 * time.Minute)                                                                        // longer than any deadline
		second := must(t, v, modernRequest(alice, retry(first.State, `{"q2":{"a":2},"other":{"b":1}}`)))   // not everything
		third := must(t, v, modernRequest(alice, retry(second.State, `{"q1":{"a":1},"q2":{"a":"late"}}`))) // the rest
		if len(second.Requests) != 1 || second.Requests["q1"].Method == "" {
			t.Errorf("what is missing is not asked for again: %s", second.raw)
		}
		if got := string(third.Requests["q3"].Params); got != `{"mode":"url","url":"https://a","message":"[crm] open"}` {
			t.Error(third.raw)
		}
		last := must(t, v, modernRequest(alice, retry(third.State, `{"q3":{"a":3}}`)))
		if last.text() != `{"a":1} {"a":2} {"a":3}` || last.ResultType != "complete" {
			t.Error(last.raw)
		}
	})
}

func TestProgressGoesToTheRequestThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			c.Back.Progress([]byte(`1`))
			c.Back.Log([]byte(`1`))
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				time.Sleep(time.Second)
				c.Back.Progress([]byte(`2`)) // nobody listens
				c.Back.Log([]byte(`2`))
			}()
			res, err := elicit(ctx, c)
			<-ended
			c.Back.Progress([]byte(`3`))
			c.Back.Log([]byte(`3`))
			return res, err
		})
		var heard []string
		request := func(name, params string) *aggregate.Request {
			r := modernRequest(alice, params)
			r.Back.Progress = func(p json.RawMessage) { heard = append(heard, name+" progress "+string(p)) }
			r.Back.Log = func(p json.RawMessage) { heard = append(heard, name+" log "+string(p)) }
			return r
		}
		first := must(t, v, request("first", getX))
		time.Sleep(2 * time.Second)
		must(t, v, request("retry", retry(first.State, `{"q1":{}}`)))
		want := []string{"first progress 1", "first log 1", "retry progress 3", "retry log 3"}
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNobodyComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lockedText
		ended := make(chan time.Time, 1)
		v := serve(t, aggregate.Options{AskTimeout: time.Minute, Log: slog.New(slog.NewTextHandler(&logged, nil))},
			func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				res, err := elicit(ctx, c)
				ended <- time.Now()
				return res, err
			})
		began := time.Now()
		first := must(t, v, modernRequest(alice, getX))
		if took := (<-ended).Sub(began); took != time.Minute+50*time.Millisecond {
			t.Errorf("cancelled after %s", took)
		}
		synctest.Wait()
		if _, err := send(t, t.Context(), v, modernRequest(alice, retry(first.State, `{"q1":{}}`))); err == nil || !strings.Contains(err.Message, "expired") {
			t.Error(err)
		}
		if !strings.Contains(logged.String(), "call ended while it waited for its client") {
			t.Error(logged.String())
		}
	})
}

func TestTheClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan error, 1)
		v := serve(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			time.Sleep(time.Second)
			res, err := elicit(ctx, c)
			ends <- context.Cause(ctx)
			return res, err
		})
		for _, before := range []time.Duration{500 * time.Millisecond, 1020 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), before)
			if o, err := send(t, ctx, v, modernRequest(alice, getX)); !o.IsError {
				t.Errorf("gone after %s: %s %v", before, o.raw, err)
			}
			if cause := <-ends; cause == nil {
				t.Errorf("gone after %s, and the call went on", before)
			}
			cancel()
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, _ := send(t, ctx, v, modernRequest(alice, getX))
		cancel() // after it was parked
		time.Sleep(time.Second)
		if o := must(t, v, modernRequest(alice, retry(first.State, `{"q1":{}}`))); o.text() != "told {}" || <-ends != nil {
			t.Error(o.raw)
		}
	})
}

// Of two equal retries at once, one goes on.
func TestTwoRetriesAtOnce(t *testing.T) {
	for _, h := range []handler{elicit, modernAsker(askName, new([]string))} {
		for range 20 {
			synctest.Test(t, func(t *testing.T) {
				v := serve(t, aggregate.Options{}, h)
				first := must(t, v, modernRequest(alice, getX))
				var mu sync.Mutex
				done, refused := 0, 0
				var w sync.WaitGroup
				for range 2 {
					w.Go(func() {
						o, err := send(t, t.Context(), v, modernRequest(alice, retry(first.State, `{"q1":{}}`)))
						mu.Lock()
						defer mu.Unlock()
						switch {
						case err != nil && strings.Contains(err.Message, "used already"):
							refused++
						case err == nil && !o.IsError:
							done++
						}
					})
				}
				w.Wait()
				if done != 1 || refused != 1 {
					t.Errorf("%d done, %d refused", done, refused)
				}
			})
		}
	}
}

func TestStoppingEndsWhatIsParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		f := newFake(t, "crm", "get")
		f.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			res, err := elicit(ctx, c)
			time.Sleep(3 * time.Second) // Run waits for it
			ended <- context.Cause(ctx)
			return res, err
		}
		v, stop := start(t, aggregate.Options{}, member(f))
		names(t, v)
		first := must(t, v, modernRequest(alice, getX))
		stop()
		select {
		case cause := <-ended:
			if cause == nil || !strings.Contains(cause.Error(), "stopping") {
				t.Error(cause)
			}
		default:
			t.Error("Run has returned before a call that it had taken over")
		}
		if _, err := send(t, t.Context(), v, modernRequest(alice, retry(first.State, `{"q1":{}}`))); err == nil || !strings.Contains(err.Message, "no longer waits") {
			t.Error(err)
		}
		if o := must(t, v, modernRequest(alice, getX)); !strings.Contains(o.text(), "refused: bulkhead is stopping") {
			t.Error(o.raw)
		}
	})
}

func TestParkedCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, elicit)
		states := make(map[upstream.Principal][]*string)
		ask := func(who upstream.Principal) (refused bool) {
			o := must(t, v, modernRequest(who, getX))
			if o.State != nil {
				states[who] = append(states[who], o.State)
			}
			return o.State == nil && strings.Contains(o.text(), "wait for answers already")
		}
		for i := range 32 {
			if ask(alice) {
				t.Fatalf("question %d is refused", i)
			}
		}
		if !ask(alice) {
			t.Error("33 calls of one user wait")
		}
		for i := range 1000 - 32 {
			if ask(upstream.NewPrincipal("idp", fmt.Sprint("user", i))) {
				t.Fatalf("user %d is refused", i)
			}
		}
		if !ask(bob) {
			t.Error("1,001 calls wait")
		}
		must(t, v, modernRequest(alice, retry(states[alice][0], `{"q1":{}}`)))
		if ask(bob) || !ask(bob) {
			t.Error("a place that was given back is not taken again, or twice")
		}
		time.Sleep(6 * time.Minute)
		for range 32 {
			if ask(alice) {
				t.Fatal("what has expired still counts")
			}
		}
	})
}

// The upstream's call is over before the client comes back.
func TestAResultWaitsForItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			_, err := c.Back.Ask(ctx, question("quick!"))
			return upstream.TextResult("without you: "+err.Error(), false), nil
		})
		first := must(t, v, modernRequest(alice, getX))
		time.Sleep(time.Minute)
		o := must(t, v, modernRequest(alice, retry(first.State, `{"q1":{}}`)))
		if o.text() != "without you: context deadline exceeded" {
			t.Error(o.raw)
		}
	})
}

func TestAQuestionThatTheClientCannotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			if c.Back.Ask == nil {
				return upstream.TextResult("mute", false), nil
			}
			_, err := c.Back.Ask(ctx, upstream.Question{Method: upstream.AskSampling})
			return upstream.TextResult(err.Error(), false), nil
		})
		r := modernRequest(alice, getX)
		r.Back.Capabilities = []byte(`{"elicitation":{}}`)
		if o := must(t, v, r); !strings.Contains(o.text(), "capability that this takes: sampling (code -32601)") {
			t.Error(o.raw)
		}
		r.Back.Capabilities = []byte(`{"extensions":{}}`)
		if o := must(t, v, r); o.text() != "mute" {
			t.Error(o.raw)
		}
	})
}

// A source that is taken out of the configuration stays until its parked calls
// are over, which is when nobody has answered in time.
func TestASourceThatLeavesWaitsForItsParkedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := newCloser(t, "crm", "get")
		gone.call = elicit
		a, err := aggregate.New([]aggregate.Member{of(gone)}, aggregate.Options{Plain: true, AskTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		must(t, v, modernRequest(alice, getX))
		if err := a.Swap(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if gone.closed.Load() {
			t.Error("closed while a call waits for its client")
		}
		time.Sleep(time.Minute)
		if !gone.closed.Load() {
			t.Error("not closed when nobody answered")
		}
	})
}

// A retry that its client cancels takes the call with it, like a first request.
func TestTheClientGoesAfterItsRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan error, 1)
		v := serve(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			if _, err := c.Back.Ask(ctx, question("name?")); err != nil {
				t.Error(err)
			}
			<-ctx.Done()
			ends <- context.Cause(ctx)
			return nil, upstream.AsError("crm", "get", context.Cause(ctx))
		})
		first := must(t, v, modernRequest(alice, getX))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if o, _ := send(t, ctx, v, modernRequest(alice, retry(first.State, `{"q1":{}}`))); !o.IsError {
			t.Error(o.raw)
		}
		if cause := <-ends; !errors.Is(cause, context.DeadlineExceeded) {
			t.Error(cause)
		}
	})
}
