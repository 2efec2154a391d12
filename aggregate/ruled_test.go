package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// ruled runs one upstream "crm" whose tool "get" answers with raw, under rules,
// our own tools included.
func ruled(t *testing.T, r shaping.Rules, opt aggregate.Options, definition, raw string) *aggregate.View {
	t.Helper()
	shape, err := shaping.New(r)
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t, "crm")
	f.tools = append(f.tools, parse(t, "crm", definition))
	f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
		return upstream.ParseResult([]byte(raw))
	}
	m := member(f)
	m.Shape = map[string]*shaping.Shaper{"get": shape}
	a, err := aggregate.New([]aggregate.Member{m}, opt)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	names(t, v)
	return v
}

// answered returns the raw answer to a call of crm_get.
func answered(t *testing.T, v *aggregate.View) string {
	t.Helper()
	raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"crm_get"}`), Modern: true})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(raw), `,"resultType":"complete"}`) + "}"
}

func quoted(text string) string {
	out, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func textual(texts ...string) string {
	var items []string
	for _, text := range texts {
		items = append(items, `{"type":"text","text":`+quoted(text)+`}`)
	}
	return `"content":[` + strings.Join(items, ",") + `]`
}

// What the rules change and in which forms of results they find the value.
func TestShapedResults(t *testing.T) {
	const value, fewer = `{"items":[{"id":1,"x":"é"},{"id":2,"x":3}]}`, `{"items":[{"id":1},{"id":2}]}`
	fields := shaping.Rules{Fields: []string{"id"}}
	const note = "[crm: showing 1 of 2 fields of each row]"
	for _, tt := range []struct {
		name  string
		rules shaping.Rules
		raw   string
		want  string // "" is the same, byte for byte
	}{
		{"structured and its text", fields, `{` + textual(value) + `,"structuredContent":` + value + `,"_meta":{"a":1}}`,
			`{` + textual(fewer, note) + `,"structuredContent":` + fewer + `,"_meta":{"a":1}}`},
		{"the text in another order", fields, `{` + textual(`{ "items": [ {"x": "\u00e9", "id": 1}, {"id": 2, "x": 3} ] }`) + `,"structuredContent":` + value + `}`,
			`{` + textual(fewer, note) + `,"structuredContent":` + fewer + `}`},
		{"a text for each record", fields, `{` + textual(`{"id":1,"x":"é"}`, `{"id":2,"x":3}`) + `,"structuredContent":` + value + `}`,
			`{` + textual(fewer, note) + `,"structuredContent":` + fewer + `}`},
		{"structured and words", fields, `{` + textual("Two customers.") + `,"structuredContent":` + value + `}`,
			`{` + textual("Two customers.", note) + `,"structuredContent":` + fewer + `}`},
		{"structured alone", fields, `{"structuredContent":` + value + `}`,
			`{"structuredContent":` + fewer + `,` + textual(note) + `}`},
		{"text alone", fields, `{` + textual("Here you are:", value) + `,"isError":false}`,
			`{` + textual("Here you are:", fewer, note) + `,"isError":false}`},
		{"texts alone", fields, `{"content":[{"type":"text","text":"{\"id\":1,\"x\":2}"},{"type":"image","data":"AA"},{"type":"text","text":"{\"id\":2}"}]}`,
			`{"content":[{"type":"text","text":"[{\"id\":1},{\"id\":2}]"},{"type":"image","data":"AA"},{"type":"text","text":"` + note + `"}]}`},
		{"texts and words", fields, `{` + textual(`{"id":1,"x":2}`, "and", `{"id":2,"x":2}`) + `}`, ""},
		{"nothing to leave out", fields, `{ "content" : [ {"type":"text","text":"[ {\"id\": 1} ]"} ] }`, ""},
		{"no JSON", fields, `{` + textual("id: 1, x: 2") + `}`, ""},
		{"JSON of no records", fields, `{` + textual("1") + `}`, ""},
		{"a failure", fields, `{` + textual(value) + `,"isError":true}`, ""},
		{"one text that is the list", fields, `{` + textual(`[{"id":1,"x":"é"}, {"id":2,"x":3}]`) + `,"structuredContent":` + value + `}`,
			`{` + textual(fewer, note) + `,"structuredContent":` + fewer + `}`},
		{"one text that is the only member", fields, `{` + textual(`{"x":2,"id":1}`) + `,"structuredContent":{"result":{"id":1,"x":2}}}`,
			`{` + textual(`{}`, "[crm: showing 0 of 1 fields]") + `,"structuredContent":{}}`},
		{"a member that is the text", shaping.Rules{JQ: ".result | fromjson | .id"}, `{` + textual(`{"id":1,"x":2}`) + `,"structuredContent":{"result":"{\"id\":1,\"x\":2}"}}`,
			`{` + textual(`1`) + `,"structuredContent":1}`},
		{"a text of other numbers", fields, `{` + textual(`[{"id":1.0,"x":"canary"}]`) + `,"structuredContent":{"items":[{"id":1,"x":3}]}}`,
			`{` + textual(`{"items":[{"id":1}]}`, "[crm: showing 1 of 2 fields of each row; 1 text was left out, which was JSON other than the structured content]") + `,"structuredContent":{"items":[{"id":1}]}}`},
		{"a text of other things", fields, `{` + textual("Here:", `{"id":1}`, `{"x":"canary"}`, "{\"x\":\"canary\"}\n{\"x\":1}", `{"x":"canary","x":1}`) + `,"structuredContent":{"id":1}}`,
			`{` + textual("Here:", `{"id":1}`, "[crm: 3 texts were left out, which were JSON other than the structured content]") + `,"structuredContent":{"id":1}}`},
		{"other things within max_bytes", shaping.Rules{MaxBytes: 1 << 10}, `{` + textual(`{"x":1}`) + `,"structuredContent":{"id":1}}`, ""},
		{"a list in place of words", shaping.Rules{JQ: ".items | map(.id)"}, `{` + textual("Two customers.") + `,"structuredContent":` + value + `}`,
			`{` + textual("[1,2]", "Two customers.") + `,"structuredContent":[1,2]}`},
		{"nothing in place of words", shaping.Rules{JQ: ".nothing"}, `{` + textual("Two customers.") + `,"structuredContent":` + value + `}`,
			`{` + textual("null", "Two customers.") + `}`},
		{"nothing but structured", shaping.Rules{JQ: ".items", Fields: []string{"id"}}, `{"structuredContent":` + value + `}`,
			`{"structuredContent":[{"id":1},{"id":2}],` + textual(`[{"id":1},{"id":2}]`, note) + `}`},
		{"a text beside what is neither", fields, `{` + textual(`{"id":1,"x":"canary"}`) + `,"structuredContent":"{\"x\":\"canary\"}"}`,
			`{` + textual(`{"id":1}`, "[crm: showing 1 of 2 fields]") + `}`},
		{"jq", shaping.Rules{JQ: ".items | map(.id)"}, `{` + textual(value) + `,"structuredContent":` + value + `}`,
			`{` + textual(`[1,2]`) + `,"structuredContent":[1,2]}`},
		{"jq that finds nothing", shaping.Rules{JQ: ".nothing"}, `{` + textual(value) + `,"structuredContent":` + value + `}`,
			`{` + textual(`null`) + `}`},
		{"jq that changes nothing", shaping.Rules{JQ: "del(.items[].nothing)"}, `{` + textual(value) + `}`, ""},
		{"few enough rows", shaping.Rules{MaxRows: 2, MaxBytes: 1 << 10}, `{` + textual(value) + `,"structuredContent":` + value + `}`, ""},
		{"one record", shaping.Rules{Fields: []string{"id"}, RowsAt: new("")}, `{` + textual(`{"id":1,"tags":[],"b":{"c":1}}`) + `}`,
			`{` + textual(`{"id":1}`, "[crm: showing 1 of 3 fields]") + `}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				want := tt.want
				if want == "" {
					want = tt.raw
				}
				got := answered(t, ruled(t, tt.rules, aggregate.Options{}, plainTool, tt.raw))
				if diff := cmp.Diff(strings.ReplaceAll(want, " } ]", "}]"), strings.ReplaceAll(got, " } ]", "}]")); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// table returns n rows and the result that says them, structured and as a text.
func table(n int) (rows []string, raw string) {
	for i := range n {
		rows = append(rows, fmt.Sprintf(`{"id":%d,"name":"customer \"%d\"","notes":"%s"}`, i, i, strings.Repeat("x", i%60)))
	}
	value := `{"rows":[` + strings.Join(rows, ",") + `],"next":"c"}`
	return rows, `{` + textual(value) + `,"structuredContent":` + value + `}`
}

// Rows that are left out can be read, each once and whole, within the caps.
func TestRowsThatAreLeftOut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 120).Draw(rt, "n")
		r := shaping.Rules{MaxRows: rapid.IntRange(0, 40).Draw(rt, "max_rows"), MaxBytes: rapid.SampledFrom([]int{0, 1 << 10, 2000, 1 << 16}).Draw(rt, "max_bytes")}
		if rapid.Bool().Draw(rt, "fields") {
			r.Fields = []string{"id", "notes"}
		}
		rows, raw := table(n)
		var want []any
		for _, row := range rows {
			var v map[string]any
			if err := json.Unmarshal([]byte(row), &v); err != nil {
				rt.Fatal(err)
			}
			if r.Fields != nil {
				delete(v, "name")
			}
			want = append(want, v)
		}
		wrong := ""
		synctest.Test(t, func(t *testing.T) { wrong = wrongWithRows(t, r, raw, want) })
		if wrong != "" { // said outside, because rapid panics in another goroutine
			rt.Fatal(wrong)
		}
	})
}

// wrongWithRows says what is wrong with the answer of a tool with rules, and with
// its rest, where it answers raw, which has the rows that are wanted.
func wrongWithRows(t *testing.T, r shaping.Rules, raw string, want []any) string {
	v := ruled(t, r, aggregate.Options{}, plainTool, raw)
	first := call(t, v, "crm_get", `{}`)
	var shown struct {
		Rows []any
		Next string
	}
	if err := json.Unmarshal([]byte(first.Content[0].Text), &shown); err != nil || shown.Next != "c" || first.IsError {
		return fmt.Sprintf("%v in %s", err, first.text())
	}
	got := shown.Rows
	note := first.Content[len(first.Content)-1].Text
	size, most := 0, r.MaxBytes
	for _, item := range first.Content {
		size += len(quoted(item.Text))
	}
	if most > 0 && size > most || r.MaxRows > 0 && len(got) > r.MaxRows {
		return fmt.Sprintf("%d rows in %d bytes", len(got), size)
	}
	if len(got) == len(want) {
		if strings.Contains(note, "handle") || (len(first.Content) > 1) != (r.Fields != nil && len(want) > 0) {
			return "nothing is left out, it says " + note
		}
	} else {
		if begin := fmt.Sprintf("[crm: showing %d of %d rows", len(got), len(want)); !strings.HasPrefix(note, begin) || first.Structured != nil {
			return fmt.Sprintf("%s; structured %s", note, first.Structured)
		}
		pages, _ := readAll(t, v, answer{Content: first.Content[1:]})
		for _, page := range pages {
			var more []any
			if err := json.Unmarshal([]byte(page), &more); err != nil || r.MaxRows > 0 && len(more) > r.MaxRows || most > 0 && len(quoted(page)) > most {
				return fmt.Sprintf("%v in a page of %d bytes with %d rows", err, len(page), len(more))
			}
			got = append(got, more...)
		}
	}
	if !cmp.Equal(want, got) && len(want) > 0 {
		return cmp.Diff(want, got)
	}
	return ""
}

func TestWhatRowsAreLeftOutSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, raw := table(7)
		v := ruled(t, shaping.Rules{MaxRows: 3, Fields: []string{"id"}}, aggregate.Options{}, plainTool, raw)
		first := call(t, v, "crm_get", `{}`)
		handle := handleIn.FindStringSubmatch(first.Content[1].Text)
		if handle == nil {
			t.Fatalf("%+v", first)
		}
		for text, want := range map[string]string{
			first.text():          `{"rows":[{"id":0},{"id":1},{"id":2}],"next":"c"}`,
			first.Content[1].Text: `[crm: showing 3 of 7 rows and 1 of 3 fields of each row; for the rest call bulkhead_read_more with {"handle":"` + handle[1] + `"}]`,
		} {
			if diff := cmp.Diff(want, text); diff != "" {
				t.Error(diff)
			}
		}
		for page, want := range map[int]string{
			1: `[crm: page 1 of 2 of the rest, rows 4 to 6 of 7; for the next call bulkhead_read_more with {"handle":"` + handle[1] + `","page":2}]`,
			2: `[crm: page 2 of 2 of the rest, row 7 of 7; this is the end]`,
		} {
			a := call(t, v, "bulkhead_read_more", fmt.Sprintf(`{"handle":%q,"page":%d}`, handle[1], page))
			if diff := cmp.Diff(want, a.Content[1].Text); diff != "" {
				t.Error(diff)
			}
		}
		stranger := &aggregate.Request{Principal: upstream.NewPrincipal("https://issuer.example", "mallory")}
		if a := callAs(t, v, stranger, "bulkhead_read_more", `{"handle":"`+handle[1]+`"}`); !a.IsError {
			t.Error("somebody else read the rows")
		}
	})
}

// A row that is longer than max_bytes is a page of its own; what stands around the
// rows and what is no list is cut like any other text.
func TestWhatIsTooLongForWholeRows(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for name, tt := range map[string]struct{ value, first, rest string }{
		"a row":    {`[{"id":1},{"id":2,"x":"` + long + `"},{"id":3}]`, `[{"id":1}]`, `[{"id":2,"x":"` + long + `"}][{"id":3}]`},
		"first":    {`[{"x":"` + long + `"}]`, `[]`, `[{"x":"` + long + `"}]`},
		"around":   {`{"rows":[1,2],"x":"` + long + `"}`, ``, `{"rows":[1,2],"x":"` + long + `"}`},
		"a record": {`{"a":1,"x":"` + long + `"}`, ``, `{"a":1,"x":"` + long + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := ruled(t, shaping.Rules{MaxBytes: 1 << 10}, aggregate.Options{},
					`{"name":"get","inputSchema":{"type":"object"},"outputSchema":{"type":"object"}}`, `{`+textual(tt.value)+`,"structuredContent":`+tt.value+`}`)
				first := call(t, v, "crm_get", `{}`)
				texts, _ := readAll(t, v, first)
				if first.IsError || first.Structured != nil || strings.Join(texts, "") != tt.first+tt.rest {
					t.Errorf("isError %v; %.100q", first.IsError, texts)
				}
			})
		})
	}
}

func TestMaxBytesOfText(t *testing.T) {
	for _, failed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := ruled(t, shaping.Rules{MaxBytes: 1 << 10, MaxRows: 1, JQ: "error"}, aggregate.Options{}, plainTool,
				fmt.Sprintf(`{%s,"isError":%v}`, textual(strings.Repeat("no JSON ", 1000)), failed))
			first := call(t, v, "crm_get", `{}`)
			texts, _ := readAll(t, v, first)
			if first.IsError != failed || strings.Join(texts, "") != strings.Repeat("no JSON ", 1000) || len(first.text()) > 1<<10 {
				t.Errorf("isError %v, %d bytes", first.IsError, len(first.text()))
			}
		})
	}
}

// An answer that a program was not made for is not shown as it is: the program may
// be there to leave something out.
func TestAProgramThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := ruled(t, shaping.Rules{JQ: ".items | map(.id)"}, aggregate.Options{}, plainTool, `{`+textual(`{"items":"canary"}`)+`}`)
		got := call(t, v, "crm_get", `{}`)
		want := "internal: crm: the call was carried out, but its answer could not be shaped as the configuration says (tools.override.get): jq: cannot iterate over: string; " +
			"other sources are unaffected."
		if diff := cmp.Diff(want, got.text()); diff != "" || !got.IsError {
			t.Error(diff)
		}
	})
}

// What is kept in memory is the answer as it came, for whatever is shown of it.
func TestShapingIsOutsideTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, raw := table(4)
		shape, err := shaping.New(shaping.Rules{MaxRows: 3})
		if err != nil {
			t.Fatal(err)
		}
		f := newFake(t, "crm", "get")
		asked := 0
		f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
			asked++
			return upstream.ParseResult([]byte(raw))
		}
		m := member(f)
		m.Shape = map[string]*shaping.Shaper{"get": shape}
		m.Cache = aggregate.Cache{TTL: time.Minute}
		m.Override = map[string]aggregate.Hints{"get": {ReadOnly: new(true)}}
		a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		for range 2 {
			first := call(t, v, "crm_get", `{}`)
			pages, _ := readAll(t, v, answer{Content: first.Content[1:]})
			if len(pages) != 1 || !strings.Contains(first.Content[1].Text, "showing 3 of 4 rows") {
				t.Errorf("%+v, then %q", first, pages)
			}
		}
		if asked != 1 {
			t.Errorf("the source was asked %d times", asked)
		}
	})
}

func TestACallThatEndsWhileItsAnswerIsShaped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := ruled(t, shaping.Rules{JQ: "last(range(1e18))"}, aggregate.Options{}, plainTool, `{`+textual(`{}`)+`}`)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		raw, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"crm_get"}`)})
		if err != nil || !strings.Contains(string(raw), "cancelled: crm: ") {
			t.Errorf("%v %s", err, raw)
		}
	})
}

// What clients check is not what a shaped answer is.
func TestTheOutputSchemaOfAShapedTool(t *testing.T) {
	const definition = `{"name":"get","inputSchema":{"type":"object"},"outputSchema":{"type":"object"},"title":"Get"}`
	for _, shaped := range []bool{true, false} {
		f := newFake(t, "crm")
		f.tools = append(f.tools, parse(t, "crm", definition))
		m := member(f)
		if shaped {
			m.Shape = map[string]*shaping.Shaper{"get": {}}
		}
		v, _ := start(t, aggregate.Options{}, m)
		raw, err := v.ListTools(t.Context(), &aggregate.Request{Principal: upstream.Local()})
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(string(raw), "outputSchema"); has == shaped || !strings.Contains(string(raw), `"title":"Get"`) {
			t.Errorf("shaped %v: %s", shaped, raw)
		}
	}
}

// What rules do not fit is logged, each thing once.
func TestRulesThatDoNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedText
		opt := aggregate.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
		v := ruled(t, shaping.Rules{MaxRows: 1, Fields: []string{"id", "nothing"}}, opt, plainTool, `{`+textual("words")+`,"structuredContent":{"id":1,"a":[],"b":[]}}`)
		for range 3 {
			call(t, v, "crm_get", `{}`)
		}
		for _, want := range []string{`fields names \"nothing\", which no record of its answer has`, "max_rows has no effect; rows_at says which", "the words stay as they are"} {
			if n := strings.Count(log.String(), want); n != 1 {
				t.Errorf("%q is logged %d times in %s", want, n, log.String())
			}
		}
	})
}

// Servers that answer a list as one text and wrap it for the structured content
// are not a way around the rules.
func TestRowsOfAWrappedList(t *testing.T) {
	var rows, others []string
	for i := range 1312 {
		rows = append(rows, fmt.Sprintf(`{"id":%d,"secret":"canary"}`, i))
		others = append(others, fmt.Sprintf(`{"id":%d.0,"secret":"canary"}`, i))
	}
	for name, tt := range map[string]struct {
		text []string
		want string
	}{
		"the same":      {rows, "[crm: showing 50 of 1312 rows; for the rest "},
		"other numbers": {others, "[crm: showing 50 of 1312 rows; 1 text was left out, which was JSON other than the structured content; for the rest "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lockedText
				opt := aggregate.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
				raw := `{` + textual("["+strings.Join(tt.text, ",")+"]") + `,"structuredContent":{"result":[` + strings.Join(rows, ",") + `]}}`
				v := ruled(t, shaping.Rules{MaxRows: 50}, opt, plainTool, raw)
				for range 2 {
					first := call(t, v, "crm_get", `{}`)
					if n := strings.Count(first.text(), "canary"); n != 50 || first.Structured != nil || len(first.Content) != 2 || !strings.HasPrefix(first.Content[1].Text, tt.want) {
						t.Errorf("%d rows, %q", n, first.Content[1].Text)
					}
				}
				if n, want := strings.Count(log.String(), "JSON that says something else"), strings.Count(tt.want, "left out"); n != want {
					t.Errorf("it is logged %d times, want %d: %s", n, want, log.String())
				}
			})
		})
	}
}

// What is too long beside the rows does not undo how many may be shown.
func TestRowsBesideWhatIsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := ruled(t, shaping.Rules{MaxBytes: 1 << 10, MaxRows: 2}, aggregate.Options{}, plainTool,
			`{`+textual(`{"rows":[101,102,103,104],"x":"`+strings.Repeat("x", 3000)+`"}`)+`}`)
		texts, _ := readAll(t, v, call(t, v, "crm_get", `{}`))
		if all := strings.Join(texts, ""); !strings.HasPrefix(all, `{"rows":[101,102],"x":`) || strings.Contains(all, "104") || !strings.Contains(all, "[crm: showing 2 of 4 rows; for the rest call") {
			t.Errorf("%.100s … %s", all, all[len(all)-200:])
		}
	})
}

// More rows than can be told apart are counted, and not kept.
func TestRowsBeyondAllBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := `{` + textual(`[`+strings.Repeat(`0,`, 150_000)+`1]`) + `}`
		v := ruled(t, shaping.Rules{MaxRows: 3}, aggregate.Options{}, plainTool, raw)
		got := call(t, v, "crm_get", `{}`)
		if diff := cmp.Diff([]string{`[0,0,0]`, "[crm: showing 3 of 150001 rows; the rest is too large to keep; ask for less]"}, []string{got.text(), got.Content[1].Text}); diff != "" {
			t.Error(diff)
		}
		v = ruled(t, shaping.Rules{Fields: []string{"id"}}, aggregate.Options{MaxResult: 1 << 20}, plainTool, raw)
		if got := call(t, v, "crm_get", `{}`); len(got.text()) != 200_001 || got.Content[1].Text != "[crm: showing 100000 of 150001 rows; the rest is too large to keep; ask for less]" {
			t.Errorf("%d bytes, %+v", len(got.text()), got.Content[1:])
		}
		v = ruled(t, shaping.Rules{JQ: "map(. + 1)"}, aggregate.Options{MaxResult: 1 << 20}, plainTool, raw)
		if got := call(t, v, "crm_get", `{}`); len(got.text()) != 300_003 || len(got.Content) != 1 {
			t.Errorf("%d bytes", len(got.text()))
		}
		v = ruled(t, shaping.Rules{MaxBytes: 1 << 10}, aggregate.Options{}, plainTool, raw)
		texts, _ := readAll(t, v, call(t, v, "crm_get", `{}`))
		if all := strings.Join(texts, ""); len(all) != 300_003 || !strings.HasSuffix(all, ",0,1]") {
			t.Errorf("%d bytes", len(all))
		}
	})
}
