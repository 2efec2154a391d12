package rest_test

import (
	"io"
	"net/http"
	"testing"
)

// TestFieldsThatMayBeMissing: what is declared so, and what has nothing above it,
// is not gone.
func TestFieldsThatMayBeMissing(t *testing.T) {
	body := ""
	a := open(t, `[action.list_x]
method = "GET"
path = "/"
fields = ["id", "note?", "owner.name", "owner.mail?", "tags.name", "error.code?", "error.text?"]`,
		serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	for _, c := range []struct {
		body, want, gone string
	}{
		{`[{"id":1,"note":"n","x":2,"owner":{"name":"a","mail":"m"},"tags":[{"name":"t"}],"error":{"code":1}}]`,
			`[{"id":1,"note":"n","owner":{"name":"a","mail":"m"},"tags":[{"name":"t"}],"error":{"code":1}}]`, ""},
		{`[{"id":1,"owner":{"name":"a"},"tags":[]}]`, `[{"id":1,"owner":{"name":"a"},"tags":[]}]`, ""},
		{`[{"id":1,"owner":null,"tags":null,"error":null}]`, `[{"id":1,"owner":null,"tags":null,"error":null}]`, ""},
		{`[{"id":1,"owner":{},"tags":[]}]`, `[{"id":1,"owner":{},"tags":[]}]`, "records[].owner.name"},
		{`[{"id":1,"owner":{"name":"a"},"tags":[{}]}]`, `[{"id":1,"owner":{"name":"a"},"tags":[{}]}]`, "records[].tags.name"},
	} {
		body = c.body
		if got := structured(t, a, "list_x", `{}`); got != `{"records":`+c.want+`,"count":1}` {
			t.Errorf("%s: %s", c.body, got)
		}
		gone := ""
		for _, d := range a.Drift() {
			gone += d.Field
		}
		if gone != c.gone {
			t.Errorf("%s: %q is gone, want %q", c.body, gone, c.gone)
		}
	}
	if got := structured(t, a, "list_x", `{"fields":["id"]}`); got != `{"records":[{"id":1}],"count":1}` {
		t.Error(got)
	}
}
