package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// withOwn runs an aggregate that has tools of its own until the test ends.
func withOwn(t *testing.T, opt aggregate.Options, members ...aggregate.Member) *aggregate.View {
	t.Helper()
	a, err := aggregate.New(members, opt)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	names(t, v) // its sources have been heard of
	return v
}

// indirectly returns the params of a call of bulkhead_call that stands for a call.
func indirectly(t *testing.T, params json.RawMessage) json.RawMessage {
	t.Helper()
	name, _ := rawjson.Get(params, "name")
	inner := fmt.Appendf(nil, `{"tool":%s`, name)
	if arguments, ok := rawjson.Get(params, "arguments"); ok {
		inner = fmt.Appendf(inner, `,"arguments":%s`, arguments)
	}
	out, err := rawjson.Set(params, "name", []byte(`"bulkhead_call"`))
	if err == nil {
		out, err = rawjson.Set(out, "arguments", append(inner, '}'))
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// made is what happens on one call: what the upstream and the client get to see.
type made struct {
	Upstream []string // each call as the adapter gets it
	Client   []string // progress, log messages, questions
	Answers  []string
	Took     time.Duration
}

// random is what differs from run to run.
var random = regexp.MustCompile(`"(requestState|taskId)":"[^"]*"|"handle\\?":\\?"[^"]*"`)

// scenario is a way in which a call goes.
type scenario struct {
	opt     aggregate.Options
	member  func(m *aggregate.Member)
	tool    string // default: one that takes anything
	answer  handler
	request aggregate.Request
	params  string // default: getX
	// again makes the params of a second request of the first one's answer.
	again func(first outcome) string
	// gone is how long the client waits; 0 is for ever.
	gone time.Duration
}

const anything = `{"name":"get","inputSchema":{"type":"object"}}`

func (s scenario) play(t *testing.T, indirect bool) (m made) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm")
		tool := s.tool
		if tool == "" {
			tool = anything
		}
		f.tools = []upstream.Tool{parse(t, "crm", tool), parse(t, "crm", `{"name":"other","inputSchema":{"type":"object"}}`)}
		f.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			deadline, _ := ctx.Deadline()
			m.Upstream = append(m.Upstream, fmt.Sprint(c.Principal, c.Session, c.Client, c.Op, c.Upstream, c.Name, c.Exposed, string(c.Params), string(c.Arguments),
				string(c.Back.Capabilities), c.Back.LogLevel, c.Back.Ask != nil, c.Back.Progress != nil, time.Until(deadline)))
			if s.answer == nil {
				return upstream.TextResult("ok", false), nil
			}
			return s.answer(ctx, c)
		}
		described := member(f)
		if s.member != nil {
			s.member(&described)
		}
		v := withOwn(t, s.opt, described)
		began := time.Now()
		send := func(params string) (o outcome) {
			r := s.request
			r.Method, r.Principal, r.Session, r.Client, r.Params = "tools/call", alice, "s1", "claude-code", []byte(params)
			if indirect {
				r.Params = indirectly(t, r.Params)
			}
			r.Back.Progress = func(p json.RawMessage) { m.Client = append(m.Client, "progress "+string(p)) }
			r.Back.Log, r.Back.LogLevel = func(p json.RawMessage) { m.Client = append(m.Client, "log "+string(p)) }, "info"
			ctx := t.Context()
			if s.gone > 0 {
				bounded, cancel := context.WithTimeout(ctx, s.gone)
				defer cancel()
				ctx = bounded
			}
			raw, err := v.CallTool(ctx, &r)
			if rpc, ok := errors.AsType[*upstream.RPCError](err); ok {
				m.Answers = append(m.Answers, fmt.Sprint(rpc.Code, rpc.Message, string(rpc.Data)))
			} else {
				m.Answers = append(m.Answers, random.ReplaceAllString(string(raw), "X"))
			}
			o.raw = string(raw)
			_ = json.Unmarshal(raw, &o)
			return o
		}
		params := s.params
		if params == "" {
			params = getX
		}
		first := send(params)
		if s.again != nil {
			send(s.again(first))
		}
		m.Took = time.Since(began)
	})
	return m
}

// TestIndirectCallsAreCalls: what bulkhead_call does cannot be told from the call
// that it stands for, neither by the source nor by the client, whatever becomes of
// it.
func TestIndirectCallsAreCalls(t *testing.T) {
	writes := `{"name":"get","annotations":{"readOnlyHint":false},"inputSchema":{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"],"additionalProperties":false}}`
	reads := `{"name":"get","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object"}}`
	modern := aggregate.Request{Modern: true, Back: upstream.Back{Capabilities: json.RawMessage(everything)}}
	legacy := aggregate.Request{Version: "2025-11-25", Back: upstream.Back{Capabilities: json.RawMessage(everything), Ask: accept}}
	hangs := func(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	asks := func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		if !strings.Contains(string(c.Params), "inputResponses") {
			return needs(askName)
		}
		return upstream.TextResult("done", false), nil
	}
	for name, s := range map[string]struct {
		scenario
		calls  int    // of the adapter
		answer string // a part of the last one
	}{
		"answers":           {scenario{request: modern}, 1, `"ok"`},
		"other members":     {scenario{params: `{"_meta":{"progressToken":"p","x":1e400},"odd":true,"arguments":{"n":12345678901234567890},"name":"crm_get"}`}, 1, `"ok"`},
		"no arguments":      {scenario{params: `{"name":"crm_get","arguments":{}}`}, 1, `"ok"`},
		"host's argument":   {scenario{tool: writes, member: func(m *aggregate.Member) { m.CheckSchema = true }, params: `{"name":"crm_get","arguments":{"x":1,"wait_for_previous":true}}`}, 1, `"ok"`},
		"wrong arguments":   {scenario{tool: writes, member: func(m *aggregate.Member) { m.CheckSchema = true }, params: `{"name":"crm_get","arguments":{"x":"1"}}`}, 0, "invalid_arguments"},
		"write where none":  {scenario{tool: writes, member: func(m *aggregate.Member) { m.Limits.Writes = aggregate.Deny }}, 0, "nothing may be changed there"},
		"read where none":   {scenario{tool: reads, member: func(m *aggregate.Member) { m.Limits.Writes = aggregate.Deny }}, 1, `"ok"`},
		"not believed":      {scenario{tool: reads, member: func(m *aggregate.Member) { m.Limits.Writes, m.Cautious = aggregate.Deny, true }}, 0, "nothing may be changed there"},
		"not offered":       {scenario{member: func(m *aggregate.Member) { m.Keep = func(tool string) bool { return tool == "other" } }}, 0, "unknown tool"},
		"unknown":           {scenario{params: `{"name":"crm_got","arguments":{}}`}, 0, "perhaps crm_"},
		"fails":             {scenario{answer: failing(upstream.Error{Kind: upstream.UpstreamError, Sent: true, Public: "no such customer"})}, 1, "no such customer"},
		"fails by protocol": {scenario{request: modern, answer: failing(upstream.Error{Kind: upstream.UpstreamError, Sent: true, RPC: &upstream.RPCError{Code: -32021, Message: "m", Data: []byte(`{"requiredCapabilities":{"x":{}}}`)}})}, 1, "-32021"},
		"panics":            {scenario{answer: func(context.Context, *upstream.Call) (*upstream.Result, error) { panic("x") }}, 1, "internal"},
		"deadline":          {scenario{opt: aggregate.Options{Deadline: 3 * time.Second}, answer: hangs}, 1, "timeout"},
		"deadline of host":  {scenario{answer: hangs}, 1, "timeout"},
		"client is gone":    {scenario{answer: hangs, gone: time.Second}, 1, "timeout"},
		"long":              {scenario{opt: aggregate.Options{MaxResult: 2000}, answer: texts(50)}, 1, "truncated"},
		"kept": {scenario{tool: reads, member: func(m *aggregate.Member) { m.Cache.TTL, m.Limits.TrustAnnotations = time.Minute, true },
			again: func(outcome) string { return getX }}, 1, `"ok"`},
		"progress": {scenario{answer: func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			c.Back.Progress([]byte(`{"progress":1}`))
			c.Back.Log([]byte(`{"level":"info","data":"x"}`))
			return upstream.TextResult("ok", false), nil
		}}, 1, `"ok"`},
		"asks a legacy client":     {scenario{request: legacy, answer: asks}, 2, "done"},
		"asks a modern client":     {scenario{request: modern, answer: asks, again: func(o outcome) string { return retry(o.State, `{"k 1":{"action":"accept"}}`) }}, 2, "done"},
		"answered for other words": {scenario{request: modern, answer: asks, again: func(o outcome) string { return strings.Replace(retry(o.State, `{}`), `"x":1`, `"x":2`, 1) }}, 1, "is not what this request was answered with"},
		"a legacy source asks": {scenario{request: modern, answer: func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			answer, err := c.Back.Ask(ctx, upstream.Question{Method: upstream.AskElicitation, Params: []byte(`{"message":"sure?","requestedSchema":{}}`)})
			return upstream.TextResult(string(answer), err != nil), nil
		}, again: func(o outcome) string {
			for key := range o.Requests {
				return retry(o.State, fmt.Sprintf(`{%q:{"action":"accept"}}`, key))
			}
			return getX
		}}, 1, "accept"},
		"a task": {scenario{request: modern, answer: taskMaker("mine")}, 1, `"resultType":"task"`},
		"sign in": {scenario{request: modern, member: func(m *aggregate.Member) { m.Users = newUsers() },
			answer: failing(upstream.Error{Kind: upstream.NeedsLogin})}, 1, "input_required"},
	} {
		t.Run(name, func(t *testing.T) {
			direct, indirect := s.play(t, false), s.play(t, true)
			if diff := cmp.Diff(direct, indirect); diff != "" {
				t.Errorf("directly (-) and by bulkhead_call (+): %s", diff)
			}
			if last := direct.Answers[len(direct.Answers)-1]; len(direct.Upstream) != s.calls || !strings.Contains(last, s.answer) {
				t.Errorf("%d calls, then %.300s", len(direct.Upstream), last)
			}
		})
	}
}

// texts answers with so many items of a hundred bytes.
func texts(n int) handler {
	return func(context.Context, *upstream.Call) (*upstream.Result, error) {
		item := `{"type":"text","text":"` + strings.Repeat("x", 100) + `"}`
		return upstream.ParseResult([]byte(`{"content":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`))
	}
}

// TestIndirectCallsThatAreNone: bulkhead_call says what is wrong with its own
// arguments, and calls nothing that could not be called.
func TestIndirectCallsThatAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64 // those of a plan are made at once
		f := newFake(t, "crm", "get", "secret", "list")
		f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
			calls.Add(1)
			return upstream.TextResult("ok", false), nil
		}
		m := member(f)
		m.Keep = func(tool string) bool { return tool != "secret" }
		v := withOwn(t, aggregate.Options{Discovery: aggregate.DiscoverSearch}, m)
		for arguments, want := range map[string]string{
			`{}`:                                  "tool",
			`{"tool":5}`:                          "tool: got number, want string",
			`{"tool":"crm_get","args":{"x":1}}`:   "'args'",
			`{"tool":"crm_get","arguments":"{}"}`: "arguments: got string, want object",
			`{"tool":"crm_get","arguments":[]}`:   "arguments: got array, want object",
			`{"tool":null}`:                       "tool: got null, want string",
			`{"tool":"bulkhead_call"}`:            "tool is this tool itself",
			`{"tool":"bulkhead_call","arguments":{"tool":"crm_get"}}`: "tool is this tool itself",
		} {
			if a := call(t, v, "bulkhead_call", arguments); !a.IsError || !strings.HasPrefix(a.text(), "invalid_arguments: ") || !strings.Contains(a.text(), want) {
				t.Errorf("%s: %s", arguments, a.text())
			}
		}
		for tool, want := range map[string]string{
			"crm_secret":  `unknown tool: "crm_secret"; perhaps crm_get or crm_list is meant`,
			"secret":      `unknown tool: "secret"`,
			"get":         `unknown tool: "get"; perhaps crm_get is meant`,
			"crm_lists":   `unknown tool: "crm_lists"; perhaps crm_list is meant`,
			"":            `unknown tool: ""`,
			"wiki_delete": `unknown tool: "wiki_delete"`,
		} {
			r := &aggregate.Request{Principal: alice, Params: fmt.Appendf(nil, `{"name":"bulkhead_call","arguments":{"tool":%q}}`, tool)}
			if _, err := v.CallTool(t.Context(), r); err == nil || err.Error() != want+" (code -32602)" {
				t.Errorf("%q: %v", tool, err)
			}
		}
		plans := `{"calls":[{"id":"a","tool":"bulkhead_call","arguments":{"tool":"crm_get"}}]}`
		for _, tool := range []string{"bulkhead_batch", "bulkhead_batch_read"} {
			if a := call(t, v, tool, plans); !a.IsError || !strings.Contains(a.text(), "a plan names the tool itself") {
				t.Errorf("%s: %s", tool, a.text())
			}
			in := call(t, v, "bulkhead_call", fmt.Sprintf(`{"tool":%q,"arguments":%s}`, tool, plans))
			if !in.IsError || !strings.Contains(in.text(), "a plan names the tool itself") {
				t.Errorf("%s: %s", tool, in.text())
			}
		}
		if calls.Load() != 0 {
			t.Errorf("%d calls were made", calls.Load())
		}
		// Own tools can be called so, a whole plan, too; a host's own argument is let pass.
		plan := `{"calls":[{"id":"a","tool":"crm_get"},{"id":"b","tool":"crm_list"}]}`
		if a := call(t, v, "bulkhead_call", `{"tool":"bulkhead_batch","wait_for_previous":false,"arguments":`+plan+`}`); a.IsError || calls.Load() != 2 {
			t.Errorf("%d calls: %s", calls.Load(), a.text())
		}
		if a := call(t, v, "bulkhead_call", `{"tool":"bulkhead_sources"}`); a.IsError || !strings.Contains(a.text(), `"crm"`) {
			t.Error(a.text())
		}
		if a := call(t, v, "bulkhead_call", `{"tool":"bulkhead_batch_read","arguments":`+plan+`}`); !a.IsError || calls.Load() != 2 {
			t.Errorf("a plan of reads has made calls that may write: %s", a.text())
		}
	})
}
