package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestChainRunsTheFirstOutermost(t *testing.T) {
	var order []string
	layer := func(name string) upstream.Middleware {
		return func(next upstream.Handler) upstream.Handler {
			return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				order = append(order, name+">")
				defer func() { order = append(order, "<"+name) }()
				return next(ctx, c)
			}
		}
	}
	h := upstream.Chain(layer("a"), layer("b"))(func(context.Context, *upstream.Call) (*upstream.Result, error) {
		order = append(order, "call")
		return nil, nil
	})
	if _, err := h(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != "a> b> call <b <a" {
		t.Error(got)
	}
}

func TestPrincipal(t *testing.T) {
	var nobody upstream.Principal
	if nobody.Valid() || nobody.String() != "nobody" {
		t.Errorf("the zero principal is %s, valid %v", nobody, nobody.Valid())
	}
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`[a/:1]{0,4}`)
		draw := func(n string) (string, string) { return part.Draw(t, n+" issuer"), part.Draw(t, n+" subject") }
		ai, as := draw("a")
		bi, bs := draw("b")
		same := ai == bi && as == bs
		if (upstream.NewPrincipal(ai, as).Key() == upstream.NewPrincipal(bi, bs).Key()) != same {
			t.Fatalf("(%q, %q) and (%q, %q)", ai, as, bi, bs)
		}
	})
}

func TestParseToolRefusesWhatEmptiesAHostsList(t *testing.T) {
	for raw, want := range map[string]string{
		`[]`:                                "not an object",
		`{"inputSchema":{"type":"object"}}`: "name is missing",
		`{"name":"","inputSchema":{"type":"object"}}`: "name is missing",
		`{"name":7,"inputSchema":{"type":"object"}}`:  "name is missing",
		`{"name":"x"}`:                                                                           "inputSchema is missing",
		`{"name":"x","inputSchema":true}`:                                                        "inputSchema is not an object",
		`{"name":"x","inputSchema":{}}`:                                                          `"type": "object"`,
		`{"name":"x","inputSchema":{"type":"array"}}`:                                            `"type": "object"`,
		`{"name":"x","inputSchema":{"type":"object"},"description":5}`:                           "description is not a string",
		`{"name":"x","inputSchema":{"type":"object"},"annotations":[]}`:                          "annotations is not an object",
		`{"name":"x","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":"yes"}}`:      "readOnlyHint is not a boolean",
		`{"name":"x","inputSchema":{"type":"object"},"annotations":{"openWorldHint":null}}`:      "openWorldHint is not a boolean",
		`{"name":"x","inputSchema":{"type":"object"},"annotations":{"destructiveHint":{"a":1}}}`: "destructiveHint is not a boolean",
	} {
		if _, err := upstream.ParseTool("u", json.RawMessage(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
	}
}

func TestParseToolReadsHints(t *testing.T) {
	for annotations, want := range map[string]upstream.Tool{
		`{}`:                    {},
		`{"title":"T","x":[1]}`: {},
		`{"readOnlyHint":true,"idempotentHint":true}`:     {Hints: upstream.Traits{ReadOnly: true, Idempotent: true}, HasHints: true},
		`{"destructiveHint":false,"openWorldHint":false}`: {HasHints: true},
		`{"idempotentHint":true}`:                         {Hints: upstream.Traits{Idempotent: true}},
	} {
		got, err := upstream.ParseTool("u", json.RawMessage(`{"name":"x","inputSchema":{"type":"object"},"annotations":`+annotations+`}`))
		if err != nil || got.Hints != want.Hints || got.HasHints != want.HasHints {
			t.Errorf("%s: %+v, %v", annotations, got, err)
		}
	}
}

func TestBuiltResultsAndToolsKeepEveryCharacter(t *testing.T) {
	res, err := upstream.StructuredResult(map[string]any{"k": "<&>\u2028"})
	if err != nil {
		t.Fatal(err)
	}
	if err := rawjson.Check(res.Raw, rawjson.Limits{}); err != nil {
		t.Fatal(err)
	}
	structured, _ := rawjson.Get(res.Raw, "structuredContent")
	content, _ := rawjson.Get(res.Raw, "content")
	for item := range rawjson.Elements(content) {
		if text, _ := rawjson.GetString(item, "text"); text != string(structured) {
			t.Errorf("text %s, structured %s", text, structured)
		}
	}
	if strings.Contains(string(res.Raw), `\u003c`) {
		t.Errorf("escaped for HTML: %s", res.Raw)
	}
	tool, err := upstream.NewTool("u", upstream.ToolSpec{Name: "x", Description: "a<b", Input: json.RawMessage(`{"type":"object"}`), Hints: upstream.Traits{ReadOnly: true}})
	want := `{"name":"x","description":"a<b","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true,"destructiveHint":false,"idempotentHint":false,"openWorldHint":false}}`
	if err != nil || string(tool.Raw) != want {
		t.Errorf("%s, %v", tool.Raw, err)
	}
	for _, more := range []int{0, 5, 50} {
		raw := `{"a": {"isError":true}`
		for i := range more {
			raw += fmt.Sprintf(`,"m%d":%d`, i, i)
		}
		r, err := upstream.ParseResult(json.RawMessage(raw + ` , "isError" : true , "z":[1] }`))
		if err != nil || !r.IsError {
			t.Fatalf("%+v, %v", r, err)
		}
		for name, want := range map[string]string{"a": `{"isError":true}`, "z": "[1]", "absent": ""} {
			if v, ok := r.Get(name); string(v) != want || ok != (want != "") {
				t.Errorf("with %d more members %s is %s, %v", more, name, v, ok)
			}
		}
	}
	if v, _ := upstream.TextResult("x", true).Get("isError"); string(v) != "true" {
		t.Errorf("isError of a result that was built is %s", v)
	}
	if _, err := upstream.ParseResult(json.RawMessage(`[]`)); err == nil {
		t.Error("an array passed as a result")
	}
}

func TestAsError(t *testing.T) {
	own := &upstream.Error{Upstream: "a", Kind: upstream.Denied}
	if got := upstream.AsError("b", "t", fmt.Errorf("wrapped: %w", own)); got != own {
		t.Errorf("%v", got)
	}
	for err, want := range map[error]upstream.Kind{
		context.Canceled: upstream.Cancelled, context.DeadlineExceeded: upstream.Timeout, errors.New("x"): upstream.Internal,
	} {
		if got := upstream.AsError("b", "t", err); got.Kind != want || !got.Sent || !errors.Is(got, err) || got.Upstream != "b" {
			t.Errorf("%v: %+v", err, got)
		}
	}
	e := &upstream.Error{Upstream: "crm", Tool: "get", Op: "tools/call", Kind: upstream.Timeout, Err: errors.New("why")}
	if got := e.Error(); got != "crm/get: tools/call: timeout: why" {
		t.Error(got)
	}
	if got := (&upstream.Error{Kind: upstream.Unavailable, Public: "gone"}).Error(); got != "unavailable: gone" {
		t.Error(got)
	}
}

// JSONResult says the same as StructuredResult, whatever the text.
func TestJSONResult(t *testing.T) {
	for _, text := range []string{
		`{}`, ` { "a" : [ 1 , { "b\\\"c \u0041\n" : "x  \\\\ y\t\\" } ] ,	"n":12345678901234567890 }`, "{\n \"é\": \"<&>\u2028\",\r\n\"\":null}",
	} {
		if err := rawjson.Check([]byte(text), rawjson.Limits{}); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		want, err := upstream.StructuredResult(json.RawMessage(text))
		if err != nil {
			t.Fatal(err)
		}
		got := upstream.JSONResult(json.RawMessage(text))
		for _, name := range []string{"content", "structuredContent", "isError"} {
			w, wok := want.Get(name)
			g, gok := got.Get(name)
			var x, y any
			if wok && (json.Unmarshal(w, &x) != nil || json.Unmarshal(g, &y) != nil) || wok != gok || !reflect.DeepEqual(x, y) {
				t.Errorf("%s of %s is %s, want %s", name, text, g, w)
			}
		}
		again, err := upstream.ParseResult(got.Raw)
		if err != nil || rawjson.Check(got.Raw, rawjson.Limits{}) != nil {
			t.Fatalf("%s: %v", got.Raw, err)
		}
		for _, m := range slices.Collect(rawjson.Members(got.Raw)) {
			v, _ := got.Get(m.Name)
			w, _ := again.Get(m.Name)
			if string(v) != string(w) || strings.ContainsAny(string(v), "\n\r\t") {
				t.Errorf("%s is noted as %s", m.Name, v)
			}
		}
	}
}

// What is known of a result survives another text of it, and its members are those
// of the new one.
func TestResultsThatAreChanged(t *testing.T) {
	r, err := upstream.ParseResult(json.RawMessage(`{"content":[],"isError":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Type, r.Quota, r.Marks = upstream.TaskCreated, &upstream.Quota{Remaining: 1}, upstream.Marks{Notes: 2, Cut: true, Meta: []string{"x"}, Undeclared: true}
	got := r.With(json.RawMessage(`{"content":[1]}`))
	if content, _ := got.Get("content"); string(content) != "[1]" || string(got.Raw) != `{"content":[1]}` {
		t.Errorf("%s in %s", content, got.Raw)
	}
	if !got.IsError || got.Type != r.Type || got.Quota != r.Quota || !reflect.DeepEqual(got.Marks, r.Marks) {
		t.Errorf("%+v", got)
	}
	if content, _ := r.Get("content"); string(content) != "[]" {
		t.Errorf("the one before is changed: %s", content)
	}
}
