package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

var handleIn = regexp.MustCompile(`"handle":"([A-Z2-7]+)"`)

// big runs one upstream "crm" whose tools answer with raw, behind a limit, our
// own tools included.
func big(t *testing.T, limit int, definition, raw string) *aggregate.View {
	t.Helper()
	f := newFake(t, "crm")
	f.tools = append(f.tools, parse(t, "crm", definition))
	f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
		return upstream.ParseResult([]byte(raw))
	}
	a, err := aggregate.New([]aggregate.Member{member(f)}, aggregate.Options{MaxResult: limit})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	names(t, v)
	return v
}

const plainTool = `{"name":"get","inputSchema":{"type":"object"}}`

// readAll follows the notices of a truncated answer to the end and returns the
// items in between.
func readAll(t interface{ Fatalf(string, ...any) }, v *aggregate.View, first answer) (texts []string, others int) {
	take := func(a answer) string {
		for _, item := range a.Content[:len(a.Content)-1] {
			if item.Type == "text" {
				texts = append(texts, item.Text)
			} else {
				others++
			}
		}
		return a.Content[len(a.Content)-1].Text
	}
	note := take(first)
	handle := handleIn.FindStringSubmatch(note)
	if handle == nil {
		t.Fatalf("no handle in %q", note)
	}
	for page := 1; ; page++ {
		params := fmt.Sprintf(`{"name":"bulkhead_read_more","arguments":{"handle":%q,"page":%d}}`, handle[1], page)
		raw, err := v.CallTool(context.Background(), &aggregate.Request{Principal: upstream.Local(), Params: []byte(params)})
		if err != nil {
			t.Fatalf("%v", err)
		}
		var a answer
		if err := json.Unmarshal(raw, &a); err != nil || a.IsError {
			t.Fatalf("page %d: %v %s", page, err, a.text())
		}
		if note := take(a); strings.HasSuffix(note, "this is the end]") {
			return texts, others
		}
	}
}

func TestALongAnswerIsReadToTheLastByte(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(rt, "items")
		var items []any
		want, images := "", 0
		for range n {
			if rapid.IntRange(0, 4).Draw(rt, "kind") == 0 {
				items = append(items, map[string]any{"type": "image", "data": strings.Repeat("A", rapid.IntRange(1, 3000).Draw(rt, "size"))})
				images++
				continue
			}
			text := strings.Repeat(rapid.StringN(1, 40, -1).Draw(rt, "text"), rapid.IntRange(1, 200).Draw(rt, "times"))
			want += text
			items = append(items, map[string]any{"type": "text", "text": text})
		}
		raw, err := json.Marshal(map[string]any{"content": items})
		if err != nil {
			rt.Fatal(err)
		}
		v := big(t, 2000, plainTool, string(raw))
		first := call(t, v, "crm_get", `{}`)
		if !strings.Contains(first.Content[len(first.Content)-1].Text, "[truncated: ") {
			if len(raw) > 2100 {
				rt.Fatalf("%d bytes passed", len(raw))
			}
			if len(first.Content) != len(items) {
				rt.Fatalf("a short answer was changed")
			}
			return
		}
		texts, others := readAll(rt, v, first)
		if strings.Join(texts, "") != want || others != images {
			rt.Fatalf("read %d bytes and %d images, want %d and %d", len(strings.Join(texts, "")), others, len(want), images)
		}
	})
}

func TestALongAnswerIsCutWithANotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := big(t, 1000, plainTool, `{"content":[{"type":"text","text":"`+strings.Repeat("é", 5000)+`"}],"_meta":{"k":1}}`)
		got := call(t, v, "crm_get", `{}`)
		if got.IsError || string(got.Meta["k"]) != "1" || len(got.Content) != 2 {
			t.Fatalf("%+v", got)
		}
		want := `[truncated: crm: The call succeeded, but its result of 10055 bytes is longer than one answer may be. For the rest call bulkhead_read_more with {"handle":"`
		if note := got.Content[1].Text; !strings.HasPrefix(note, want) {
			t.Error(note)
		}
		if s := got.text(); strings.Trim(s, "é") != "" || len(s) > 1000 || len(s) < 900 {
			t.Errorf("cut inside a character or too long: %d bytes", len(s))
		}
		handle := handleIn.FindStringSubmatch(got.Content[1].Text)[1]
		stranger := &aggregate.Request{Principal: upstream.NewPrincipal("https://issuer.example", "mallory")}
		if a := callAs(t, v, stranger, "bulkhead_read_more", `{"handle":"`+handle+`"}`); !strings.HasPrefix(a.text(), "not_found: ") {
			t.Errorf("somebody else read the rest: %s", a.text())
		}
		if a := call(t, v, "bulkhead_read_more", `{"handle":"`+handle+`","page":99}`); !strings.HasPrefix(a.text(), "invalid_arguments: ") {
			t.Error(a.text())
		}
		time.Sleep(16 * time.Minute)
		if a := call(t, v, "bulkhead_read_more", `{"handle":"`+handle+`"}`); !strings.HasPrefix(a.text(), "not_found: ") {
			t.Errorf("the rest did not expire: %s", a.text())
		}
	})
}

func TestLongStructuredContentBecomesText(t *testing.T) {
	structured := `{"rows":"` + strings.Repeat("x", 3000) + `"}`
	for _, withSchema := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			def := plainTool
			if withSchema {
				def = `{"name":"get","inputSchema":{"type":"object"},"outputSchema":{"type":"object"}}`
			}
			quoted, _ := json.Marshal(structured)
			v := big(t, 1000, def, `{"content":[{"type":"text","text":`+string(quoted)+`}],"structuredContent":`+structured+`}`)
			first := call(t, v, "crm_get", `{}`)
			if first.Structured != nil || first.IsError != withSchema {
				t.Errorf("structured %.20s, isError %v", first.Structured, first.IsError)
			}
			texts, _ := readAll(t, v, first)
			if strings.Join(texts, "") != structured {
				t.Errorf("read %d bytes, want %d: said once, not twice", len(strings.Join(texts, "")), len(structured))
			}
			v = big(t, 1000, def, `{"content":[],"structuredContent":`+structured+`}`)
			texts, _ = readAll(t, v, call(t, v, "crm_get", `{}`))
			if strings.Join(texts, "") != structured {
				t.Errorf("read %d bytes, want %d", len(strings.Join(texts, "")), len(structured))
			}
		})
	}
}

func TestOtherLongMembersAreCutToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := big(t, 1000, plainTool, `{"content":[],"x":"`+strings.Repeat("y", 3000)+`"}`)
		first := call(t, v, "crm_get", `{}`)
		texts, _ := readAll(t, v, first)
		if got := strings.Join(texts, ""); got != `{"x":"`+strings.Repeat("y", 3000)+`"}` {
			t.Errorf("read %.60s", got)
		}
	})
}

func TestSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := newFake(t, "tickets", "open")
		down.state = upstream.Down
		slow := newFake(t, "slow")
		slow.hang = true
		crm := newFake(t, "crm", "get", "put")
		crm.call = failing(upstream.Error{Kind: upstream.Timeout})
		a, err := aggregate.New([]aggregate.Member{member(crm), member(down), member(slow)}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		call(t, v, "crm_get", `{}`)
		got := call(t, v, "bulkhead_sources", `{}`)
		if got.text() != string(got.Structured) {
			t.Errorf("text and structured content differ: %s, %s", got.text(), got.Structured)
		}
		var st aggregate.Status
		if err := json.Unmarshal(got.Structured, &st); err != nil {
			t.Fatal(err)
		}
		if len(st.Sources) != 3 || st.Sources[0].Name != "crm" || st.Sources[0].State != "up" || st.Sources[0].Tools != 2 ||
			st.Sources[2].Name != "tickets" || st.Sources[2].State != "down" || st.Sources[2].Tools != 0 {
			t.Errorf("%+v", st)
		}
		if f := st.Sources[0].LastFailure; f == nil || f.Tool != "get" || !strings.HasPrefix(f.Text, "timeout: crm: ") {
			t.Errorf("last failure %+v", f)
		}
		if got := call(t, v, "bulkhead_sources", `{"source":"tickets"}`).text(); strings.Contains(got, "crm") || !strings.Contains(got, "tickets") {
			t.Error(got)
		}
		for arguments, want := range map[string]string{
			`{"source":"x"}`: `not_found: there is no source "x"`,
			`{"sauce":"x"}`:  "invalid_arguments: arguments: additional properties 'sauce' not allowed",
			`{"source":1}`:   "invalid_arguments: source: got number, want string",
		} {
			if got := call(t, v, "bulkhead_sources", arguments).text(); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s", arguments, got)
			}
		}
		said := v.Instructions()
		if !strings.Contains(said, "Sources: crm, slow.") || !strings.Contains(said, "Not answering at the moment: tickets.") {
			t.Error(said)
		}
	})
}

func TestInstructionsStayShort(t *testing.T) {
	var members []aggregate.Member
	for i := range 300 {
		members = append(members, member(newFake(t, upstream.ID(fmt.Sprintf("source_number_%03d", i)), "x")))
	}
	a, err := aggregate.New(members, aggregate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := a.View("")
	if s := v.Instructions(); len(s) > 2000 || !strings.Contains(s, " more.") || !strings.Contains(s, "bulkhead_sources tells") {
		t.Errorf("%d bytes: %s", len(s), s)
	}
}

func TestALongEmbeddedResourceIsReadAsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Repeat("lorem ", 2000)
		v := big(t, 1000, plainTool, `{"content":[{"type":"resource","resource":{"uri":"file:///notes.txt","text":"`+text+`"}},`+
			`{"type":"text","no":"`+strings.Repeat("x", 2000)+`"}]}`)
		first := call(t, v, "crm_get", `{}`)
		for _, item := range first.Content {
			if len(item.Text) > 1000 {
				t.Errorf("an item of %d bytes", len(item.Text))
			}
		}
		texts, _ := readAll(t, v, first)
		if got := strings.Join(texts, ""); got != "[resource file:///notes.txt]"+text {
			t.Errorf("read %d bytes: %.60s", len(got), got)
		}
	})
}

func TestIndentedStructuredContentIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		indented := "{\n  \"rows\": \"" + strings.Repeat("x", 3000) + "\"\n}"
		quoted, _ := json.Marshal(indented)
		v := big(t, 1000, plainTool, `{"content":[{"type":"text","text":`+string(quoted)+`}],"structuredContent":{"rows":"`+strings.Repeat("x", 3000)+`"}}`)
		texts, _ := readAll(t, v, call(t, v, "crm_get", `{}`))
		if got := strings.Join(texts, ""); got != indented {
			t.Errorf("read %d bytes, want %d", len(got), len(indented))
		}
	})
}

func TestWhiteSpaceDoesNotPassTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := big(t, 1000, plainTool, `{"content":[{"type":"text","text":"hello"}],`+strings.Repeat(" ", 5000)+`"_meta":{"k":1}}`)
		raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"crm_get"}`)})
		if want := `{"content":[{"type":"text","text":"hello"}],"_meta":{"k":1}}`; err != nil || string(raw) != want {
			t.Errorf("%v, %d bytes: %.100s", err, len(raw), raw)
		}
	})
}

// odd is a fake that holds many tools back.
type odd struct{ *fake }

func (odd) Held() []upstream.Held {
	held := make([]upstream.Held, 10_000)
	for i := range held {
		held[i] = upstream.Held{Tool: fmt.Sprint("t", i), Reason: "name is missing"}
	}
	return held
}

func TestSourcesStaysShortAndQuotesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm", "get")
		f.call = failing(upstream.Error{Kind: upstream.UpstreamError, RPC: &upstream.RPCError{Code: 7, Message: "canary: of another caller"}})
		a, err := aggregate.New([]aggregate.Member{{ID: "crm", Adapter: odd{f}, Prefix: "crm"}}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		if got := call(t, v, "crm_get", `{}`).text(); !strings.Contains(got, "canary") {
			t.Error(got)
		}
		got := call(t, v, "bulkhead_sources", `{}`)
		if len(got.Structured) > 5000 || strings.Contains(got.text(), "canary") || !strings.Contains(got.text(), `"heldBackMore":9980`) {
			t.Errorf("%d bytes: %.300s", len(got.Structured), got.text())
		}
	})
}
