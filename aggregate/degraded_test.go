package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// provoked is one way for a call to fail.
type provoked struct {
	name    string
	limits  aggregate.Limits
	opt     aggregate.Options
	attempt time.Duration
	schema  bool
	h       handler
	before  func(t *testing.T, f *fake, v *aggregate.View) // brings it about
	tool    string                                         // "" is crm_act
	args    string
	ctx     func(context.Context) (context.Context, context.CancelFunc)

	text, facts string
}

// fails is what a source answers, after a while.
func fails(after time.Duration, e upstream.Error) handler {
	return func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		time.Sleep(after)
		failed := e
		failed.Upstream, failed.Tool = c.Upstream, c.Name
		return nil, &failed
	}
}

// busy has the source carry out calls that take a minute.
func busy(tool string, n int) func(*testing.T, *fake, *aggregate.View) {
	return func(t *testing.T, _ *fake, v *aggregate.View) {
		for range n {
			go func() {
				_, _ = v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Session: "other", Client: "claude-code",
					Params: fmt.Appendf(nil, `{"name":%q}`, tool)})
			}()
			synctest.Wait()
		}
	}
}

// after makes these calls first.
func after(tools ...string) func(*testing.T, *fake, *aggregate.View) {
	return func(t *testing.T, _ *fake, v *aggregate.View) {
		for _, tool := range tools {
			callAs(t, v, &aggregate.Request{Principal: upstream.Local(), Session: "other"}, tool, `{}`)
		}
	}
}

var (
	slow handler = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		return takes(ctx, c, time.Minute)
	}
	refused = upstream.Error{Kind: upstream.Unavailable, Public: "it refuses connections; it may not be running", Err: errors.New("dial tcp 10.0.0.1:5432")}
	refuses = fails(0, refused)
	// What is refused at once is one failure to the breaker.
	refusesSlowly = fails(time.Second, refused)
)

// takes answers after a while, unless the call ends before.
func takes(ctx context.Context, c *upstream.Call, d time.Duration) (*upstream.Result, error) {
	select {
	case <-time.After(d):
		return ok()
	case <-ctx.Done():
		return nil, upstream.AsError(c.Upstream, c.Name, context.Cause(ctx))
	}
}

func everyFailure() []provoked {
	one := aggregate.Limits{Concurrency: 1, Queue: 1, QueueWait: 2 * time.Second}
	breaker := aggregate.Limits{Failures: 2, CoolDown: 5 * time.Second} // less up to a tenth: never another number of seconds
	return []provoked{
		{name: "down", h: fails(0, upstream.Error{Kind: upstream.Unavailable, Public: "it exited with status 3", RetryAfter: 4 * time.Second}),
			before: func(_ *testing.T, f *fake, _ *aggregate.View) { f.turn(upstream.Down) },
			text:   `unavailable: crm: it exited with status 3; retry in 4 s; other sources are unaffected.`,
			facts:  `{"attempts":1,"away":{"since":"2000-01-01T00:00:00Z","why":"down"},"code":"unavailable","queuedMs":0,"retryAfterMs":4000,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "down for long", h: refuses,
			before: func(t *testing.T, f *fake, v *aggregate.View) {
				f.turn(upstream.Down)
				after("crm_act")(t, f, v)
				time.Sleep(3 * time.Minute)
			},
			text:  `unavailable: crm: it refuses connections; it may not be running; it has been away for 3 min; retry later; other sources are unaffected.`,
			facts: `{"attempts":1,"away":{"since":"2000-01-01T00:00:00Z","why":"down"},"code":"unavailable","queuedMs":0,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "retries used up", h: refuses, limits: aggregate.Limits{Attempts: 3},
			text:  `unavailable: crm: it refuses connections; it may not be running; retry later; other sources are unaffected.`,
			facts: `{"attempts":3,"code":"unavailable","queuedMs":~,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "circuit of the source open", h: refusesSlowly, limits: breaker, before: after("crm_act", "crm_get"),
			text:  `unavailable: crm: its circuit is open after failures (the last: unavailable); retry in 5 s; other sources are unaffected.`,
			facts: `{"attempts":0,"away":{"since":"2000-01-01T00:00:02Z","why":"circuit_open"},"circuit":{"of":"source","state":"open","since":"2000-01-01T00:00:02Z","retryInMs":~,"failure":"unavailable"},"code":"unavailable","queuedMs":0,"retryAfterMs":~,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "circuit of the tool open", h: fails(time.Second, upstream.Error{Kind: upstream.Timeout, Sent: true}), limits: breaker, before: after("crm_act", "crm_act"),
			text:  `unavailable: crm: its circuit is open after failures (the last: timeout); retry in 5 s; other tools of crm and other sources are unaffected.`,
			facts: `{"attempts":0,"circuit":{"of":"tool","state":"open","since":"2000-01-01T00:00:02Z","retryInMs":~,"failure":"timeout"},"code":"unavailable","queuedMs":0,"retryAfterMs":~,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "the call that opens the circuit", h: fails(time.Second, upstream.Error{Kind: upstream.Timeout, Sent: true, Public: "no answer in time"}), limits: breaker, before: after("crm_act"),
			text:  `timeout: crm: no answer in time; the call was sent and may have been carried out; retry in 5 s; other tools of crm and other sources are unaffected.`,
			facts: `{"attempts":1,"circuit":{"of":"tool","state":"open","since":"2000-01-01T00:00:02Z","retryInMs":~,"failure":"timeout"},"code":"timeout","queuedMs":0,"retryAfterMs":~,"sent":true,"tool":"act","upstreamMs":1000}`},
		{name: "lost after it was sent", h: fails(time.Second, upstream.Error{Kind: upstream.Unavailable, Sent: true, Public: "the connection broke"}),
			text:  `unavailable: crm: the connection broke; the call was sent and may have been carried out; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"unavailable","queuedMs":0,"sent":true,"tool":"act","upstreamMs":1000}`},
		{name: "a read lost after it was sent", tool: "crm_get", h: fails(time.Second, upstream.Error{Kind: upstream.Unavailable, Sent: true, Public: "the connection broke"}),
			text:  `unavailable: crm: the connection broke; retry later; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"unavailable","queuedMs":0,"sent":true,"tool":"get","upstreamMs":1000}`},

		{name: "quota beyond the deadline", h: slow, limits: aggregate.Limits{Rate: 1.0 / 60, Burst: 1}, opt: aggregate.Options{Deadline: 30 * time.Second}, before: busy("crm_act", 1),
			text:  `rate_limited: crm: its quota allows the call in 1m0s, which is later than the call's deadline; retry in 60 s; other sources are unaffected.`,
			facts: `{"attempts":0,"code":"rate_limited","queuedMs":0,"retryAfterMs":60000,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "told to wait", h: fails(0, upstream.Error{Kind: upstream.RateLimited, Sent: true, RetryAfter: 7 * time.Second}),
			text:  `rate_limited: crm: the source's rate limit is used up; retry in 7 s; other sources are unaffected.`,
			facts: `{"attempts":1,"away":{"since":"2000-01-01T00:00:00Z","why":"frozen"},"code":"rate_limited","queuedMs":0,"retryAfterMs":7000,"sent":true,"tool":"act","upstreamMs":0}`},
		{name: "told to wait longer than the deadline", h: fails(0, upstream.Error{Kind: upstream.RateLimited, Sent: true, RetryAfter: 2 * time.Minute}), before: after("crm_act"),
			text:  `rate_limited: crm: its quota allows the call in 2m0s, which is later than the call's deadline; retry in 2 min; other sources are unaffected.`,
			facts: `{"attempts":0,"away":{"since":"2000-01-01T00:00:00Z","why":"frozen"},"code":"rate_limited","queuedMs":0,"retryAfterMs":120000,"sent":false,"tool":"act","upstreamMs":0}`},

		{name: "queue full", h: slow, limits: one, before: busy("crm_get", 2),
			text:  `overloaded: crm: 1 calls are under way and 1 are waiting, which is the limit; nothing was sent; retry later; other sources are unaffected.`,
			facts: `{"attempts":0,"code":"overloaded","queuedMs":0,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "queue wait over", h: slow, limits: one, before: busy("crm_get", 1),
			text:  `overloaded: crm: no place became free within 2s; nothing was sent; retry later; other sources are unaffected.`,
			facts: `{"attempts":0,"code":"overloaded","queuedMs":2000,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "line of writes full", h: slow, limits: one, tool: "crm_put", before: busy("crm_put", 2),
			text:  `overloaded: crm: 1 calls that run one after another are waiting, which is the limit; nothing was sent; retry later; other sources are unaffected.`,
			facts: `{"attempts":0,"code":"overloaded","queuedMs":0,"sent":false,"tool":"put","upstreamMs":0}`},

		{name: "attempt timeout", h: untilDone, attempt: 2 * time.Second,
			text:  `timeout: crm: no answer within 2s; the call was sent and may have been carried out; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"timeout","queuedMs":0,"sent":true,"tool":"act","upstreamMs":2000}`},
		{name: "a read's attempt timeout", tool: "crm_get", h: untilDone, attempt: 2 * time.Second,
			text:  `timeout: crm: no answer within 2s; retry later; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"timeout","queuedMs":0,"sent":true,"tool":"get","upstreamMs":2000}`},
		{name: "deadline in the source", h: untilDone, opt: aggregate.Options{Deadline: 9 * time.Second},
			text:  `timeout: crm: no answer within 9s, the time a call may take; the call was sent and may have been carried out; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"timeout","queuedMs":0,"sent":true,"tool":"act","upstreamMs":9000}`},
		{name: "deadline in the queue", h: slow, limits: aggregate.Limits{Concurrency: 1, Queue: 9}, before: busy("crm_act", 1),
			text:  `timeout: crm: its turn did not come within 50s, the time a call may take; nothing was sent; retry later; other sources are unaffected.`,
			facts: `{"attempts":0,"code":"timeout","queuedMs":50000,"sent":false,"tool":"act","upstreamMs":0}`},

		{name: "401", h: fails(0, upstream.Error{Kind: upstream.NeedsLogin, Sent: true, Public: "it answered HTTP 401"}),
			text:  `needs_login: crm: it answered HTTP 401; a person has to renew the sign-in; repeating the call will not help; other sources are unaffected.`,
			facts: `{"attempts":1,"away":{"since":"2000-01-01T00:00:00Z","why":"needs_login"},"code":"needs_login","queuedMs":0,"sent":true,"tool":"act","upstreamMs":0}`},
		{name: "403", h: fails(0, upstream.Error{Kind: upstream.Denied, Sent: true, Public: "it answered HTTP 403"}),
			text:  `denied: crm: it answered HTTP 403; repeating the call will not help; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"denied","queuedMs":0,"sent":true,"tool":"act","upstreamMs":0}`},
		{name: "nothing may be changed", limits: aggregate.Limits{Writes: aggregate.Deny},
			text:  `denied: crm: nothing may be changed there (writes = "deny"), and this tool does not say that it only reads; repeating the call will not help; other sources are unaffected.`,
			facts: `{"attempts":0,"code":"denied","queuedMs":0,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "arguments", schema: true, args: `{"n":"x"}`, tool: "crm_typed",
			text:  `invalid_arguments: crm: n: got string, want integer; change the arguments; repeating the same call will not help.`,
			facts: `{"attempts":0,"code":"invalid_arguments","queuedMs":0,"sent":false,"tool":"typed","upstreamMs":0}`},
		{name: "not found", h: fails(0, upstream.Error{Kind: upstream.NotFound, Sent: true, Public: "there is no such record"}),
			text:  `not_found: crm: there is no such record.`,
			facts: `{"attempts":1,"code":"not_found","queuedMs":0,"sent":true,"tool":"act","upstreamMs":0}`},
		{name: "a sentence of the source's", h: fails(0, upstream.Error{Kind: upstream.NotFound, Sent: true, Public: "No such record."}),
			text:  `not_found: crm: No such record.`,
			facts: `{"attempts":1,"code":"not_found","queuedMs":0,"sent":true,"tool":"act","upstreamMs":0}`},
		{name: "a question of the source's", h: fails(0, upstream.Error{Kind: upstream.NotFound, Sent: true, Public: "Did you mean C-1001?"}),
			text:  `not_found: crm: Did you mean C-1001?`,
			facts: `{"attempts":1,"code":"not_found","queuedMs":0,"sent":true,"tool":"act","upstreamMs":0}`},
		{name: "the source's own error", h: fails(0, upstream.Error{Kind: upstream.UpstreamError, Sent: true, RPC: &upstream.RPCError{Code: -32000, Message: "disk full"}}),
			text:  `upstream_error: crm: it answered "disk full" (code -32000); other sources are unaffected.`,
			facts: `{"attempts":1,"code":"upstream_error","queuedMs":0,"sent":true,"tool":"act","upstream":{"code":-32000,"message":"disk full"},"upstreamMs":0}`},
		{name: "an error without a code", h: fails(0, upstream.Error{Kind: upstream.UpstreamError, Sent: true, RPC: &upstream.RPCError{Message: "disk full"}}),
			text:  `upstream_error: crm: it answered "disk full"; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"upstream_error","queuedMs":0,"sent":true,"tool":"act","upstream":{"message":"disk full"},"upstreamMs":0}`},
		{name: "garbage", tool: "crm_get", h: fails(0, upstream.Error{Kind: upstream.UpstreamError, Sent: true, Public: "its answer is not valid JSON"}),
			text:  `upstream_error: crm: its answer is not valid JSON; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"upstream_error","queuedMs":0,"sent":true,"tool":"get","upstreamMs":0}`},
		{name: "a write's outcome", tool: "crm_put", h: untilDone, attempt: 2 * time.Second,
			text:  `write_outcome_unknown: crm: no answer within 2s; it may or may not have been carried out: check before you repeat it; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"write_outcome_unknown","queuedMs":0,"sent":true,"tool":"put","upstreamMs":2000}`},
		{name: "cancelled", h: slow, ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(context.Canceled) })
			return ctx, func() { cancel(nil) }
		},
			text:  `cancelled: crm: the call was cancelled; the call was sent and may have been carried out; other sources are unaffected.`,
			facts: `{"attempts":1,"code":"cancelled","queuedMs":0,"sent":true,"tool":"act","upstreamMs":1000}`},
		{name: "cancelled while it waited", h: slow, limits: aggregate.Limits{Concurrency: 1, Queue: 9}, before: busy("crm_act", 1),
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				time.AfterFunc(time.Second, func() { cancel(context.Canceled) })
				return ctx, func() { cancel(nil) }
			},
			text:  `cancelled: crm: the call was cancelled; other sources are unaffected.`,
			facts: `{"attempts":0,"code":"cancelled","queuedMs":1000,"sent":false,"tool":"act","upstreamMs":0}`},
		{name: "panic", h: func(context.Context, *upstream.Call) (*upstream.Result, error) { panic("x") },
			text:  `internal: crm: a fault inside Bulkhead; it has been logged; the call may have been carried out; other sources are unaffected.`,
			facts: `{"attempts":0,"code":"internal","queuedMs":0,"sent":true,"tool":"act","upstreamMs":0}`},
	}
}

func TestEveryFailureSaysWhatAModelNeeds(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range everyFailure() {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := annotated(t, p.h)
				f.tools = append(f.tools, parse(t, "crm", `{"name":"typed","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}}}}`))
				m := limited(f, p.limits)
				m.Attempt, m.CheckSchema = p.attempt, p.schema
				v, _ := start(t, p.opt, m)
				names(t, v)
				if p.before != nil {
					p.before(t, f, v)
				}
				if p.tool == "" {
					p.tool = "crm_act"
				}
				if p.args == "" {
					p.args = "{}"
				}
				ctx := t.Context()
				if p.ctx != nil {
					var cancel context.CancelFunc
					ctx, cancel = p.ctx(ctx)
					defer cancel()
				}
				raw, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Session: "s", Params: fmt.Appendf(nil, `{"name":%q,"arguments":%s}`, p.tool, p.args)})
				if err != nil {
					t.Fatal(err)
				}
				var a answer
				if err := json.Unmarshal(raw, &a); err != nil || !a.IsError {
					t.Fatalf("%v in %s", err, raw)
				}
				code, _, _ := strings.Cut(a.text(), ":")
				seen[code] = true
				if diff := cmp.Diff([]string{p.text, p.facts}, []string{a.text(), steady(a.Meta[aggregate.MetaError])}); diff != "" {
					t.Error(diff)
				}
				time.Sleep(5 * time.Minute) // others end
			})
		})
	}
	for k := upstream.Internal; k <= upstream.Cancelled; k++ {
		if !seen[k.Code()] {
			t.Errorf("nothing provokes %s", k)
		}
	}
}

var (
	jittered = regexp.MustCompile(`\b4[5-9]\d{2}([,}])`)
	paused   = regexp.MustCompile(`("attempts":3,.*"queuedMs":)\d+,`)
)

// steady returns facts without what is random, and without the source, which must
// be "crm".
func steady(facts json.RawMessage) string {
	s := jittered.ReplaceAllString(strings.Replace(string(facts), `,"source":"crm"`, "", 1), "~$1")
	return paused.ReplaceAllString(s, "$1~,")
}

// A request that is no tool call fails with the same words, and the same facts in
// its data, in either era.
func TestProtocolErrorsHaveTheSameFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRich(t, "crm")
		r.put(t, upstream.Prompts, `{"name":"ask"}`)
		r.call = refusesSlowly
		v, _ := start(t, aggregate.Options{}, aggregate.Member{ID: "crm", Adapter: r, Prefix: "crm", Limits: aggregate.Limits{Attempts: 2, Failures: 2, CoolDown: 5 * time.Second}})
		const want = `unavailable: crm: it refuses connections; it may not be running; retry in 5 s; other sources are unaffected.`
		for _, modern := range []bool{false, true} {
			names(t, v)
			r.turn(upstream.Up)
			r.touch()
			synctest.Wait()
			_, rpc := ask(t, v, modern, "prompts/get", `{"name":"crm_ask"}`)
			facts, _ := rawjson.Get(rpc.Data, aggregate.MetaError)
			if rpc.Code != upstream.CodeInternal || rpc.Message != want {
				t.Errorf("%+v", rpc)
			}
			for _, fact := range []string{`"attempts":2`, `"sent":false`, `"tool":"ask"`, `"circuit":{"of":"source","state":"open",`, `"away":{`, `"retryAfterMs":`, `"queuedMs":`} {
				if !strings.Contains(string(facts), fact) {
					t.Errorf("no %s in %s", fact, facts)
				}
			}
		}
	})
}
