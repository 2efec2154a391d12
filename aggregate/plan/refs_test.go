package plan_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// literal answers what stands in its arguments, as it is.
func literal(value string) string { return `{"value":{"$literal":` + value + `}}` }

func answers(t *testing.T, value, arguments string) plan.Outcome[string] {
	t.Helper()
	return run(t, `[{"id":"a","tool":"a_read","arguments":`+literal(value)+`},{"id":"b","tool":"b_read","arguments":`+arguments+`}]`)[1]
}

// TestReferencesAreReplacedOnce: whatever is in a result stays what it is.
func TestReferencesAreReplacedOnce(t *testing.T) {
	for _, value := range []string{
		`{"$ref":"#/a"}`, `{"$ref":"#/a/x"}`, `"#/a/x"`, `{"$literal":1}`, `[{"$ref":"#/b"}]`, `{"x":{"$ref":"#/item/id"}}`,
		`{"\u0024ref":"#/a"}`, `{"$ref":{"$ref":"#/a"}}`, `{"$literal":{"$ref":"#/a"}}`,
		`12345678901234567890123456789`, `1e400`, `-0`, `-0.0`, `1.0`, `0.1000000000000000055511151231257827`, `1E+2`,
		`"\ud800"`, `{"\ud800":1}`, `"é\u00e9\u2028"`, `{"é":"ü","😀":[1, 2 ,	3]}`, `{ "a" : [ ] , "b" : { } }`, `""`, `null`,
	} {
		for reference, want := range map[string]string{
			`{"value":{"$ref":"#/a"}}`:                                    value,
			`{"value":[0,{"$ref":"#/a"}, {"x": {"$ref":"#/a"} , "y":2}]}`: `[0,` + value + `, {"x": ` + value + ` , "y":2}]`,
		} {
			if o := answers(t, value, reference); string(o.Value) != want {
				t.Errorf("%s for %s: %s %s, want %s", reference, value, o.Value, o.Why, want)
			}
		}
	}
}

// TestWhatIsNoReferenceStays: byte by byte, also beside one.
func TestWhatIsNoReferenceStays(t *testing.T) {
	for _, arguments := range []string{
		`{"value":{ "\u0061b":"\u00e9" , "x":[ 1.0 ,1e400, {} , [ ] ]},"$ref":"x"}`,
		`{"value":{"$ref":"#/a","more":{"$ref":"#/a","x":1}},"$literal":2}`,
		`{"value":{"\ud800":[[[["$ref"]]]]} }`,
	} {
		o := answers(t, `7`, strings.TrimSuffix(arguments, "}")+`,"z":{"$ref":"#/a"}}`)
		want, _ := rawjson.Get([]byte(arguments), "value")
		if string(o.Value) != string(want) {
			t.Errorf("%s became %s %s", want, o.Value, o.Why)
		}
	}
}

// TestAnyValueSurvives: any JSON that a reference brings arrives as it was, however
// deep in the arguments, as an element of a list too.
func TestAnyValueSurvives(t *testing.T) {
	var value *rapid.Generator[string]
	leaf := rapid.SampledFrom([]string{`1`, `-1.50e+3`, `99999999999999999999`, `"#/a/x"`, `"a\tb"`, `"é"`, `true`, `null`, `{}`, `[]`, `{"$ref":"#/a"}`, `{"$literal":0}`, `{"$ref":"#/item"}`})
	value = rapid.Deferred(func() *rapid.Generator[string] {
		list := rapid.Map(rapid.SliceOfN(value, 0, 3), func(v []string) string { return "[" + strings.Join(v, " , ") + "]" })
		object := rapid.Custom(func(t *rapid.T) string {
			var out []string
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"$ref", "$literal", "a", "b/c", "~", "é", "item"}), 0, 3, rapid.ID).Draw(t, "names") {
				out = append(out, fmt.Sprintf("%q: %s", name, value.Draw(t, "value")))
			}
			return "{" + strings.Join(out, ",") + " }"
		})
		return rapid.OneOf(leaf, leaf, list, object)
	})
	rapid.Check(t, func(t *rapid.T) {
		v := value.Draw(t, "value")
		var mu sync.Mutex
		var seen []string
		p, err := plan.Parse(json.RawMessage(`[{"id":"a","tool":"a_read"},{"id":"b","tool":"b_read","arguments":{"x":[{"y": {"$ref":"#/a/v/0"}}]}},
			{"id":"m","tool":"c_write","map":{"$ref":"#/a/v"},"arguments":{"x":{"$ref":"#/item"}}}]`), find, false)
		if err != nil {
			t.Fatal(err)
		}
		plan.Run(context.WithoutCancel(t.Context()), p, plan.Work[string]{Do: func(_ context.Context, s plan.Step) (json.RawMessage, string, bool) {
			if s.Node.ID == "a" {
				return json.RawMessage(`{"v":[` + v + `]}`), "", true
			}
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, string(s.Arguments))
			return nil, "", true
		}})
		for _, got := range seen {
			if got != `{"x":[{"y": `+v+`}]}` && got != `{"x":`+v+`}` {
				t.Fatalf("%s became %s", v, got)
			}
		}
		if len(seen) != 2 {
			t.Fatalf("%d calls", len(seen))
		}
	})
}

// TestPointers: RFC 6901 with its corners.
func TestPointers(t *testing.T) {
	const value = `{"":{"":1},"a/b":2,"m~n":3,"é ü":4,"%41":5,"0":{"00":6},"rows":[10,[11],{"-":12}],"~1":13,"x":null}`
	for ref, want := range map[string]string{
		"#/a/":                          `{"":1}`,
		"#/a//":                         `1`,
		"#/a/a~1b":                      `2`,
		"#/a/m~0n":                      `3`,
		"#/a/é ü":                       `4`,
		"#/a/%C3%A9%20%C3%BC":           `4`,
		"#/a/%2541":                     `5`,
		"#/a/0/00":                      `6`, // members may be called as they like
		"#/a/rows/1/0":                  `11`,
		"#/a/rows/2/-":                  `12`,
		"#/a/~01":                       `13`, // ~01 is ~1, not /
		"#/a/x":                         `null`,
		"#/a/%41":                       `at #/a there is no "A"`,
		"#/a/rows/-":                    `no element "-": the list has 3`,
		"#/a/rows/3":                    `no element "3"`,
		"#/a/rows/01":                   `no element "01"`,
		"#/a/rows/+1":                   `no element "+1"`,
		"#/a/rows/1e0":                  `no element "1e0"`,
		"#/a/rows/99999999999999999999": `no element`,
		"#/a/x/y":                       `at #/a/x there is null, which has no parts`,
		"#/a/a~1b/0":                    `there is a number, which has no parts`,
	} {
		o := answers(t, value, `{"value":{"$ref":"`+ref+`"}}`)
		if string(o.Value) != want && (o.Status != plan.Failed || !strings.Contains(o.Why, want)) {
			t.Errorf("%s: %s %s, want %s", ref, o.Value, o.Why, want)
		}
	}
	for ref, want := range map[string]string{
		"":                                "a reference is",
		"#":                               "a reference is",
		"/a":                              "a reference is",
		"http://example.com/#/a":          "a reference is",
		"#/":                              `there is no call ""`,
		"#/A":                             `there is no call "A"`,
		"#/а":                             `there is no call "а"`, // a Cyrillic letter
		"#/a~1":                           `there is no call "a/"`,
		"#/a/~2":                          "a tilde is not written ~0",
		"#/a/x~":                          "a tilde is not written ~0",
		"#/a/%":                           "not escaped",
		"#/a" + strings.Repeat("/0", 32):  "deeper than 32",
		"#/a/" + strings.Repeat("x", 1e5): "longer than 2048 bytes",
		"#" + strings.Repeat("/a", 1e5):   "longer than 2048 bytes",
	} {
		_, err := plan.Parse(json.RawMessage(`[{"id":"a","tool":"a_read"},{"id":"b","tool":"b_read","arguments":{"x":{"$ref":"`+ref+`"}}}]`), find, false)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 1000 {
			t.Errorf("%.80s: %.1000v, want %s", ref, err, want)
		}
	}
}

// TestNamesTwice: what names a member twice means one thing to us and perhaps
// another to the source.
func TestNamesTwice(t *testing.T) {
	for arguments, bad := range map[string]bool{`{"value":{"$ref":"#/a"}}`: true, `{"value":{"$ref":"#/a/in"}}`: true, `{"value":{"$ref":"#/a/in/y"}}`: false} {
		p := parse(t, `[{"id":"a","tool":"a_read"},{"id":"b","tool":"b_read","arguments":`+arguments+`}]`)
		out := plan.Run(t.Context(), p, plan.Work[string]{Do: func(_ context.Context, s plan.Step) (json.RawMessage, string, bool) {
			return json.RawMessage(`{"in":{"x":1,"y":2,"x":3}}`), "", true
		}})
		if failed := out[1].Status == plan.Failed && strings.Contains(out[1].Why, "is named twice"); failed != bad {
			t.Errorf("%s: %+v", arguments, out[1])
		}
	}
}

// TestReferencesIntoFailures: by what the failed call's on_error says, a list whose
// elements failed among them.
func TestReferencesIntoFailures(t *testing.T) {
	const failed = `{"id":"f","tool":"a_read","arguments":{"fail":true}}`
	for _, c := range []struct{ call, want string }{
		{`{"id":"a","tool":"b_read","on_error":"%s","arguments":{"fail":true}}`, `null`},
		{`{"id":"a","tool":"b_read","after":["f"],"on_error":"%s"}`, `null`},                            // skipped
		{`{"id":"a","tool":"b_read","map":{"$ref":"#/f/rows"},"on_error":"%s"}`, `null`},                // skipped, a list
		{`{"id":"a","tool":"b_read","map":{"$ref":"#/o"},"on_error":"%s"}`, `null`},                     // over no list
		{`{"id":"a","tool":"b_read","on_error":"%s","arguments":{"x":{"$ref":"#/o/nothing"}}}`, `null`}, // refers to nothing
		{`{"id":"a","tool":"b_read","map":{"$ref":"#/l"},"on_error":"%s","arguments":{"fail":{"$ref":"#/item"}}}`, `[null,{"fail":false}]`},
	} {
		for policy, status := range map[string]plan.Status{"skip": plan.Skipped, "fail": plan.Skipped, "null": plan.OK} {
			out := run(t, `[{"id":"o","tool":"c_read","arguments":{"value":{"x":1}}},{"id":"l","tool":"c_read","arguments":{"value":[true,false]}},
				`+failed+`,`+fmt.Sprintf(c.call, policy)+`,
				{"id":"b","tool":"d_read","arguments":{"value":{"whole":{"$ref":"#/a"},"part":{"$ref":"#/a/0"},"deep":{"$ref":"#/a/0/x/y"}}}}]`)
			b := out[4]
			want := ""
			if status == plan.OK {
				want = `{"whole":` + c.want + `,"part":null,"deep":null}`
			}
			if b.Status != status || string(b.Value) != want {
				t.Errorf("%s, %s: %s %s %q", c.call, policy, b.Status, b.Value, b.Why)
			}
		}
	}
}

// TestMapOverNothing: no list because of a failure that is to be null is an empty
// list.
func TestMapOverNothing(t *testing.T) {
	out := run(t, `[{"id":"f","tool":"a_read","on_error":"null","arguments":{"fail":true}},
		{"id":"m","tool":"b_read","map":{"$ref":"#/f/rows"},"arguments":{"x":{"$ref":"#/item"}}},
		{"id":"c","tool":"c_read","arguments":{"value":{"$ref":"#/m"}}},{"id":"d","tool":"c_read","arguments":{"value":{"$ref":"#/m/0"}}}]`)
	if out[1].Status != plan.OK || string(out[2].Value) != "[]" || out[3].Status != plan.Failed || !strings.Contains(out[3].Why, `no element "0": the list has 0`) {
		t.Errorf("%+v", out)
	}
}
