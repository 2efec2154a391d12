package shaping_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// shape applies rules and returns the value with n rows, all of them for -1.
func shape(t testing.TB, r shaping.Rules, v string, n int) (string, *shaping.Shaped) {
	t.Helper()
	s, err := shaping.New(r)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Shape(t.Context(), json.RawMessage(v))
	if err != nil {
		t.Fatal(err)
	}
	if n < 0 {
		n = len(out.Rows)
	}
	return string(out.Value(n)), out
}

func TestWhereTheRecordsAre(t *testing.T) {
	tests := []struct {
		name, value string
		at          *string
		rows        int // -1 is no list
		want        string
	}{
		{"a list", `[{"id":1,"x":2},{"x":3}]`, nil, 2, `[{"id":1},{}]`},
		{"the only list", `{"total":7,"items":[{"id":1,"x":2}],"next":"c"}`, nil, 1, `{"total":7,"items":[{"id":1}],"next":"c"}`},
		{"no list", `{"id":1,"x":2}`, nil, -1, `{"id":1}`},
		{"two lists", `{"id":1,"a":[{"x":1}],"b":[]}`, nil, -1, `{"id":1}`},
		{"an empty list", `{"items":[],"x":1}`, nil, 0, `{"items":[],"x":1}`},
		{"pointed to", `{"data":{"a/b":[{"id":1,"x":2}],"c":[1]},"x":0}`, new("/data/a~1b"), 1, `{"data":{"a/b":[{"id":1}],"c":[1]},"x":0}`},
		{"the whole", `{"id":1,"tags":[{"id":2}]}`, new(""), -1, `{"id":1}`},
		{"one record", `{"data":{"id":1,"x":2},"x":0}`, new("/data"), -1, `{"data":{"id":1},"x":0}`},
		{"a name that is empty", `{"":[{"x":1}]}`, new("/"), 1, `{"":[{}]}`},
		{"rows that are lists", `[[1,{"x":1}],[]]`, nil, 2, `[[1,{}],[]]`},
		{"not there", `{"message":"none","x":1}`, new("/items"), -1, `{"message":"none","x":1}`},
		{"no list there", `{"items":"none","x":1}`, new("/items"), -1, `{"items":"none","x":1}`},
		{"no object on the way", `{"items":[{"x":1}]}`, new("/items/0"), -1, `{"items":[{"x":1}]}`},
		{"a text", `"abc"`, nil, -1, `"abc"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, out := shape(t, shaping.Rules{Fields: []string{"id"}, RowsAt: tt.at}, tt.value, -1)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if rows := len(out.Rows); out.IsList != (tt.rows >= 0) || out.IsList && rows != tt.rows {
				t.Errorf("a list: %v, of %d", out.IsList, rows)
			}
			if lost := strings.HasPrefix(tt.name, "no") && tt.at != nil; lost != (out.Lost != "") {
				t.Errorf("Lost = %q", out.Lost)
			}
		})
	}
}

func TestFields(t *testing.T) {
	const record = `{ "b" : 1e400, "owner" : {"email":"a@example.com", "phone":"\u00e9", "teams":[{"id":9007199254740993,"x":0},{"id":2,"x":1}]}, "e.f":{"g":1,"h":2}, "n\u0061me":"x y" , "z":null}`
	tests := []struct {
		fields  []string
		want    string
		kept    int
		missing []string
	}{
		{[]string{"name", "b"}, `{"b":1e400,"n\u0061me":"x y"}`, 2, nil},
		{[]string{"owner.email", "nosuch"}, `{"owner":{"email":"a@example.com"}}`, 1, []string{"nosuch"}},
		{[]string{"owner.teams.id"}, `{"owner":{"teams":[{"id":9007199254740993},{"id":2}]}}`, 1, nil},
		{[]string{"owner.email", "owner"}, `{"owner":{"email":"a@example.com","phone":"\u00e9","teams":[{"id":9007199254740993,"x":0},{"id":2,"x":1}]}}`, 1, []string{"owner.email"}},
		{[]string{"/e.f/h", "b.nothing.below"}, `{"b":1e400,"e.f":{"h":2}}`, 2, []string{"b.nothing.below"}},
		{[]string{"nosuch"}, `{}`, 0, []string{"nosuch"}},
	}
	for _, tt := range tests {
		got, out := shape(t, shaping.Rules{Fields: tt.fields}, `[`+record+`]`, -1)
		if diff := cmp.Diff("["+tt.want+"]", got); diff != "" {
			t.Errorf("%q: %s", tt.fields, diff)
		}
		if diff := cmp.Diff(tt.missing, out.Missing); diff != "" || out.Kept != tt.kept || out.Fields < 5 {
			t.Errorf("%q: %d of %d fields, missing %s", tt.fields, out.Kept, out.Fields, diff)
		}
	}
	all := []string{"b", "owner", "/e.f", "name", "z"}
	if got, out := shape(t, shaping.Rules{Fields: all}, record, -1); got != record || out.Changed || out.Fields != 0 {
		t.Errorf("nothing was to be left out, got %s", got)
	}
}

func TestFaultyRules(t *testing.T) {
	for want, r := range map[string]shaping.Rules{
		"fields[1]: a name in it is empty":                                     {Fields: []string{"a", "a..b"}},
		"fields[0]: a name in it is empty":                                     {Fields: []string{""}},
		`fields[0]: "/a~b" is no JSON pointer: ~ stands before 0 or 1 only`:    {Fields: []string{"/a~b"}},
		`rows_at: "items" is no JSON pointer: it begins with "/", or is empty`: {RowsAt: new("items")},
		`rows_at: "/~" is no JSON pointer: ~ stands before 0 or 1 only`:        {RowsAt: new("/~")},
		"jq: is no jq program: unexpected EOF":                                 {JQ: ".a |"},
		"jq: is no jq program: function not defined: nosuch/0":                 {JQ: "nosuch"},
		"jq: is no jq program: function not defined: debug/0":                  {JQ: "debug"},
		"jq: is no jq program: variable not defined: $x":                       {JQ: "$x"},
		`jq: is no jq program: cannot load module: "a"`:                        {JQ: `import "a" as a; .`},
		`jq: is no jq program: cannot load module: "b"`:                        {JQ: `include "b"; .`},
		"jq: uses env: the environment is not handed over":                     {JQ: `[.[] | "\(env.HOME)"]`},
		"jq: uses $ENV: the environment is not handed over":                    {JQ: `{a: ($ENV | keys)}`},
		"jq: uses $ENV: ": {JQ: `{$ENV}`},
		"jq: uses input: there is one value only, which is .": {JQ: `[., input]`},
		"jq: uses inputs: ":                       {JQ: `reduce inputs as $i (0; . + 1)`},
		"jq: uses halt: it cannot end the server": {JQ: `if . then halt else . end`},
		"jq: is longer than 16384 bytes":          {JQ: strings.Repeat(" ", 20_000)},
	} {
		if _, err := shaping.New(r); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// drawn is a JSON value with the names and forms that trip up editors of text.
func drawn(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		space := rapid.SampledFrom([]string{"", "", " ", "\n\t"}).Draw(t, "space")
		kinds := 6
		if depth == 0 {
			kinds = 4
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return rapid.SampledFrom([]string{"1", "-0", "1e400", "9007199254740993", "0.10000000000000000000001", "1.50"}).Draw(t, "number")
		case 1:
			return rapid.SampledFrom([]string{`"a"`, `" ,]}{[ "`, `"\"\\"`, `"\u00e9"`, `"é  b"`, `""`}).Draw(t, "text")
		case 2, 3:
			return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "word")
		case 4:
			var parts []string
			for range rapid.IntRange(0, 4).Draw(t, "n") {
				parts = append(parts, space+drawn(depth-1).Draw(t, "element")+space)
			}
			return "[" + strings.Join(parts, ",") + "]"
		}
		var parts []string
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{`"a"`, `"b"`, `"c.d"`, `"\u0065"`, `"\""`, `""`}), 0, 4, rapid.ID[string]).Draw(t, "names")
		for _, name := range names {
			parts = append(parts, space+name+space+":"+drawn(depth-1).Draw(t, "value"))
		}
		return "{" + strings.Join(parts, ",") + space + "}"
	})
}

func decode(t interface{ Fatalf(string, ...any) }, v string) any {
	d := json.NewDecoder(strings.NewReader(v))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		t.Fatalf("%v in %s", err, v)
	}
	return out
}

// project is what fields mean, on decoded values.
func project(v any, paths [][]string) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = project(v[i], paths)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			var below [][]string
			whole := false
			for _, p := range paths {
				if p[0] == name {
					whole = whole || len(p) == 1
					below = append(below, p[1:])
				}
			}
			switch {
			case whole:
				out[name] = value
			case below != nil:
				out[name] = project(value, below)
			}
		}
		return out
	}
	return v
}

// Whatever the value and the rules are: what comes out is what the rules mean, is
// never longer than what went in, and is the same text if nothing was left out.
func TestShapesAsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		value := drawn(4).Draw(rt, "value")
		field := rapid.SampledFrom([]string{"a", "b", "a.b", "/c.d", "/c.d/a", "e", `"`, "b.a.e"})
		fields := rapid.SliceOfN(field, 1, 4).Draw(rt, "fields")
		var paths [][]string
		for _, f := range fields {
			p, err := shaping.ParseField(f)
			if err != nil {
				rt.Fatal(err)
			}
			paths = append(paths, p)
		}
		in := decode(rt, value)
		want := in
		if list, ok := in.([]any); ok {
			want = project(list, paths)
		} else if object, ok := in.(map[string]any); ok {
			var lists []string
			for name, v := range object {
				if _, ok := v.([]any); ok {
					lists = append(lists, name)
				}
			}
			if len(lists) == 1 {
				object = decode(rt, value).(map[string]any)
				object[lists[0]] = project(object[lists[0]], paths)
				want = object
			} else {
				want = project(object, paths)
			}
		}
		s, err := shaping.New(shaping.Rules{Fields: fields})
		if err != nil {
			rt.Fatal(err)
		}
		out, err := s.Shape(t.Context(), json.RawMessage(value))
		if err != nil {
			rt.Fatal(err)
		}
		got := out.Value(len(out.Rows))
		if err := rawjson.Check(got, rawjson.Limits{}); err != nil {
			rt.Fatalf("%v in %s", err, got)
		}
		if diff := cmp.Diff(want, decode(rt, string(got))); diff != "" {
			rt.Fatal(diff)
		}
		if same := cmp.Equal(in, want); out.Changed == same || same && string(got) != value || len(got) > len(value) {
			rt.Fatalf("%s became %s, said to be changed: %v", value, got, out.Changed)
		}
		if n := rapid.IntRange(0, len(out.Rows)).Draw(rt, "rows"); out.IsList && n < len(out.Rows) {
			part := out.Value(n)
			if err := rawjson.Check(part, rawjson.Limits{}); err != nil || len(part) > len(got) || bytes.ContainsAny(part, "\n\t") {
				rt.Fatalf("%v in %s", err, part)
			}
			all := append(out.Rows[:n:n], out.Rows[n:]...)
			if !cmp.Equal(decode(rt, string(shaping.List(all))), decode(rt, string(shaping.List(out.Rows)))) {
				rt.Fatal("the rows are not all there")
			}
		}
	})
}

func TestSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawn(3).Draw(rt, "a"), drawn(3).Draw(rt, "b")
		if got, want := shaping.Same([]byte(a), []byte(b)), cmp.Equal(decode(rt, a), decode(rt, b)); got != want {
			rt.Fatalf("%v for %s and %s", got, a, b)
		}
	})
	if !shaping.Same([]byte(`{"a":"\u00e9", "b":[1]}`), []byte(` {"b":[ 1 ],"a":"é"}`)) {
		t.Error("other order and escapes make a difference")
	}
}

func TestTextsThatSayTheSame(t *testing.T) {
	const wrapped = `{"result":[{"id":1},{"id":2}]}`
	for _, tt := range []struct {
		value, text string
		want        bool
	}{
		{wrapped, `{"result": [{"id": 1}, {"id": 2}]}`, true},
		{wrapped, `[{"id":1}, {"i\u0064":2}]`, true},
		{wrapped, `[{"id":1}]`, false},
		{wrapped, `[{"id":1.0},{"id":2}]`, false},
		{wrapped, `{"id":1}`, false},
		{`{"items":[1],"total":1}`, `[1]`, true},
		{`{"items":[1],"total":{"a":1}}`, `{"a":1}`, false},
		{`{"result":{"a":1,"b":2}}`, `{"b":2,"a":1}`, true},
		{`{"result":"{\"a\": 1}"}`, `{"a": 1}`, true},
		{`{"result":""}`, `{}`, false},
		{`[1]`, ` [1] `, true},
		{`[[1]]`, `[1]`, false},
	} {
		if got := shaping.FormsOf([]byte(tt.value)).Has([]byte(tt.text)); got != tt.want {
			t.Errorf("%v for %s and %s", got, tt.value, tt.text)
		}
	}
	rows := []json.RawMessage{[]byte(`{ "id":1 }`), []byte(`{"id":2}`)}
	if !shaping.AreRows(rows, []byte(wrapped)) || shaping.AreRows(rows[:1], []byte(wrapped)) || shaping.AreRows(rows, []byte(`[{"id":1}]`)) ||
		shaping.AreRows(rows[1:], []byte(`{"id":2}`)) || shaping.AreRows(nil, []byte(`[]`)) {
		t.Error("the rows are others")
	}
}

// allocated returns how many bytes f takes from memory altogether.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// However many rows a list has: so many are told apart, and the others counted.
func TestRowsAreBounded(t *testing.T) {
	for _, fields := range [][]string{nil, {"id"}} {
		s, err := shaping.New(shaping.Rules{Fields: fields, MaxRows: 1})
		if err != nil {
			t.Fatal(err)
		}
		small := json.RawMessage(`[` + strings.Repeat(`{},`, 2<<20) + `{"x":1}]`)
		var out *shaping.Shaped
		if n := allocated(func() { out, err = s.Shape(t.Context(), small) }); err != nil || n > 32<<20 || out.Total != 2<<20+1 || len(out.Rows) != 100_000 {
			t.Errorf("%v: %d bytes for %d of %d rows", err, n, len(out.Rows), out.Total)
		}
		if got := string(out.Value(2)); got != `[{},{}]` {
			t.Error(got)
		}
		row := `{"id":"` + strings.Repeat("x", 4<<20) + `"}`
		if out, err = s.Shape(t.Context(), json.RawMessage(`[`+strings.Repeat(row+`,`, 9)+`{}]`)); err != nil || len(out.Rows) != 7 || out.Total != 10 {
			t.Errorf("%v: %d of %d rows", err, len(out.Rows), out.Total)
		}
	}
	s, err := shaping.New(shaping.Rules{Fields: []string{"id"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Shape(t.Context(), json.RawMessage(`{"id":"`+strings.Repeat("x", 32<<20)+`"}`))
	if err == nil || err.Error() != "the answer's record of 33554441 bytes is longer than fields are looked for in, which is 33554432" {
		t.Error(err)
	}
}

// Whatever the text: what is shown of it is JSON, and no longer than it.
func FuzzShape(f *testing.F) {
	for _, v := range []string{`{"items":[{"id":1,"x":" \\\""}],"n":0}`, `[[{"a":{"b":1}}],2]`, ` {"a.b" : {"\u0061":null} } `, `{"a":[],"b":[]}`, `""`} {
		f.Add(v, "a.b", "/items", 1)
	}
	f.Fuzz(func(t *testing.T, value, field, at string, rows int) {
		s, err := shaping.New(shaping.Rules{Fields: []string{field, "id"}, RowsAt: &at})
		if err != nil {
			s, err = shaping.New(shaping.Rules{Fields: []string{"id"}})
		}
		if err != nil || rawjson.Check([]byte(value), rawjson.Limits{}) != nil {
			return
		}
		out, err := s.Shape(t.Context(), json.RawMessage(value))
		if err != nil {
			t.Fatal(err)
		}
		got := out.Value(min(max(rows, 0), len(out.Rows)))
		if err := rawjson.Check(got, rawjson.Limits{}); err != nil || len(got) > len(value) {
			t.Errorf("%v: %q becomes %q", err, value, got)
		}
	})
}

// BenchmarkShape shapes a megabyte of records, beside finding its rows only.
func BenchmarkShape(b *testing.B) {
	var rows []string
	for i := range 2000 {
		rows = append(rows, fmt.Sprintf(`{"id":%d,"name":"customer %d","owner":{"email":"a@example.com","phone":"1"},"notes":"%s"}`, i, i, strings.Repeat("lorem \\\"", 50)))
	}
	value := json.RawMessage(`{"items":[` + strings.Join(rows, ",") + `],"total":2000}`)
	for name, r := range map[string]shaping.Rules{
		"rows":   {},
		"fields": {Fields: []string{"id", "name", "owner.email"}},
		"jq":     {JQ: `.items | map({id, name, email: .owner.email})`},
	} {
		b.Run(name, func(b *testing.B) {
			s, err := shaping.New(r)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				out, err := s.Shape(b.Context(), value)
				if err != nil {
					b.Fatal(err)
				}
				out.Value(min(50, len(out.Rows)))
			}
		})
	}
}
