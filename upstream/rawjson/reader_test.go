package rawjson_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// descend walks through all of the value before r, or through every other part of it.
func descend(r *rawjson.Reader, some bool) {
	if k := r.Kind(); k != '{' && k != '[' {
		r.Skip()
		return
	}
	skip := false
	for range r.Descend() {
		if skip = !skip && some; skip {
			r.Skip()
		} else {
			descend(r, some)
		}
	}
}

// checkReader holds that a reader refuses what Check does, for the same reason.
func checkReader(t *testing.T, b []byte) {
	t.Helper()
	want := rawjson.Check(b, rawjson.Limits{AllowDups: true})
	all, some, none := rawjson.NewReader(b), rawjson.NewReader(b), rawjson.NewReader(b)
	descend(&all, false)
	descend(&some, true)
	none.Skip()
	for _, r := range []*rawjson.Reader{&all, &some, &none} {
		if err := r.End(); (err == nil) != (want == nil) || err != nil && err.Error() != want.Error() {
			t.Errorf("reading %q: %v, Check: %v", b, err, want)
		}
		if len(bytes.TrimSpace(b[r.Pos():])) != 0 && want == nil {
			t.Errorf("reading %q ends at %d", b, r.Pos())
		}
	}
}

func TestReaderChecks(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	for _, s := range []string{
		"", " ", "{", "[", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{a:1}`, `{"a" 1}`, `{"a":}`, `{"a":1 "b":2}`, `{"a":1]`, `[1}`, `[1 2]`, `[1,]`, `[,]`, `[1`, `[1,`,
		`{} x`, `[]]`, `1 2`, `01`, `[01]`, `{"a":tru}`, `[{"a":"\x"}]`, "[{\"a\":\"\x01\"}]", "[{\"a\":\"\xff\"}]", `{"\u00zz":1}`, `{"a":1,"a":[2]}`, deep(128), deep(129), `{"a":` + deep(127) + `}`, `{"a":` + deep(128) + `}`,
	} {
		checkReader(t, []byte(s))
		checkReader(t, []byte(" \n"+s+"\r\t"))
	}
}

// TestReaderIsReadToItsEnd holds that what was not looked at is never said to hold.
func TestReaderIsReadToItsEnd(t *testing.T) {
	left := rawjson.NewReader([]byte(`{"a":1,"b":2}`))
	for range left.Descend() {
		left.Skip()
		break
	}
	behind, none, twice := rawjson.NewReader([]byte(`[1]`)), rawjson.NewReader([]byte(`[1]`)), rawjson.NewReader([]byte(`[1,2]`))
	for range none.Descend() {
		continue
	}
	for range twice.Descend() {
		twice.Skip()
		twice.Skip()
	}
	for what, r := range map[string]*rawjson.Reader{"that was left": &left, "that was not begun": &behind, "whose element was not read": &none, "whose element was read twice": &twice} {
		if r.End() == nil {
			t.Errorf("a text %s holds", what)
		}
		if v := r.Skip(); what != "that was not begun" && (v != nil || r.Kind() != 0) {
			t.Errorf("a text %s goes on with %s", what, v)
		}
	}
}
