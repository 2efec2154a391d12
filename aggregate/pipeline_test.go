package aggregate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

type handler = func(context.Context, *upstream.Call) (*upstream.Result, error)

// serve runs one upstream "crm" with one tool "get" that answers with h.
func serve(t *testing.T, opt aggregate.Options, h handler) *aggregate.View {
	t.Helper()
	f := newFake(t, "crm", "get")
	f.call = h
	v, _ := start(t, opt, member(f))
	names(t, v)
	return v
}

func failing(e upstream.Error) handler {
	return func(context.Context, *upstream.Call) (*upstream.Result, error) {
		e.Upstream, e.Tool = "crm", "get"
		return nil, &e
	}
}

func TestFailuresAsTheModelReadsThem(t *testing.T) {
	const others = "; other sources are unaffected."
	tests := []struct {
		name string
		err  upstream.Error
		want string
	}{
		{"down", upstream.Error{Kind: upstream.Unavailable, Public: "the server process exited with status 1", RetryAfter: time.Second},
			"unavailable: crm: the server process exited with status 1; retry in 1 s" + others},
		{"down, nothing known", upstream.Error{Kind: upstream.Unavailable},
			"unavailable: crm: the source cannot be reached; retry later" + others},
		{"died in the call", upstream.Error{Kind: upstream.Unavailable, Sent: true, Public: "the server process died"},
			"unavailable: crm: the server process died; the call was sent and may have been carried out" + others},
		{"rate limit", upstream.Error{Kind: upstream.RateLimited, RetryAfter: 11500 * time.Millisecond},
			"rate_limited: crm: the source's rate limit is used up; retry in 12 s" + others},
		{"long wait", upstream.Error{Kind: upstream.RateLimited, RetryAfter: 10 * time.Minute},
			"rate_limited: crm: the source's rate limit is used up; retry in 10 min" + others},
		{"own words", upstream.Error{Kind: upstream.UpstreamError, RPC: &upstream.RPCError{Code: -32000, Message: "no\nsuch \u202ething"}},
			`upstream_error: crm: it answered "no such \u202ething" (code -32000)` + others},
		{"arguments", upstream.Error{Kind: upstream.InvalidArguments, Public: "limit: must be at most 50"},
			"invalid_arguments: crm: limit: must be at most 50; change the arguments; repeating the same call will not help."},
		{"internal, hides the cause", upstream.Error{Kind: upstream.Internal, Err: errors.New("secret path")},
			"internal: crm: a fault inside Bulkhead; it has been logged" + others},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := serve(t, aggregate.Options{}, failing(tt.err))
				got := call(t, v, "crm_get", `{}`)
				if diff := cmp.Diff(tt.want, got.text()); diff != "" || !got.IsError {
					t.Errorf("isError %v; %s", got.IsError, diff)
				}
				var facts struct {
					Code, Source, Tool string
					RetryAfterMs       int64
					Upstream           *upstream.RPCError
				}
				if err := json.Unmarshal(got.Meta[aggregate.MetaError], &facts); err != nil {
					t.Fatal(err)
				}
				if facts.Code != tt.err.Kind.Code() || facts.Source != "crm" || facts.Tool != "get" ||
					facts.RetryAfterMs != tt.err.RetryAfter.Milliseconds() || (facts.Upstream == nil) != (tt.err.RPC == nil) {
					t.Errorf("_meta = %+v", facts)
				}
			})
		})
	}
}

func TestALostWriteIsCalledByItsName(t *testing.T) {
	for annotations, want := range map[string]string{
		`,"annotations":{"readOnlyHint":false}`: "write_outcome_unknown: crm: ",
		`,"annotations":{"readOnlyHint":true}`:  "timeout: crm: ",
		``:                                      "timeout: crm: ",
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, "crm")
			f.tools = append(f.tools, parse(t, "crm", `{"name":"put","inputSchema":{"type":"object"}`+annotations+`}`))
			f.call = failing(upstream.Error{Kind: upstream.Timeout, Sent: true})
			v, _ := start(t, aggregate.Options{}, member(f))
			if got := call(t, v, "crm_put", `{}`).text(); !strings.HasPrefix(got, want) {
				t.Errorf("with %q: %s", annotations, got)
			}
		})
	}
}

func untilDone(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	<-ctx.Done()
	e := upstream.AsError(c.Tool.Upstream, c.Tool.Name, ctx.Err())
	e.Public = "no answer in time" // as an adapter says that knows no limit
	return nil, e
}

func TestDeadlineFollowsTheHost(t *testing.T) {
	for client, want := range map[string]time.Duration{
		"": 50 * time.Second, "cursor": 50 * time.Second, "Claude-Code": 4 * time.Minute, "gemini-cli-mcp-client": 9 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			v := serve(t, aggregate.Options{}, untilDone)
			began := time.Now()
			got := callAs(t, v, &aggregate.Request{Principal: upstream.Local(), Client: client}, "crm_get", `{}`)
			if took := time.Since(began); took != want {
				t.Errorf("%q was answered after %s, want %s", client, took, want)
			}
			if !strings.HasPrefix(got.text(), "timeout: crm: no answer within "+want.String()) {
				t.Error(got.text())
			}
		})
	}
}

func TestDeadlineSetByConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{Deadline: 7 * time.Second}, untilDone)
		began := time.Now()
		callAs(t, v, &aggregate.Request{Principal: upstream.Local(), Client: "claude-code"}, "crm_get", `{}`)
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("answered after %s", took)
		}
	})
}

func TestProgressKeepsACallAlive(t *testing.T) {
	for limit, want := range map[time.Duration]string{0: "done", time.Minute: "timeout: crm: "} {
		synctest.Test(t, func(t *testing.T) {
			v := serve(t, aggregate.Options{Deadline: limit}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				for range 10 {
					c.Back.Progress([]byte(`{"progress":1}`))
					select {
					case <-time.After(40 * time.Second):
					case <-ctx.Done():
						return untilDone(ctx, c)
					}
				}
				return upstream.TextResult("done", false), nil
			})
			told := 0
			r := &aggregate.Request{Principal: upstream.Local(), Back: upstream.Back{Progress: func(json.RawMessage) { told++ }}}
			if got := callAs(t, v, r, "crm_get", `{}`).text(); !strings.HasPrefix(got, want) || told == 0 {
				t.Errorf("limit %s: %s after %d times progress", limit, got, told)
			}
		})
	}
}

func TestProgressDoesNotKeepACallAliveForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			for ctx.Err() == nil {
				c.Back.Progress([]byte(`{"progress":1}`))
				time.Sleep(time.Second)
			}
			return untilDone(ctx, c)
		})
		began := time.Now()
		r := &aggregate.Request{Principal: upstream.Local(), Back: upstream.Back{Progress: func(json.RawMessage) {}}}
		got := callAs(t, v, r, "crm_get", `{}`).text()
		if took := time.Since(began); took > 31*time.Minute || !strings.HasPrefix(got, "timeout: crm: ") {
			t.Errorf("after %s: %s", took, got)
		}
	})
}

func TestAttemptTimeoutIsTheUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm", "get")
		f.call = untilDone
		m := member(f)
		m.Attempt = 3 * time.Second
		v, _ := start(t, aggregate.Options{}, m)
		names(t, v)
		began := time.Now()
		got := call(t, v, "crm_get", `{}`).text()
		if took := time.Since(began); took != 3*time.Second || !strings.Contains(got, "no answer within 3s;") {
			t.Errorf("after %s: %s", took, got)
		}
	})
}

func TestAPanicCostsOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lockedText
		v := serve(t, aggregate.Options{Log: slog.New(slog.NewTextHandler(&logged, nil))},
			func(context.Context, *upstream.Call) (*upstream.Result, error) { panic("canary-value") })
		if got := call(t, v, "crm_get", `{}`).text(); !strings.HasPrefix(got, "internal: crm: ") {
			t.Error(got)
		}
		if s := logged.String(); !strings.Contains(s, "panic in a call") || strings.Contains(s, "canary-value") {
			t.Errorf("log: %s", s)
		}
	})
}

func TestOneLogLineForEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lockedText
		v := serve(t, aggregate.Options{Log: slog.New(slog.NewJSONHandler(&logged, nil))},
			func(context.Context, *upstream.Call) (*upstream.Result, error) {
				time.Sleep(250 * time.Millisecond)
				return upstream.TextResult("hello", false), nil
			})
		synctest.Wait() // until all has been said of the start
		logged.Reset()
		callAs(t, v, &aggregate.Request{Principal: upstream.Local(), Client: "host", Session: "s1"}, "crm_get", `{}`)
		var line map[string]any
		if err := json.Unmarshal([]byte(logged.String()), &line); err != nil {
			t.Fatalf("not one line: %v: %s", err, logged.String())
		}
		delete(line, "time")
		want := map[string]any{
			"level": "INFO", "msg": "call", "call": "1", "upstream": "crm", "tool": "get", "client": "host", "session": "s1",
			"principal": "local", "outcome": "ok", "bytes": 44.0, "total_ms": 250.0, "queued_ms": 0.0, "upstream_ms": 250.0,
			"own_ms": 0.0, "attempts": 1.0,
		}
		if diff := cmp.Diff(want, line); diff != "" {
			t.Error(diff)
		}
	})
}

func TestArguments(t *testing.T) {
	schema := `{"name":"get","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"$ref":"#/$defs/x","$defs":{"x":{}}}}`
	tests := []struct {
		name, arguments string
		check           bool
		want            string
	}{
		{"not an object", `[1]`, false, "invalid_arguments: crm: arguments is not an object; "},
		{"the upstream decides", `{"n":"5"}`, false, `crm:get:{"n":"5"}`},
		{"null is left to the upstream", `null`, false, `crm:get:null`},
		{"schema: good", `{"n":5}`, true, `crm:get:{"n":5}`},
		{"schema: wrong type", `{"n":"5"}`, true, "invalid_arguments: crm: n: got string, want integer; "},
		{"schema: missing", `{}`, true, "invalid_arguments: crm: arguments: missing property 'n'; "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, "crm")
				f.tools = append(f.tools, parse(t, "crm", schema))
				m := member(f)
				m.CheckSchema = tt.check
				v, _ := start(t, aggregate.Options{}, m)
				names(t, v)
				if got := call(t, v, "crm_get", tt.arguments).text(); !strings.HasPrefix(got, tt.want) {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestASchemaThatPointsOutsideIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm")
		f.tools = append(f.tools, parse(t, "crm", `{"name":"get","inputSchema":{"type":"object","$ref":"http://127.0.0.1:1/s"}}`))
		m := member(f)
		m.CheckSchema = true
		v, _ := start(t, aggregate.Options{}, m)
		names(t, v)
		if got := call(t, v, "crm_get", `{"any":1}`); got.IsError {
			t.Error(got.text())
		}
	})
}

func TestUnknownToolAndNoName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := newFake(t, "slow")
		hanging.hang = true
		v, _ := start(t, aggregate.Options{}, member(newFake(t, "crm", "get")), member(hanging))
		for params, want := range map[string]string{
			`{"name":"crm_got"}`: `unknown tool: "crm_got"; perhaps crm_get is meant; the tools of slow are not known yet`,
			`{"name":5}`:         "params.name is missing or not a string",
			`{}`:                 "params.name is missing or not a string",
		} {
			_, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: []byte(params)})
			var rpc *upstream.RPCError
			if !errors.As(err, &rpc) || rpc.Code != upstream.CodeInvalidParams || rpc.Message != want {
				t.Errorf("%s: %v", params, err)
			}
		}
		_, err := v.CallTool(t.Context(), &aggregate.Request{Params: []byte(`{"name":"crm_get"}`)})
		if err == nil {
			t.Error("nobody was allowed to call a tool")
		}
	})
}

func TestResultsPassByteForByte(t *testing.T) {
	raw := `{ "x-odd":[1e400,{"a<b":12345678901234567890}], "content":[{"type":"hologram","k":"\u0041"}],"isError":false }`
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte(raw))
		})
		params := []byte(`{"name":"crm_get"}`)
		got, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: params})
		if err != nil || string(got) != raw {
			t.Errorf("legacy: %s, %v", got, err)
		}
		got, err = v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: params, Modern: true})
		if want := strings.TrimSuffix(raw, "}") + `,"resultType":"complete"}`; err != nil || string(got) != want {
			t.Errorf("modern: %s, %v", got, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte("{\"resultType\":\"complete\",\n\"content\":[],\"ttlMs\":5}"))
		})
		got, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"crm_get"}`)})
		if err != nil || string(got) != `{"content":[]}` {
			t.Errorf("a modern upstream's result for a legacy client: %s, %v", got, err)
		}
	})
}

func TestAWriteWithoutAUsableAnswerIsCalledUnknown(t *testing.T) {
	for _, tt := range []struct {
		err  upstream.Error
		want string
	}{
		{upstream.Error{Kind: upstream.UpstreamError, Sent: true, Public: "answered with invalid JSON"}, "write_outcome_unknown: crm: answered with invalid JSON; "},
		{upstream.Error{Kind: upstream.UpstreamError, Sent: true, RPC: &upstream.RPCError{Code: 1, Message: "no"}}, "upstream_error: crm: it answered "},
		{upstream.Error{Kind: upstream.UpstreamError, Public: "there is no MCP server"}, "upstream_error: crm: there is no MCP server; "},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, "crm")
			f.tools = append(f.tools, parse(t, "crm", `{"name":"put","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":false}}`))
			f.call = failing(tt.err)
			v, _ := start(t, aggregate.Options{}, member(f))
			if got := call(t, v, "crm_put", `{}`).text(); !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestAFailureIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := []byte(`"` + strings.Repeat("d", 5<<20) + `"`)
		v := serve(t, aggregate.Options{}, failing(upstream.Error{Kind: upstream.UpstreamError,
			RPC: &upstream.RPCError{Code: -32000, Message: strings.Repeat("m", 5<<20) + "\u202e", Data: data}}))
		raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"crm_get"}`)})
		if err != nil || len(raw) > 10<<10 || !bytes.Contains(raw, []byte(`"code":-32000`)) {
			t.Errorf("%d bytes, %v: %.200s", len(raw), err, raw)
		}
	})
}

func TestRefusedArgumentsStayOutOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lockedText
		f := newFake(t, "crm")
		f.tools = append(f.tools, parse(t, "crm", `{"name":"get","inputSchema":{"type":"object","properties":{"pin":{"type":"string","pattern":"^[0-9]+$"}}}}`))
		m := member(f)
		m.CheckSchema = true
		v, stop := start(t, aggregate.Options{Log: slog.New(slog.NewTextHandler(&logged, nil))}, m)
		names(t, v)
		if got := call(t, v, "crm_get", `{"pin":"canary"}`).text(); !strings.HasPrefix(got, "invalid_arguments: crm: pin: ") {
			t.Error(got)
		}
		stop()
		if s := logged.String(); strings.Contains(s, "canary") || !strings.Contains(s, "invalid_arguments") {
			t.Error(s)
		}
	})
}

func TestALegacyServersOwnResultTypeMeansNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte(`{"resultType":"input_required","content":[]}`))
		})
		got := callAs(t, v, &aggregate.Request{Principal: upstream.Local(), Modern: true}, "crm_get", `{}`)
		if got.ResultType != "complete" {
			t.Errorf("a modern client is told %q", got.ResultType)
		}
	})
}

// lockedText is a text that may be read while it is written: what runs in the
// background logs when it likes.
type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedText) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}
