package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// two starts a view of crm and dwh, which have one resource, one template and
// one page in common.
func two(t *testing.T, opt aggregate.Options) (v *aggregate.View, agg *aggregate.Aggregate, crm, dwh *rich) {
	t.Helper()
	crm, dwh = newRich(t, "crm"), newRich(t, "dwh")
	for _, r := range []*rich{crm, dwh} {
		r.put(t, upstream.Prompts, `{"name":"greet"}`)
		r.put(t, upstream.Resources, `{"uri":"file:///readme","name":"r"}`, `{"uri":"`+string(r.id)+`://one","name":"1"}`,
			`{"uri":"file:///`+string(r.id)+`.txt","name":"t"}`)
		r.put(t, upstream.Templates, `{"uriTemplate":"file:///logs/{day}","name":"l"}`, `{"uriTemplate":"log://{day}/`+string(r.id)+`","name":"t"}`)
		r.tools = append(r.tools, parse(t, r.id,
			`{"name":"show","inputSchema":{"type":"object"},"_meta":{"a":1,"ui":{"resourceUri":"ui://page","x":[]}}}`))
	}
	crm.tools = append(crm.tools, parse(t, "crm",
		`{"name":"own","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://crm/own.html"}}}`))
	agg, err := aggregate.New([]aggregate.Member{asMember(crm), asMember(dwh)}, opt)
	if err != nil {
		t.Fatal(err)
	}
	v, _ = run(t, agg)
	if err := agg.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v, agg, crm, dwh
}

func TestCollidingURIsGetAliases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, agg, _, _ := two(t, aggregate.Options{Plain: true})
		want(t, v, false, "resources/list", ``, `{"resources":[{"uri":"crm://one","name":"1"},{"uri":"file:///crm.txt","name":"t"},`+
			`{"uri":"file://crm.bulkhead////readme","name":"r"},{"uri":"dwh://one","name":"1"},{"uri":"file:///dwh.txt","name":"t"},`+
			`{"uri":"file://dwh.bulkhead////readme","name":"r"}]}`)
		want(t, v, false, "resources/templates/list", ``, `{"resourceTemplates":[{"uriTemplate":"file://crm.bulkhead////logs/{day}","name":"l"},`+
			`{"uriTemplate":"log://{day}/crm","name":"t"},{"uriTemplate":"file://dwh.bulkhead////logs/{day}","name":"l"},`+
			`{"uriTemplate":"log://{day}/dwh","name":"t"}]}`)
		want(t, v, false, "tools/list", ``, `{"tools":[{"name":"crm_own","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://crm/own.html"}}},`+
			`{"name":"crm_show","inputSchema":{"type":"object"},"_meta":{"a":1,"ui":{"resourceUri":"ui://crm.bulkhead///page","x":[]}}},`+
			`{"name":"dwh_show","inputSchema":{"type":"object"},"_meta":{"a":1,"ui":{"resourceUri":"ui://dwh.bulkhead///page","x":[]}}}]}`)
		lone, _ := agg.View("dwh")
		want(t, lone, false, "resources/templates/list", ``,
			`{"resourceTemplates":[{"uriTemplate":"file:///logs/{day}","name":"l"},{"uriTemplate":"log://{day}/dwh","name":"t"}]}`)
	})
}

func TestReadRouting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, agg, crm, dwh := two(t, aggregate.Options{Plain: true})
		lone, _ := agg.View("dwh")
		for _, tt := range []struct {
			v        *aggregate.View
			uri      string
			to       *rich
			own      string // as the upstream gets it; uri if ""
			problem  string // why nobody gets it
			elseCode int
		}{
			{v, "crm://one", crm, "", "", 0},
			{v, "file:///dwh.txt", dwh, "", "", 0},
			{v, "file:///readme", nil, "", "several sources have this resource: ask for file://crm.bulkhead////readme or file://dwh.bulkhead////readme", -32602},
			{v, "file://dwh.bulkhead////readme", dwh, "file:///readme", "", 0},
			{v, "file:///logs/monday", nil, "", "several sources have this resource: ask for file://crm.bulkhead////logs/monday or file://dwh.bulkhead////logs/monday", -32602},
			{v, "file://crm.bulkhead////logs/monday", crm, "file:///logs/monday", "", 0},
			{v, "log://monday/dwh", dwh, "", "", 0}, // a template
			{v, "ui://page", nil, "", "several sources have this resource: ask for ui://crm.bulkhead///page or ui://dwh.bulkhead///page", -32602},
			{v, "ui://dwh.bulkhead///page", dwh, "ui://page", "", 0},
			{v, "ui://crm/own.html", crm, "", "", 0},                 // a tool's page
			{v, "crm://two", crm, "", "", 0},                         // the scheme
			{v, "crm://dwh.bulkhead///two", dwh, "crm://two", "", 0}, // any alias is taken
			{v, "file:///nobodys", nil, "", "Resource not found", -32002},
			{v, "gopher://x", nil, "", "Resource not found", -32002},
			{v, "file://tickets.bulkhead////x", nil, "", "Resource not found", -32002},
			{lone, "file:///readme", dwh, "", "", 0},
			{lone, "file://dwh.bulkhead////readme", dwh, "file:///readme", "", 0},
			{lone, "gopher://x", dwh, "", "", 0}, // whose else?
		} {
			for _, modern := range []bool{false, true} {
				for _, r := range []*rich{crm, dwh} {
					r.mu.Lock()
					r.calls = nil
					r.mu.Unlock()
				}
				_, rpc := ask(t, tt.v, modern, "resources/read", `{"uri":"`+tt.uri+`"}`)
				if tt.to == nil {
					code := tt.elseCode
					if modern {
						code = -32602
					}
					if rpc == nil || rpc.Code != code || rpc.Message != tt.problem || string(rpc.Data) != `{"uri":"`+tt.uri+`"}` {
						t.Errorf("%s: %+v, want %q", tt.uri, rpc, tt.problem)
					}
					continue
				}
				if rpc != nil {
					t.Errorf("%s: %v", tt.uri, rpc)
					continue
				}
				own := tt.own
				if own == "" {
					own = tt.uri
				}
				if c := tt.to.last(t); c.Op != upstream.ReadResource || c.Name != own || c.Exposed != tt.uri || c.Tool != nil {
					t.Errorf("%s: %+v", tt.uri, c)
				}
			}
		}
	})
}

func TestResultsOfCollidingSourcesNameTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _, crm, _ := two(t, aggregate.Options{Plain: true})
		const said = `{"content":[{"type":"resource_link","uri":"file:///readme"},{"type":"resource", "resource":{"uri":"crm://one","text":"uri"}},` +
			`{"type":"resource","resource":{"uri":"file:///odd","x":1}}],"contents":[{"uri":"file:///logs/1","text":"x"}],` +
			`"messages":[{"role":"user","content":{"type":"resource_link","uri":"ui://page"}}],"structuredContent":{"uri":"file:///readme"},"result":{"content":[{"uri":"file:///readme"}]}}`
		const heard = `{"content":[{"type":"resource_link","uri":"file://crm.bulkhead////readme"},{"type":"resource", "resource":{"uri":"crm://one","text":"uri"}},` +
			`{"type":"resource","resource":{"uri":"file://crm.bulkhead////odd","x":1}}],"contents":[{"uri":"file://crm.bulkhead////logs/1","text":"x"}],` +
			`"messages":[{"role":"user","content":{"type":"resource_link","uri":"ui://crm.bulkhead///page"}}],"structuredContent":{"uri":"file:///readme"},"result":{"content":[{"uri":"file://crm.bulkhead////readme"}]}}`
		crm.fake.mu.Lock()
		crm.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte(said))
		}
		crm.fake.mu.Unlock()
		want(t, v, false, "tools/call", `{"name":"crm_show"}`, heard)
		want(t, v, false, "prompts/get", `{"name":"crm_greet"}`, heard)
		want(t, v, false, "resources/read", `{"uri":"crm://one"}`, heard)
	})
}

func TestURIsStayWhereNothingCollides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRich(t, "a", "x"), newRich(t, "b")
		const said = `{"contents": [ {"uri":"nobody:1","text":"\u003c","n":1e400}]}`
		a.put(t, upstream.Resources, `{"uri":"a:1","name":"1"}`)
		b.put(t, upstream.Resources, `{"uri":"b:1","name":"1"}`)
		a.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte(said))
		}
		v, _ := start(t, aggregate.Options{}, asMember(a), asMember(b))
		want(t, v, false, "resources/read", `{"uri":"a:1"}`, said)
		want(t, v, true, "resources/read", `{"uri":"a:1"}`, strings.TrimSuffix(said, "}")+`,"resultType":"complete","ttlMs":0,"cacheScope":"private"}`)
	})
}

func TestHowLongAReadMayBeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRich(t, "a")
		m := asMember(a)
		m.Cache.TTL = -1
		v, _ := start(t, aggregate.Options{}, m)
		for said, heard := range map[string]string{
			`{"resultType":"complete","ttlMs":5,"cacheScope":"public"}`: `{"resultType":"complete","ttlMs":5,"cacheScope":"public"}`,
			`{"resultType":"complete"}`:                                 `{"resultType":"complete","ttlMs":0,"cacheScope":"private"}`,
			`{"ttlMs":"a legacy server's own"}`:                         `{"ttlMs":0,"resultType":"complete","cacheScope":"private"}`,
		} {
			a.fake.mu.Lock()
			a.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
				return upstream.ParseResult([]byte(said))
			}
			a.fake.mu.Unlock()
			want(t, v, true, "resources/read", `{"uri":"a:1"}`, heard)
			if got, rpc := ask(t, v, false, "resources/read", `{"uri":"a:1"}`); rpc != nil || got != `{}` {
				t.Errorf("a legacy client got %s, %v", got, rpc)
			}
		}
	})
}

func TestPromptsAndCompletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, agg, crm, dwh := two(t, aggregate.Options{Plain: true})
		lone, _ := agg.View("crm")
		for _, tt := range []struct {
			v              *aggregate.View
			method, params string
			to             *rich
			name, up       string // what is asked for and the params that go up; "" for unchanged
			problem        string
		}{
			{v, "prompts/get", `{"name":"dwh_greet","arguments":{"n":1e400}}`, dwh, "greet", "", ""},
			{lone, "prompts/get", `{"name":"greet"}`, crm, "greet", "", ""},
			{v, "prompts/get", `{"name":"greet"}`, nil, "", "", `unknown prompt: "greet"`},
			{v, "prompts/get", `{"name":7}`, nil, "", "", "params.name is missing or not a string"},
			{v, "completion/complete", `{"ref":{"type":"ref/prompt","x":1,"name":"crm_greet"},"argument":{}}`, crm, "greet",
				`{"ref":{"type":"ref/prompt","x":1,"name":"greet"},"argument":{}}`, ""},
			{v, "completion/complete", `{"ref":{"type":"ref/resource","uri":"file://dwh.bulkhead////logs/{day}"}}`, dwh, "file:///logs/{day}",
				`{"ref":{"type":"ref/resource","uri":"file:///logs/{day}"}}`, ""},
			{v, "completion/complete", `{"ref":{"type":"ref/resource","uri":"log://{day}/dwh"}}`, dwh, "log://{day}/dwh", "", ""},
			{v, "completion/complete", `{"ref":{"type":"ref/resource","uri":"crm://two"}}`, crm, "crm://two", "", ""},
			{v, "completion/complete", `{"ref":{"type":"ref/resource","uri":"x"}}`, nil, "", "", "Resource not found"},
			{v, "completion/complete", `{"ref":{"type":"ref/tool","name":"x"}}`, nil, "", "", `params.ref.type must be "ref/prompt" or "ref/resource"`},
			{v, "completion/complete", `{"ref":{"type":"ref/prompt"}}`, nil, "", "", "params.ref.name is missing or not a string"},
			{v, "skills/get", `{"uri":"crm://s/SKILL.md"}`, crm, "crm://s/SKILL.md", "", ""},
			{v, "resources/directory/read", `{"uri":"dwh://s"}`, dwh, "dwh://s", "", ""},
			{v, "resources/read", `{}`, nil, "", "", "params.uri is missing or not a string"},
			{v, "resources/write", `{}`, nil, "", "", "method not found"},
		} {
			_, rpc := ask(t, tt.v, false, tt.method, tt.params)
			if tt.to == nil {
				if rpc == nil || rpc.Message != tt.problem || rpc.Code != -32602 && rpc.Code != -32601 {
					t.Errorf("%s %s: %+v, want %q", tt.method, tt.params, rpc, tt.problem)
				}
				continue
			}
			up := tt.up
			if up == "" {
				up = tt.params
			}
			c := tt.to.last(t)
			if rpc != nil || string(c.Op) != tt.method || c.Name != tt.name || string(c.Params) != up {
				t.Errorf("%s %s: %v, asked %+v with %s", tt.method, tt.params, rpc, c, c.Params)
			}
		}
	})
}

func TestAFailureOutsideToolsIsAnErrorObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRich(t, "a")
		a.put(t, upstream.Prompts, `{"name":"p"}`)
		v, _ := start(t, aggregate.Options{}, asMember(a))
		for _, failure := range []error{
			&upstream.Error{Upstream: "a", Kind: upstream.UpstreamError, RPC: &upstream.RPCError{Code: -32602, Message: "no such prompt"}},
			&upstream.Error{Upstream: "a", Kind: upstream.Unavailable}, errors.New("odd"),
		} {
			a.fake.mu.Lock()
			a.call = func(context.Context, *upstream.Call) (*upstream.Result, error) { return nil, failure }
			a.fake.mu.Unlock()
			if _, rpc := ask(t, v, true, "prompts/get", `{"name":"a_p"}`); rpc == nil || rpc.Message == "" {
				t.Errorf("%v is answered with %v", failure, rpc)
			}
		}
		_, err := v.Handle(t.Context(), &aggregate.Request{Method: "prompts/get", Params: []byte(`{"name":"a_p"}`)})
		if err == nil {
			t.Error("nobody was answered")
		}
	})
}

func TestExtensionsAreThoseThatWeCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRich(t, "a"), newRich(t, "b")
		const ui, skills = "io.modelcontextprotocol/ui", "io.modelcontextprotocol/skills"
		v, _ := start(t, aggregate.Options{}, asMember(b), asMember(a), member(newFake(t, "c")))
		if got := v.Extensions(); got != nil {
			t.Errorf("%s", got)
		}
		a.extensions = map[string]json.RawMessage{ui: json.RawMessage(`{"from":"a"}`), "com.example/x": json.RawMessage(`{}`)}
		b.extensions = map[string]json.RawMessage{ui: json.RawMessage(`{"from":"b"}`), skills: json.RawMessage(`{"directoryRead":true}`)}
		if diff := cmp.Diff(map[string]json.RawMessage{ui: json.RawMessage(`{"from":"a"}`), skills: json.RawMessage(`{"directoryRead":true}`)}, v.Extensions()); diff != "" {
			t.Error(diff)
		}
	})
}
