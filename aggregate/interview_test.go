package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// legacyRequest is a tools/call of crm_get by a legacy client that answers with
// ask.
func legacyRequest(caps string, ask func(context.Context, upstream.Question) (json.RawMessage, error)) *aggregate.Request {
	return &aggregate.Request{Principal: alice, Method: "tools/call", Params: []byte(getX),
		Back: upstream.Back{Capabilities: json.RawMessage(caps), Ask: ask}}
}

func accept(context.Context, upstream.Question) (json.RawMessage, error) {
	return json.RawMessage(`{"action":"accept"}`), nil
}

func TestLegacyClientModernUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		v := serve(t, aggregate.Options{}, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			seen = append(seen, string(c.Params))
			switch len(seen) {
			case 1:
				return needs(askName)
			case 2: // a form and nothing to remember
				return needs(`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"mode":"form","message":"m"}}}}`)
			case 3: // it sheds load
				return needs(`{"resultType":"input_required","requestState":"later"}`)
			}
			return upstream.ParseResult([]byte(`{"resultType":"complete","content":[{"type":"text","text":"done"}]}`))
		})
		var mu sync.Mutex
		asked := make(map[string]string)
		began := time.Now()
		o := must(t, v, legacyRequest(everything, func(_ context.Context, q upstream.Question) (json.RawMessage, error) {
			time.Sleep(time.Minute) // at the same time
			mu.Lock()
			defer mu.Unlock()
			asked[q.Method] = string(q.Params)
			return json.RawMessage(`{"of":"` + q.Method + `"}`), nil
		}))
		if want := `{"content":[{"type":"text","text":"done"}]}`; o.raw != want {
			t.Error(o.raw)
		}
		if took := time.Since(began); took != 2*time.Minute+100*time.Millisecond {
			t.Errorf("took %s", took)
		}
		wantAsked := map[string]string{"elicitation/create": `{"mode":"form","message":"[crm] m"}`, "roots/list": "",
			"sampling/createMessage": `{"includeContext":"none","maxTokens":1}`}
		if diff := cmp.Diff(wantAsked, asked); diff != "" {
			t.Error(diff)
		}
		params := strings.TrimSuffix(getX, "}")
		want := []string{getX,
			params + `,"inputResponses":{"k 1":{"of":"elicitation/create"},"r":{"of":"roots/list"},"s":{"of":"sampling/createMessage"}},"requestState":"th\u0065irs"}`,
			params + `,"inputResponses":{"k":{"of":"elicitation/create"}}}`,
			params + `,"requestState":"later"}`}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Error(diff)
		}
	})
}

func TestALegacyClientThatRefuses(t *testing.T) {
	refuse := func(context.Context, upstream.Question) (json.RawMessage, error) {
		return nil, &upstream.RPCError{Code: -1, Message: "user rejected sampling request"}
	}
	one := func(method, params string) string {
		return `{"resultType":"input_required","inputRequests":{"k":{"method":"` + method + `","params":` + params + `}}}`
	}
	for _, tt := range []struct {
		name, caps, raw string
		ask             func(context.Context, upstream.Question) (json.RawMessage, error)
		want            string
	}{
		{"elicitation", everything, one("elicitation/create", `{"message":"m"}`), refuse, `told {"k":{"action":"cancel"}}`},
		{"no object", everything, one("elicitation/create", `{"message":"m"}`),
			func(context.Context, upstream.Question) (json.RawMessage, error) { return []byte(`5`), nil }, `told {"k":{"action":"cancel"}}`},
		{"sampling", everything, one("sampling/createMessage", `{}`), refuse,
			`denied: crm: it asked the client for sampling/createMessage, which answered "user rejected sampling request" (code -1); `},
		{"cannot be asked", everything, one("elicitation/create", `{}`), nil, "denied: crm: it needs elicitation, which this client does not have; "},
		{"no URLs", `{"elicitation":{}}`, one("elicitation/create", `{"mode":"url"}`), accept, "denied: crm: it needs elicitation in URL mode, "},
		{"no forms", `{"elicitation":{"url":{}}}`, one("elicitation/create", `{}`), accept, "denied: crm: it needs elicitation in form mode, "},
		{"no roots", `{"elicitation":{}}`, one("roots/list", `{}`), accept, "denied: crm: it needs roots, "},
		{"no tools", everything, one("sampling/createMessage", `{"tools":[]}`), accept, "denied: crm: it needs sampling with tools, "},
		{"unknown", everything, one("x/y", `{}`), accept, "denied: crm: it needs x/y, "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := serve(t, aggregate.Options{}, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
					if can := strings.Contains(string(c.Back.Capabilities), "elicitation"); can != (tt.ask != nil) {
						t.Errorf("the upstream is told %s", c.Back.Capabilities)
					}
					if _, told, ok := strings.Cut(string(c.Params), `"inputResponses":`); ok {
						return upstream.TextResult("told "+strings.TrimSuffix(told, "}"), false), nil
					}
					return needs(tt.raw)
				})
				o := must(t, v, legacyRequest(tt.caps, tt.ask))
				if !strings.HasPrefix(o.text(), tt.want) || o.IsError == strings.HasPrefix(tt.want, "told") {
					t.Error(o.raw)
				}
			})
		})
	}
}

func TestRoundsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		v := serve(t, aggregate.Options{}, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			calls++
			return needs(`{"requestState":"s"}`)
		})
		began := time.Now()
		o := must(t, v, legacyRequest(everything, accept))
		if !o.IsError || !strings.Contains(o.text(), "more than 10 times") || calls != 11 {
			t.Errorf("%d calls, %s", calls, o.raw)
		}
		if took := time.Since(began); took != 100*time.Millisecond*(1+2+4+8+16)+5*2*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// The same address is asked for once, with an id that earlier revisions demand.
func TestAnAddressIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		v := serve(t, aggregate.Options{}, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			if seen = append(seen, string(c.Params)); len(seen) > 3 {
				return upstream.TextResult("done", false), nil
			}
			return needs(fmt.Sprintf(`{"inputRequests":{"k%d":{"method":"elicitation/create","params":{"mode":"url","url":"https://a","message":"m"}}}}`, len(seen)))
		})
		var asked []string
		o := must(t, v, legacyRequest(everything, func(_ context.Context, q upstream.Question) (json.RawMessage, error) {
			asked = append(asked, string(q.Params))
			return json.RawMessage(`{"action":"accept"}`), nil
		}))
		if o.text() != "done" || len(asked) != 1 || !strings.HasSuffix(seen[3], `"inputResponses":{"k3":{"action":"accept"}}}`) {
			t.Errorf("%s asked %q, the upstream saw %q", o.raw, asked, seen)
		}
		if !regexp.MustCompile(`"message":"\[crm\] m","elicitationId":"[A-Z2-7]{26}"`).MatchString(asked[0]) {
			t.Error(asked[0])
		}
	})
}

func TestTheClientGoesWhileItIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(context.Context, *upstream.Call) (*upstream.Result, error) { return needs(askName) })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		o, _ := send(t, ctx, v, legacyRequest(everything, func(ctx context.Context, _ upstream.Question) (json.RawMessage, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		if took := time.Since(began); !o.IsError || took != 3*time.Second {
			t.Errorf("after %s: %s", took, o.raw)
		}
	})
}

// A question that fails the call is not waited for by the others.
func TestOneRefusalEndsTheRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{}, func(context.Context, *upstream.Call) (*upstream.Result, error) { return needs(askName) })
		began := time.Now()
		o := must(t, v, legacyRequest(everything, func(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
			if q.Method == upstream.AskRoots {
				return nil, &upstream.RPCError{Code: -32000, Message: "no roots today"}
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		if !strings.Contains(o.text(), "no roots today") || time.Since(began) != 0 {
			t.Errorf("after %s: %s", time.Since(began), o.raw)
		}
	})
}
