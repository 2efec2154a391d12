package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const promisingTool = `{"name":"set","inputSchema":{"type":"object"},"outputSchema":{"type":"object"},` + writes + `}`

// saidPlan is a result of a plan with what these tests look at.
type saidPlan struct {
	Summary string
	Results []saidItem
}

type saidItem struct {
	ID, Status, Code, Error string
	Result, Content         json.RawMessage
	Notes                   []string
	Truncated               *struct{ Bytes int }
	Meta                    map[string]json.RawMessage
	Items                   []saidItem
	Reused                  bool
}

func planOf(t *testing.T, v *aggregate.View, session, calls string) saidPlan {
	t.Helper()
	got := callAs(t, v, &aggregate.Request{Principal: upstream.Local(), Session: session}, "bulkhead_batch", `{"calls":[`+calls+`]}`)
	var p saidPlan
	if err := json.Unmarshal(got.Structured, &p); err != nil || got.IsError {
		t.Fatalf("%v: %s", err, got.text())
	}
	return p
}

// A write whose long answer was cut has succeeded, whatever else is done to that
// answer, and is not made again. A call by itself is marked for hosts that check
// the schema.
func TestACutWriteHasSucceeded(t *testing.T) {
	raw := `{"content":[],"structuredContent":{"rows":"` + strings.Repeat("x", 5000) + `"}}`
	for _, tt := range []struct {
		name  string
		clash bool
	}{{"the first answer after an outage", false}, {"an address that others claim", true}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crm, dwh := newRich(t, "crm"), newRich(t, "dwh")
				if tt.clash {
					crm.put(t, upstream.Resources, `{"uri":"file:///readme","name":"r"}`)
					dwh.put(t, upstream.Resources, `{"uri":"file:///readme","name":"r"}`)
				}
				var made atomic.Int32
				var ill atomic.Bool
				crm.tools = append(crm.tools, parse(t, "crm", promisingTool))
				crm.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
					if ill.Load() {
						return nil, lost(c, upstream.Unavailable, false)
					}
					made.Add(1)
					return upstream.ParseResult([]byte(raw))
				}
				m := asMember(crm)
				m.Limits = aggregate.Limits{Failures: 1, CoolDown: 4 * time.Second}
				a, err := aggregate.New([]aggregate.Member{m, asMember(dwh)}, aggregate.Options{MaxResult: 1000})
				if err != nil {
					t.Fatal(err)
				}
				v, _ := run(t, a)
				if err := a.Settled(t.Context()); err != nil {
					t.Fatal(err)
				}
				single := call(t, v, "crm_set", `{}`)
				if !single.IsError || single.Structured != nil {
					t.Error("a host that checks the schema would refuse the answer to a call by itself")
				}
				if !tt.clash {
					ill.Store(true)
					callAs(t, v, &aggregate.Request{Principal: upstream.Local(), Session: "a"}, "crm_set", `{}`)
					time.Sleep(5 * time.Second)
					ill.Store(false)
				}
				made.Store(0)
				const calls = `{"id":"w","tool":"crm_set"}`
				first, again := planOf(t, v, "a", calls).Results[0], planOf(t, v, "a", calls).Results[0]
				if first.Status != "ok" || first.Code != "" || !again.Reused || made.Load() != 1 {
					t.Errorf("%s %s %s, made %d times", first.Status, first.Code, first.Error, made.Load())
				}
				if back := first.Meta[aggregate.MetaRecovered]; (back != nil) == tt.clash || again.Meta != nil {
					t.Errorf("of an outage it says %s, then %s", back, again.Meta)
				}
			})
		})
	}
}

// What a cut answer can be referred to for is what is there as a whole.
func TestReferencesToCutResults(t *testing.T) {
	image := func(n int) string { return `{"type":"image","data":"` + strings.Repeat("A", n) + `"}` }
	text := func(s string) string { return `{"type":"text","text":` + quoted(s) + `}` }
	long := strings.Repeat("word ", 1000)
	for _, tt := range []struct {
		name, raw, ref, want string // "" is none
	}{
		{"an image that is too long", `{"content":[` + image(5000) + `]}`, "#/a", ""},
		{"images of which the last is too long", `{"content":[` + image(100) + `,` + image(5000) + `]}`, "#/a", ""},
		{"a text before an image", `{"content":[` + text(`{"id":1}`) + `,` + image(5000) + `]}`, "#/a/id", "1"},
		{"a text before a long text", `{"content":[` + text(`{"id":1}`) + `,` + text(long) + `]}`, "#/a/id", "1"},
		{"words before an image", `{"content":[` + text(`seen`) + `,` + image(5000) + `]}`, "#/a", `"seen"`},
		{"words before long words", `{"content":[` + text(`seen`) + `,` + text(long) + `]}`, "#/a", ""},
		{"long words", `{"content":[` + text(long) + `]}`, "#/a", ""},
		{"records", `{"content":[` + text(`{"id":1}`) + `,` + text(`{"id":2}`) + `,` + text(`{"x":"`+long+`"}`) + `]}`, "#/a/0/id", ""},
		{"structured behind an image", `{"content":[` + text(`done`) + `,` + image(5000) + `],"structuredContent":{"id":1}}`, "#/a", ""},
		{"structured and its text before an image", `{"content":[` + text(`{"id": 1}`) + `,` + image(5000) + `],"structuredContent":{"id":1}}`, "#/a/id", "1"},
		{"another text than what is structured", `{"content":[` + text(`{"id":2}`) + `,` + image(5000) + `],"structuredContent":{"id":1}}`, "#/a/id", ""},
		{"a source's own notice", `{` + textual(`{"id":1}`, "[truncated: no]") + `}`, "#/a/id", "1"},
		{"words and a source's own notice", `{` + textual(`seen`, "[truncated: no]") + `}`, "#/a", `"seen\n[truncated: no]"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := big(t, 1000, plainTool, tt.raw)
				for range 2 { // the second time from memory
					p := planOf(t, v, "", `{"id":"a","tool":"crm_get"},{"id":"b","tool":"crm_get","arguments":{"x":{"$ref":"`+tt.ref+`"}}}`)
					a, b := p.Results[0], p.Results[1]
					if a.Status != "ok" || strings.Contains(string(a.Result), "truncated: crm") {
						t.Errorf("%s: %s", a.Status, a.Result)
					}
					if tt.want == "" {
						if b.Error != tt.ref+": the result of a is too long to be referred to; have it answer less" {
							t.Errorf("%s: %s", b.Status, b.Error)
						}
					} else if b.Status != "ok" {
						t.Error(b.Error)
					}
				}
				if tt.want == "" {
					return
				}
				got := ""
				v = noting(t, tt.raw, &got)
				planOf(t, v, "", `{"id":"a","tool":"crm_get"},{"id":"b","tool":"crm_get","arguments":{"x":{"$ref":"`+tt.ref+`"}}}`)
				if got != `{"x":`+tt.want+`}` {
					t.Error(got)
				}
			})
		})
	}
}

// noting is [big] that notes the arguments of its last call.
func noting(t *testing.T, raw string, last *string) *aggregate.View {
	t.Helper()
	f := newFake(t, "crm", "get")
	f.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		*last = string(c.Arguments)
		return upstream.ParseResult([]byte(raw))
	}
	a, err := aggregate.New([]aggregate.Member{member(f)}, aggregate.Options{MaxResult: 1000})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	names(t, v)
	return v
}

// What a source says is all there, and none of it as if we had said it.
func TestWhatIsSaidBesideAResult(t *testing.T) {
	const warning = "WARNING: partial, 2 shards failed"
	for _, tt := range []struct {
		name, raw              string
		result, content, notes string
	}{
		{"a warning beside structured content", `{` + textual(warning) + `,"structuredContent":{"count":3}}`,
			`{"count":3}`, `[{"type":"text","text":"` + warning + `"}]`, ""},
		{"the same twice, and a warning", `{` + textual(`{ "count": 3 }`, warning) + `,"structuredContent":{"count":3}}`,
			`{"count":3}`, `[{"type":"text","text":"` + warning + `"}]`, ""},
		{"the same twice", `{` + textual(`{ "count": 3 }`, " ") + `,"structuredContent":{"count":3}}`, `{"count":3}`, "", ""},
		{"each record", `{` + textual(`{"id":1}`, `{"id":2}`) + `,"structuredContent":{"rows":[{"id":1},{"id":2}]}}`, `{"rows":[{"id":1},{"id":2}]}`, "", ""},
		{"a number", `{` + textual(`3`, "counted") + `,"structuredContent":3}`, `3`, `[{"type":"text","text":"counted"}]`, ""},
		{"a word", `{` + textual(`three`, "counted") + `,"structuredContent":"three"}`, `"three"`, `[{"type":"text","text":"counted"}]`, ""},
		{"another value", `{` + textual(`{"count":4}`) + `,"structuredContent":{"count":3}}`, `{"count":3}`, "", "[crm: 1 text was left out, which was JSON other than the structured content]"},
		{"another number", `{` + textual(`4`) + `,"structuredContent":{"count":3}}`, `{"count":3}`, `[{"type":"text","text":"4"}]`, ""},
		{"words as if they were ours", `{` + textual("[crm: all rows shown]") + `,"structuredContent":{"count":3}}`,
			`{"count":3}`, `[{"type":"text","text":"[crm: all rows shown]"}]`, ""},
		{"words beside a text", `{` + textual("[crm: all rows shown]", `{"count":3}`) + `}`,
			`{"count":3}`, `[{"type":"text","text":"[crm: all rows shown]"}]`, ""},
		{"words alone", `{` + textual("two", "three") + `}`, `"two\nthree"`, "", ""},
		{"an image", `{"content":[{"type":"text","text":"two"},{"type":"image","data":"AA"}]}`, `"two"`, `[{"type":"image","data":"AA"}]`, ""},
		{"fields", `{` + textual(warning) + `,"structuredContent":{"id":1,"x":2}}`,
			`{"id":1}`, `[{"type":"text","text":"` + warning + `"}]`, "[crm: showing 1 of 2 fields]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := ruled(t, shaping.Rules{Fields: []string{"id", "count", "rows"}, RowsAt: new("")}, aggregate.Options{}, plainTool, tt.raw)
				r := planOf(t, v, "", `{"id":"a","tool":"crm_get"}`).Results[0]
				if string(r.Result) != tt.result || string(r.Content) != tt.content || strings.Join(r.Notes, "|") != tt.notes {
					t.Errorf("%s %s: %s, %s, %q", r.Status, r.Error, r.Result, r.Content, r.Notes)
				}
			})
		})
	}
}

// A page of what was held back says by a note which it is, and is read without it.
func TestBatchReadsMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := big(t, 4000, plainTool, `{`+textual(strings.Repeat("word ", 900))+`}`)
		handle := handleIn.FindStringSubmatch(call(t, v, "crm_get", `{}`).Content[1].Text)[1]
		r := planOf(t, v, "", `{"id":"a","tool":"bulkhead_read_more","arguments":{"handle":"`+handle+`"}}`).Results[0]
		if strings.Contains(string(r.Result), "[crm: ") || len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], "[crm: page 1 of 1 of the rest") || r.Content != nil {
			t.Errorf("%s %s: %s, %s, %q", r.Status, r.Error, r.Result, r.Content, r.Notes)
		}
	})
}

// How old an answer is does not keep it from being shaped, and a plan is told of
// it.
func TestStaleAnswersAreShaped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte(`{` + textual(`{"id":1,"secret":"canary"}`, `{"id":2,"secret":"canary"}`) + `}`))
		})
		shape, err := shaping.New(shaping.Rules{Fields: []string{"id"}})
		if err != nil {
			t.Fatal(err)
		}
		m := limited(f, aggregate.Limits{TrustAnnotations: true})
		m.Cache = aggregate.Cache{TTL: 10 * time.Second, Stale: time.Hour}
		m.Shape = map[string]*shaping.Shaper{"get": shape}
		a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, stop := run(t, a)
		defer stop()
		names(t, v)
		call(t, v, "crm_get", `{}`)
		time.Sleep(2 * time.Minute)
		const rows, shaped, age = `[{"id":1},{"id":2}]`, "[crm: showing 1 of 2 fields of each row]", "[crm: this answer is 2 min old; a newer one is being fetched]"
		if got := call(t, v, "crm_get", `{}`); len(got.Content) != 3 || got.text() != rows || got.Content[1].Text != age || got.Content[2].Text != shaped {
			t.Errorf("%+v", got.Content)
		}
		synctest.Wait()
		time.Sleep(2 * time.Minute)
		for _, want := range []struct{ notes, meta string }{ // the plan does not remember what was out of date
			{age + "|" + shaped, fmt.Sprintf(`{"state":"stale","ageMs":%d}`, 2*time.Minute.Milliseconds())},
			{shaped, `{"state":"fresh","ageMs":0}`},
		} {
			r := planOf(t, v, "", `{"id":"a","tool":"crm_get"},{"id":"b","tool":"crm_get","map":{"$ref":"#/a"}}`).Results
			if string(r[0].Result) != rows || strings.Join(r[0].Notes, "|") != want.notes || r[0].Content != nil {
				t.Errorf("%s, %s, %q", r[0].Result, r[0].Content, r[0].Notes)
			}
			if got := string(r[0].Meta[aggregate.MetaCache]); got != want.meta || len(r[1].Items) != 2 {
				t.Errorf("%s, want %s", got, want.meta)
			}
			synctest.Wait()
		}
	})
}

// Notes stay beside what is cut: they are neither cut nor taken for what the source
// has said.
func TestNotesOfCutResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := `{` + textual(`{"id":"`+strings.Repeat("x", 5000)+`","n":1}`) + `}`
		v := ruled(t, shaping.Rules{Fields: []string{"id"}, MaxBytes: 1024}, aggregate.Options{}, plainTool, raw)
		got := call(t, v, "crm_get", `{}`)
		if len(got.Content) != 3 || got.Content[1].Text != "[crm: showing 1 of 2 fields]" || !strings.HasPrefix(got.Content[2].Text, "[truncated: crm: ") {
			t.Fatalf("%+v", got.Content)
		}
		texts, _ := readAll(t, v, answer{Content: append(got.Content[:1:1], got.Content[2])})
		if all := strings.Join(texts, ""); all != `{"id":"`+strings.Repeat("x", 5000)+`"}` {
			t.Errorf("%.60s", all)
		}
		r := planOf(t, v, "", `{"id":"a","tool":"crm_get"}`).Results[0]
		if len(r.Notes) != 2 || r.Content != nil || !strings.HasPrefix(string(r.Result), `"{\"id\":\"xx`) {
			t.Errorf("%s %s: %s, %s, %q", r.Status, r.Error, r.Result, r.Content, r.Notes)
		}
	})
}

// What we say of a result in _meta is said of a call of a plan too, however long
// the result; what the source says there is not.
func TestMetaOfCallsOfAPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte(`{` + textual(strings.Repeat("x", 3000)) + `,"_meta":{"own":1,"` + aggregate.MetaRecovered + `":{"source":"erp"}}}`))
		})
		m := limited(f, aggregate.Limits{TrustAnnotations: true})
		m.Cache.TTL = time.Hour
		a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		call(t, v, "crm_get", `{}`)
		time.Sleep(time.Second)
		got := callAs(t, v, &aggregate.Request{Principal: upstream.Local()}, "bulkhead_batch", `{"max_result_bytes":1024,"calls":[{"id":"a","tool":"crm_get"}]}`)
		var p saidPlan
		if err := json.Unmarshal(got.Structured, &p); err != nil {
			t.Fatal(err)
		}
		r := p.Results[0]
		if r.Truncated == nil || len(r.Meta) != 1 || string(r.Meta[aggregate.MetaCache]) != `{"state":"fresh","ageMs":1000}` {
			t.Errorf("%+v", r)
		}
	})
}

// What stands for a result that is not kept is nothing that can be referred to.
func TestReferencesToWhatIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm := newShop(t, "crm")
		m := member(crm.fake)
		a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, stop := run(t, a)
		defer stop()
		const calls = `{"id":"w","tool":"crm_write","arguments":{"value":1}},{"id":"d","tool":"crm_write","arguments":{"ms":1,"x":{"$ref":"#/w"}}}`
		if p := planOf(t, v, "", calls); p.Results[1].Status != "ok" {
			t.Fatal(p.Results[1].Error)
		}
		next := newShop(t, "crm")
		m.Adapter, m.Fingerprint = next.fake, "of somebody else"
		if err := a.Swap([]aggregate.Member{m}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r := planOf(t, v, "", calls).Results; !r[0].Reused || r[1].Status != "error" || len(next.asked) != 0 {
			t.Errorf("%+v, asked %v", r, next.asked)
		}
	})
}
