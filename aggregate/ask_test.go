package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// everything is what a client says that can be asked anything.
const everything = `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{},"x/odd":{}}}`

var (
	alice = upstream.NewPrincipal("idp", "alice")
	bob   = upstream.NewPrincipal("idp", "bob")
)

// modernRequest is a tools/call of crm_get by a modern client.
func modernRequest(who upstream.Principal, params string) *aggregate.Request {
	return &aggregate.Request{Principal: who, Modern: true, Method: "tools/call", Params: []byte(params),
		Back: upstream.Back{Capabilities: json.RawMessage(everything)}}
}

const getX = `{"name":"crm_get","arguments":{"x":1},"_meta":{"a":1}}`

// outcome is what a client is answered.
type outcome struct {
	ResultType string
	Requests   map[string]struct {
		Method string
		Params json.RawMessage
	} `json:"inputRequests"`
	State   *string `json:"requestState"`
	Content []struct{ Text string }
	IsError bool
	raw     string
}

func (o outcome) text() string {
	if len(o.Content) == 0 {
		return o.raw
	}
	return o.Content[0].Text
}

func send(t *testing.T, ctx context.Context, v *aggregate.View, r *aggregate.Request) (outcome, *upstream.RPCError) { //nolint:revive // t comes first in helpers
	t.Helper()
	raw, err := v.CallTool(ctx, r)
	if err != nil {
		var rpc *upstream.RPCError
		if !errors.As(err, &rpc) {
			t.Errorf("not an error object: %v", err)
		}
		return outcome{}, rpc
	}
	o := outcome{raw: string(raw)}
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Errorf("%v in %s", err, raw)
	}
	return o, nil
}

func must(t *testing.T, v *aggregate.View, r *aggregate.Request) outcome {
	t.Helper()
	o, err := send(t, t.Context(), v, r)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// retry is the params of a retry of getX.
func retry(state *string, responses string) string {
	params := strings.TrimSuffix(getX, "}")
	if responses != "" {
		params += `,"inputResponses":` + responses
	}
	if state != nil {
		params += fmt.Sprintf(`,"requestState":%q`, *state)
	}
	return params + "}"
}

// needs is a result of a modern upstream that asks for input.
func needs(raw string) (*upstream.Result, error) {
	res, err := upstream.ParseResult([]byte(raw))
	res.Type = upstream.InputRequired
	return res, err
}

const askName = `{"resultType":"input_required","x":1e400,"inputRequests":{"k 1":{"method":"elicitation/create",` +
	`"params":{"message":"na\u006de?","requestedSchema":{"b":1,"a":2}}},"r":{"method":"roots/list"},` +
	`"s":{"method":"sampling/createMessage","params":{"includeContext":"allServers","maxTokens":1}}},"requestState":"th\u0065irs"}`

// modernAsker asks once and then says what it was told.
func modernAsker(raw string, seen *[]string) handler {
	return func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		*seen = append(*seen, string(c.Params))
		if !strings.Contains(string(c.Params), "inputResponses") {
			return needs(raw)
		}
		return upstream.TextResult("done", false), nil
	}
}

func TestModernClientModernUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		v := serve(t, aggregate.Options{}, modernAsker(askName, &seen))
		first := must(t, v, modernRequest(alice, getX))
		want := strings.NewReplacer(`"na\u006de?"`, `"[crm] na\u006de?"`, "allServers", "none",
			`"th\u0065irs"`, fmt.Sprintf("%q", *first.State)).Replace(askName)
		if diff := cmp.Diff(want, first.raw); diff != "" {
			t.Error(diff)
		}
		const answers = `{"k 1":{"action":"accept","content":{"n":1e400}}}`
		last := must(t, v, modernRequest(alice, retry(first.State, answers)))
		if last.text() != "done" {
			t.Error(last.raw)
		}
		back := strings.TrimSuffix(getX, "}") + `,"inputResponses":` + answers + `,"requestState":"th\u0065irs"}`
		if diff := cmp.Diff([]string{getX, back}, seen); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAnAbsentStateIsAbsentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		v := serve(t, aggregate.Options{}, modernAsker(`{"resultType":"input_required","inputRequests":{}}`, &seen))
		first := must(t, v, modernRequest(alice, getX))
		must(t, v, modernRequest(alice, retry(first.State, `{}`)))
		if want := strings.TrimSuffix(getX, "}") + `,"inputResponses":{}}`; len(seen) != 2 || seen[1] != want {
			t.Errorf("%q, want %s", seen, want)
		}
	})
}

// What a client answers that we have not asked is for the upstream to judge.
func TestAnswersWithoutAState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		v := serve(t, aggregate.Options{}, modernAsker(askName, &seen))
		params := retry(nil, `{"name":{"action":"accept"}}`)
		must(t, v, modernRequest(alice, params))
		if len(seen) != 1 || seen[0] != params {
			t.Errorf("%q", seen)
		}
	})
}

func TestStatesThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		v := serve(t, aggregate.Options{}, modernAsker(askName, &seen))
		refused := func(what, want string, r *aggregate.Request) {
			t.Helper()
			before := len(seen)
			o, err := send(t, t.Context(), v, r)
			if err == nil || err.Code != upstream.CodeInvalidParams || !strings.Contains(err.Message, want) {
				t.Errorf("%s: %v %s", what, err, o.raw)
			}
			if len(seen) != before {
				t.Errorf("%s: the upstream was asked", what)
			}
		}
		const ok, other = `{"k 1":{"action":"accept"}}`, "is not what this request was answered with"
		st := must(t, v, modernRequest(alice, getX)).State
		forged := "x" + *st
		refused("forged", other, modernRequest(alice, retry(&forged, ok)))
		refused("another user's", other, modernRequest(bob, retry(st, ok)))
		refused("for other arguments", other, modernRequest(alice, strings.Replace(retry(st, ok), `"x":1`, `"x":2`, 1)))
		refused("no string", other, modernRequest(alice, strings.TrimSuffix(getX, "}")+`,"requestState":5}`))
		refused("the answers are no objects", "inputResponses", modernRequest(alice, retry(st, `{"k 1":"accept"}`)))
		reordered := fmt.Sprintf(`{"requestState":%q,"arguments":{"\u0078":1},"name":"crm_get","inputResponses":%s}`, *st, ok)
		if o := must(t, v, modernRequest(alice, reordered)); o.text() != "done" {
			t.Errorf("the same in other words: %s", o.raw)
		}
		refused("used", "has been used already", modernRequest(alice, retry(st, ok)))
		st = must(t, v, modernRequest(alice, getX)).State
		time.Sleep(10 * time.Minute)
		refused("late", "has expired", modernRequest(alice, retry(st, ok)))
	})
}

// Who speaks of an earlier revision gets no state past us either.
func TestNoStateOfALegacyClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		v := serve(t, aggregate.Options{}, modernAsker(askName, &seen))
		r := legacyRequest(everything, accept)
		forged := "theirs"
		r.Params = []byte(retry(&forged, `{"k 1":{"action":"accept"}}`))
		if o, err := send(t, t.Context(), v, r); err == nil || err.Code != upstream.CodeInvalidParams || len(seen) != 0 {
			t.Errorf("the upstream is shown %q: %s", seen, o.raw)
		}
		r.Params = []byte(`{"name":"crm_get","arguments":{"requestState":"an argument"}}`)
		must(t, v, r)
	})
}

// Another instance with the same key goes on where the first stopped.
func TestStateOfAnotherInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		same := aggregate.Options{StateKey: []byte("0123456789abcdef")}
		one, two := serve(t, same, modernAsker(askName, &seen)), serve(t, same, modernAsker(askName, &seen))
		foreign := serve(t, aggregate.Options{}, modernAsker(askName, &seen))
		st := must(t, one, modernRequest(alice, getX)).State
		if _, err := send(t, t.Context(), foreign, modernRequest(alice, retry(st, `{}`))); err == nil {
			t.Error("another key opens it")
		}
		if o := must(t, two, modernRequest(alice, retry(st, `{}`))); o.text() != "done" {
			t.Error(o.raw)
		}
	})
	if _, err := aggregate.New(nil, aggregate.Options{StateKey: []byte("short")}); err == nil {
		t.Error("a short key is accepted")
	}
}

func TestLegacyClientLegacyUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		questions := []upstream.Question{
			{Method: upstream.AskElicitation, Params: []byte(`{ "message" : "sure?","requestedSchema":{"z":1e400}}`)},
			{Method: upstream.AskElicitation, Params: []byte(`{"mode":"url","elicitationId":"e1","message":"log in","url":"https://x"}`)},
			{Method: upstream.AskSampling, Params: []byte(`{"includeContext":"thisServer","messages":[]}`)},
			{Method: upstream.AskSampling, Params: []byte(`{"includeContext":"none","messages":[]}`)},
			{Method: upstream.AskRoots},
		}
		v := serve(t, aggregate.Options{AskTimeout: time.Minute}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			for _, q := range questions {
				if answer, err := c.Back.Ask(ctx, q); err != nil || string(answer) != `{"n":1}` {
					t.Errorf("%s, %v", answer, err)
				}
			}
			_, err := c.Back.Ask(ctx, upstream.Question{Method: "hang"})
			return upstream.TextResult(err.Error(), false), nil
		})
		var asked []string
		r := &aggregate.Request{Principal: alice, Back: upstream.Back{Ask: func(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
			if q.Method == "hang" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			time.Sleep(55 * time.Second) // a person thinks; five times this is longer than the call may take
			asked = append(asked, string(q.Params))
			return json.RawMessage(`{"n":1}`), nil
		}}}
		got := callAs(t, v, r, "crm_get", `{}`)
		want := []string{`{ "message" : "[crm] sure?","requestedSchema":{"z":1e400}}`,
			`{"mode":"url","elicitationId":"e1","message":"[crm] log in","url":"https://x"}`,
			`{"includeContext":"none","messages":[]}`, `{"includeContext":"none","messages":[]}`, ""}
		if diff := cmp.Diff(want, asked); diff != "" || got.IsError || got.text() != "no answer within 1m0s (code -32603)" {
			t.Errorf("%s %s", got.text(), diff)
		}
	})
}

func TestAskDenied(t *testing.T) {
	urls := &upstream.RPCError{Code: -32042, Message: "m", Data: []byte(`{"elicitations":[{"mode":"url","url":"u","message":"m"}]}`)}
	capability := &upstream.RPCError{Code: -32021, Message: "m", Data: []byte(`{"requiredCapabilities":{"elicitation":{}}}`)}
	for name, h := range map[string]handler{
		"it asks for input, which the configuration denies":              func(context.Context, *upstream.Call) (*upstream.Result, error) { return needs(askName) },
		`it asks for input, which the configuration denies (ask`:         failing(upstream.Error{Kind: upstream.UpstreamError, RPC: urls}),
		`it needs elicitation, which the configuration denies (ask = "d`: failing(upstream.Error{Kind: upstream.UpstreamError, RPC: capability}),
	} {
		for _, modern := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, "crm", "get")
				f.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
					if c.Back.Ask != nil || string(c.Back.Capabilities) != `{"extensions":{"io.modelcontextprotocol/tasks":{}}}` && modern {
						t.Errorf("may ask, or is told %s", c.Back.Capabilities)
					}
					return h(ctx, c)
				}
				m := member(f)
				m.DenyAsk = true
				v, _ := start(t, aggregate.Options{}, m)
				names(t, v)
				r := modernRequest(alice, getX)
				r.Modern, r.Back.Ask = modern, func(context.Context, upstream.Question) (json.RawMessage, error) { return nil, nil }
				if o := must(t, v, r); !o.IsError || !strings.Contains(o.text(), name) {
					t.Errorf("modern %v: %s", modern, o.raw)
				}
			})
		}
	}
}

func TestURLElicitationError(t *testing.T) {
	const data = `{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://a","message":"open \u0061"},{"mode":"url","elicitationId":"f","url":"https://b","message":"b"}],"x":1}`
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		v := serve(t, aggregate.Options{}, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			if calls++; string(c.Params) != getX {
				t.Errorf("the upstream sees %s", c.Params)
			}
			if calls == 2 {
				return upstream.TextResult("done", false), nil
			}
			return failing(upstream.Error{Kind: upstream.UpstreamError,
				RPC: &upstream.RPCError{Code: -32042, Message: "first", Data: []byte(data)}})(t.Context(), c)
		})
		first := must(t, v, modernRequest(alice, getX))
		want := fmt.Sprintf(`{"resultType":"input_required","inputRequests":{"url1":{"method":"elicitation/create","params":{"mode":"url","url":"https://a","message":"[crm] open \u0061"}},`+
			`"url2":{"method":"elicitation/create","params":{"mode":"url","url":"https://b","message":"[crm] b"}}},"requestState":%q}`, *first.State)
		if diff := cmp.Diff(want, first.raw); diff != "" {
			t.Error(diff)
		}
		if o := must(t, v, modernRequest(alice, retry(first.State, `{"url1":{"action":"accept"},"url2":{"action":"accept"}}`))); o.text() != "done" {
			t.Error(o.raw)
		}
		again := must(t, v, modernRequest(alice, getX))
		o := must(t, v, modernRequest(alice, retry(again.State, `{"url1":{"action":"decline"}}`)))
		if !o.IsError || calls != 3 || !strings.Contains(o.text(), "did not agree") {
			t.Errorf("%d calls: %s", calls, o.raw)
		}
		formOnly := modernRequest(alice, getX)
		formOnly.Back.Capabilities = []byte(`{"elicitation":{}}`)
		if o := must(t, v, formOnly); !o.IsError || !strings.Contains(o.text(), "elicitation in URL mode") {
			t.Error(o.raw)
		}
		_, err := send(t, t.Context(), v, &aggregate.Request{Principal: alice, Params: []byte(getX)})
		wantData := strings.NewReplacer(`"open`, `"[crm] open`, `"b"}`, `"[crm] b"}`).Replace(data)
		if err == nil || err.Code != -32042 || err.Message != "[crm] first" || string(err.Data) != wantData {
			t.Errorf("legacy: %v %s", err, err.Data)
		}
	})
}

func TestMissingCapability(t *testing.T) {
	h := failing(upstream.Error{Kind: upstream.UpstreamError, Sent: true, RPC: &upstream.RPCError{Code: -32021, Message: "no",
		Data: []byte(`{"requiredCapabilities":{"sampling":{},"extensions":{"x/y":{}}}}`)}})
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, h)
		if _, err := send(t, t.Context(), v, modernRequest(alice, getX)); err == nil || err.Code != -32021 || err.Data == nil {
			t.Errorf("modern: %v", err)
		}
		o := must(t, v, &aggregate.Request{Principal: alice, Params: []byte(getX)})
		if want := "denied: crm: it needs sampling, the extension x/y, which this client does not have; "; !o.IsError || !strings.HasPrefix(o.text(), want) {
			t.Errorf("legacy: %s", o.raw)
		}
	})
}
