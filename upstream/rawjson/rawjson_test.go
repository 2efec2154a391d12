package rawjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheckSaysWhatAndWhere(t *testing.T) {
	tests := []struct {
		name, text, reason string
		offset             int
	}{
		{"empty", ``, "unexpected end", 0},
		{"two values", `{} {}`, "after the value", 3},
		{"duplicate", `{"a":1,"b":2,"a":3}`, `"a" is named twice`, 13},
		{"duplicate by escape", `{"name":1,"\u006eame":2}`, "named twice", 10},
		{"duplicate deep inside", `{"x":[{"k":1,"k":2}]}`, "named twice", 13},
		{"control character", "\"a\nb\"", "control character", 2},
		{"bad escape", `"\x"`, "invalid escape", 1},
		{"short unicode escape", `"\u12"`, "invalid escape", 1},
		{"leading zero", `01`, "after the value", 1},
		{"lone minus", `-`, "invalid number", 1},
		{"fraction without digits", `1.`, "invalid number", 2},
		{"exponent without digits", `1e+`, "invalid number", 3},
		{"trailing comma", `{"a":1,}`, "expected a member name", 7},
		{"unquoted name", `{a:1}`, "expected a member name", 1},
		{"missing colon", `{"a" 1}`, "expected ':'", 5},
		{"array without comma", `[1 2]`, "expected ',' or ']'", 3},
		{"literal cut short", `tru`, "unexpected character", 0},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "invalid UTF-8", 6},
		{"too deep", strings.Repeat("[", 200) + strings.Repeat("]", 200), "too deeply", 128},
		{"unfinished string", `"abc`, "unexpected end", 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var syntax *rawjson.SyntaxError
			if err := rawjson.Check([]byte(tt.text), rawjson.Limits{}); !errors.As(err, &syntax) {
				t.Fatalf("Check = %v, want a SyntaxError", err)
			}
			if !strings.Contains(syntax.Reason, tt.reason) || syntax.Offset != tt.offset {
				t.Errorf("Check = %q at %d, want %q at %d", syntax.Reason, syntax.Offset, tt.reason, tt.offset)
			}
		})
	}
}

// Strings are looked at several bytes at a time, so each offset counts.
func TestCheckAtEachOffset(t *testing.T) {
	for n := range 20 {
		pad := strings.Repeat("x", n)
		for tail, reason := range map[string]string{
			`\"`: "", `\\\"`: "", `\u00e9`: "", `\n\n\t`: "", `\"#\"`: "", `\\]\"`: "", `\\\\\\\"\"`: "",
			`\"\]`: "invalid escape", `\"\\\#`: "invalid escape", "\\\"\x01": "control character", `\"\u00g0`: "invalid escape",
			`\x`: "invalid escape", `\u00g0`: "invalid escape", "\x1f": "control character", "\n": "control character",
		} {
			text := `{"` + pad + tail + `":"` + pad + tail + `"}`
			err := rawjson.Check([]byte(text), rawjson.Limits{})
			if reason == "" {
				v, ok := rawjson.Get([]byte(text), rawjson.String([]byte(`"`+pad+tail+`"`)))
				if err != nil || !ok || string(v) != `"`+pad+tail+`"` {
					t.Errorf("%q: %v; %s", text, err, v)
				}
				continue
			}
			var syntax *rawjson.SyntaxError
			if !errors.As(err, &syntax) || !strings.HasPrefix(syntax.Reason, reason) || syntax.Offset != 2+n+strings.LastIndexAny(tail, "\\\x01\x1f\n") {
				t.Errorf("%q: %v", text, err)
			}
		}
		if err := rawjson.Check([]byte(`"`+pad+`\`), rawjson.Limits{}); err == nil {
			t.Errorf("a backslash after %d bytes ended the text", n)
		}
	}
}

func TestCheckFindsDuplicatesInLargeObjects(t *testing.T) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range 100 {
		b.WriteString(`"k` + string(rune('a'+i%26)) + strings.Repeat("x", i) + `":1,`)
	}
	good := b.String() + `"last":1}`
	bad := b.String() + `"ka":1}`
	if err := rawjson.Check([]byte(good), rawjson.Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := rawjson.Check([]byte(bad), rawjson.Limits{}); err == nil {
		t.Fatal("a repeated member among 100 was accepted")
	}
	if err := rawjson.Check([]byte(bad), rawjson.Limits{AllowDups: true}); err != nil {
		t.Fatalf("AllowDups: %v", err)
	}
}

func TestSetLeavesEveryOtherByteAlone(t *testing.T) {
	tests := []struct{ obj, name, value, want string }{
		{`{"name":"a","n":1e400}`, "name", `"b"`, `{"name":"b","n":1e400}`},
		{`{ "x" : 12345678901234567890 , "name" : "a" }`, "name", `"b"`, `{ "x" : 12345678901234567890 , "name" : "b" }`},
		{`{}`, "k", `1`, `{"k":1}`},
		{` { } `, "k", `1`, ` { "k":1} `},
		{`{"a":{"k":0}}`, "k", `1`, `{"a":{"k":0},"k":1}`},
		{`{"a":"}"}`, "k", `1`, `{"a":"}","k":1}`},
	}
	for _, tt := range tests {
		got, err := rawjson.Set([]byte(tt.obj), tt.name, []byte(tt.value))
		if err != nil || string(got) != tt.want {
			t.Errorf("Set(%s, %s) = %s, %v; want %s", tt.obj, tt.name, got, err, tt.want)
		}
	}
	if got, err := rawjson.Add([]byte(` { "a" : 1 } `), "k", []byte("2")); err != nil || string(got) != ` { "a" : 1 ,"k":2} ` {
		t.Errorf("Add = %s, %v", got, err)
	}
	if _, err := rawjson.Set([]byte(`[1]`), "k", []byte("1")); !errors.Is(err, rawjson.ErrNotObject) {
		t.Errorf("Set on an array = %v, want ErrNotObject", err)
	}
}

func TestDelete(t *testing.T) {
	tests := []struct{ obj, want string }{
		{`{"a":1,"b":2,"c":3}`, `{"b":2}`},
		{`{"a":1}`, `{}`},
		{`{"a":1,"c":2}`, `{}`},
		{`{"b":1, "a":2}`, `{"b":1}`},
		{` { "a" : 1 , "b" : 2 } `, ` { "b" : 2 } `},
		{`{"b":1}`, `{"b":1}`},
		{`{"b":{"a":1}}`, `{"b":{"a":1}}`},
		{`{"b":1,"a":2,"c":3}`, `{"b":1}`},
		{`{"a":1,"b":2,"c":3,"d":4}`, `{"b":2,"d":4}`},
	}
	for _, tt := range tests {
		if got := rawjson.Delete([]byte(tt.obj), "a", "c"); string(got) != tt.want {
			t.Errorf("Delete(%s) = %s, want %s", tt.obj, got, tt.want)
		}
	}
}

// jsonValue draws any JSON value as text, with spaces where they may be.
func jsonValue(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		space := rapid.SampledFrom([]string{"", "", " ", "\n\t "}).Draw(t, "space")
		kind := rapid.IntRange(0, 6).Draw(t, "kind")
		if depth == 0 && kind > 4 {
			kind = 0
		}
		switch kind {
		case 0:
			return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "literal") + space
		case 1:
			return rapid.SampledFrom([]string{"0", "-1.5e+10", "1E400", "123456789012345678901"}).Draw(t, "number") + space
		case 2, 3, 4:
			s, _ := json.Marshal(rapid.String().Draw(t, "string"))
			return string(s) + space
		case 5:
			items := rapid.SliceOfN(jsonValue(depth-1), 0, 4).Draw(t, "items")
			return "[" + space + strings.Join(items, ","+space) + "]"
		}
		names := rapid.SliceOfNDistinct(rapid.StringN(0, 8, -1), 0, 5, rapid.ID).Draw(t, "names")
		var members []string
		for _, n := range names {
			q, _ := json.Marshal(n)
			members = append(members, string(q)+space+":"+space+jsonValue(depth-1).Draw(t, "value"))
		}
		return "{" + space + strings.Join(members, ",") + space + "}"
	})
}

func TestEditsAgreeWithDecoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(jsonValue(3).Draw(t, "text"))
		if err := rawjson.Check(text, rawjson.Limits{}); err != nil {
			t.Fatalf("Check(%s): %v", text, err)
		}
		checkIndex(t, text)
		var want map[string]json.RawMessage
		if rawjson.Kind(text) != '{' {
			return
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]json.RawMessage{}
		var names []string
		for m := range rawjson.Members(text) {
			got[m.Name] = m.Value
			names = append(names, m.Name)
		}
		at, r := 0, rawjson.NewReader(text)
		for quoted := range r.Descend() {
			if v := r.Skip(); rawjson.String(quoted) != names[at] || string(v) != string(got[names[at]]) {
				t.Fatalf("Descend(%s): %s is %s", text, quoted, v)
			}
			at++
		}
		if at != len(names) || r.End() != nil {
			t.Fatalf("Descend(%s) = %d of %d members, to %d: %v", text, at, len(names), r.Pos(), r.End())
		}
		at = 0
		for quoted, v := range rawjson.Fields(text) {
			if at == len(names) || rawjson.String(quoted) != names[at] || string(v) != string(got[names[at]]) {
				t.Fatalf("Fields(%s): %s is %s", text, quoted, v)
			}
			at++
		}
		if at != len(names) {
			t.Fatalf("Fields(%s) = %d of %d members", text, at, len(names))
		}
		if len(got) != len(want) {
			t.Fatalf("Members(%s) = %d members, want %d", text, len(got), len(want))
		}
		for k, v := range want {
			if !sameJSON(got[k], v) {
				t.Fatalf("member %q = %s, want %s", k, got[k], v)
			}
		}
		for _, n := range append(names, "absent") {
			set, err := rawjson.Set(text, n, []byte(`{"new":1}`))
			if err != nil || rawjson.Check(set, rawjson.Limits{}) != nil {
				t.Fatalf("Set(%s, %q) = %s, %v", text, n, set, err)
			}
			if v, ok := rawjson.Get(set, n); !ok || string(v) != `{"new":1}` {
				t.Fatalf("Get after Set(%q) = %s, %v", n, v, ok)
			}
			del := rawjson.Delete(text, n)
			if _, ok := rawjson.Get(del, n); ok || rawjson.Check(del, rawjson.Limits{}) != nil {
				t.Fatalf("Delete(%s, %q) = %s", text, n, del)
			}
		}
		if !sameJSON(rawjson.OneLine(text), text) || bytes.ContainsAny(rawjson.OneLine(text), "\r\n") {
			t.Fatalf("OneLine(%q) = %q", text, rawjson.OneLine(text))
		}
	})
}

// checkIndex holds that Index finds what Members does.
func checkIndex(t *rapid.T, text []byte) {
	all := slices.Collect(rawjson.Members(text))
	within := "absent"
	if len(all) > 0 {
		within = rapid.SampledFrom(all).Draw(t, "within").Name
	}
	outer, inner, err := rawjson.Index(text, rawjson.Limits{}, within)
	value, _ := rawjson.Get(text, within)
	if err != nil || !slices.EqualFunc(outer, all, sameMember) ||
		!slices.EqualFunc(inner, slices.Collect(rawjson.Members(value)), sameMember) {
		t.Fatalf("Index(%s, %q) = %v, %v, %v", text, within, outer, inner, err)
	}
}

func sameMember(a, b rawjson.Member) bool {
	return a.Name == b.Name && string(a.Value) == string(b.Value) && a.Start == b.Start && a.End == b.End
}

func TestIndexIsBounded(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`"a%":1,`, 100), ",")
	for i := range 100 {
		many = strings.Replace(many, "%", strings.Repeat("x", i), 1)
	}
	outer, inner, err := rawjson.Index([]byte(`{"result":{`+many+`},"id":1}`), rawjson.Limits{}, "result")
	if err != nil || len(outer) != 2 || inner != nil {
		t.Errorf("%d outer, %d inner, %v", len(outer), len(inner), err)
	}
	if outer, _, err := rawjson.Index([]byte(`{`+many+`}`), rawjson.Limits{}, "result"); err != nil || outer != nil {
		t.Errorf("%d outer, %v", len(outer), err)
	}
	if _, _, err := rawjson.Index([]byte(`{"a":1,"a":2}`), rawjson.Limits{}, "a"); err == nil {
		t.Error("a repeated member was accepted")
	}
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && x.String() == y.String()
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":null}]}`, `"\ud800"`, `{"a":1,"a":2}`, `[1,`, "\x00", `-0.0e-0`, `{"\u0061":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := rawjson.Check(b, rawjson.Limits{Depth: 1000, AllowDups: true})
		if want := json.Valid(b) && utf8.Valid(b); (err == nil) != want && !bytes.Contains(b, bytes.Repeat([]byte("["), 900)) {
			t.Fatalf("Check(%q) = %v, json.Valid = %v", b, err, want)
		}
		if _, _, indexed := rawjson.Index(b, rawjson.Limits{Depth: 1000, AllowDups: true}, "a"); (indexed == nil) != (err == nil) {
			t.Fatalf("Index(%q) = %v, Check = %v", b, indexed, err)
		}
		// Nothing may panic, checked or not.
		members := slices.Collect(rawjson.Members(b))
		for range rawjson.Fields(b) {
			members = append(members, rawjson.Member{})
		}
		members = members[:len(members)/2]
		for range rawjson.Elements(b) {
			members = append(members, rawjson.Member{})
		}
		checkReader(t, b)
		if len(members) > len(b) {
			t.Fatalf("%d members in %d bytes", len(members), len(b))
		}
		_, _ = rawjson.Set(b, "k", []byte("1"))
		_ = rawjson.Delete(b, "k", "a")
	})
}

func TestUnescape(t *testing.T) {
	for token, want := range map[string]string{"": "", "a b": "a b", "~1": "/", "~0": "~", "~01": "~1", "~10~00": "/0~0"} {
		if name, ok := rawjson.Unescape(token); !ok || name != want {
			t.Errorf("%q: %q %v", token, name, ok)
		}
	}
	for _, token := range []string{"~", "a~", "~2", "~~0", "~0~", "~ 1"} {
		if name, ok := rawjson.Unescape(token); ok {
			t.Errorf("%q: %q", token, name)
		}
	}
}

func TestMarshal(t *testing.T) {
	got, err := rawjson.Marshal(map[string]any{"<a>": "b&c\u2028", "n": json.RawMessage(`12345678901234567890`)})
	if want := `{"<a>":"b&c\u2028","n":12345678901234567890}`; string(got) != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := rawjson.Marshal(func() {}); got != nil || err == nil {
		t.Errorf("what is no JSON is %s", got)
	}
	for _, s := range []string{"", "plain", "<a&b>", "\"\\\n\x00\u00e9"} {
		if v := rawjson.Quote(s); rawjson.String(v) != s || bytes.ContainsAny(v, "\n") {
			t.Errorf("%q is quoted %s", s, v)
		}
	}
}
