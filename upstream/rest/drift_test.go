package rest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestDrift(t *testing.T) {
	body := ""
	a := open(t, `[action.list_x]
method = "GET"
path = "/"
fields = ["id", "owner.name"]
[action.list_x.output]
type = "object"
[action.list_x.output.properties]
id = { type = "integer" }
note = { type = ["string", "null"] }`, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	drift := func() string {
		var out []string
		for _, d := range a.Drift() {
			if d.Tool != "list_x" || d.Since.IsZero() {
				t.Errorf("%+v", d)
			}
			out = append(out, d.Field+" "+d.Problem)
		}
		return strings.Join(out, "; ")
	}
	for _, c := range [][2]string{
		{`[]`, ""},
		{`[{"id":1,"owner":{"name":"a"}}]`, ""},
		{`[{"id":null,"owner":{}},{"id":1,"owner":{"name":"a"}}]`, ""},
		{`[{"id":"1","owner":{"name":"a"},"note":null}]`, "records[].id is a string, not an integer"},
		{`[{"id":"1","owner":{}}]`, "records[].id is a string, not an integer; records[].owner.name is gone"},
		{`[{"id":1}]`, "records[].owner.name is gone; records[].owner is gone"},
		{`[{"id":1,"owner":{"name":"a"}}]`, ""},
	} {
		body = c[0]
		structured(t, a, "list_x", `{}`)
		if got := drift(); got != c[1] {
			t.Errorf("%s: %q, want %q", c[0], got, c[1])
		}
		structured(t, a, "list_x", `{"fields":["id"]}`) // says nothing of the others
	}
}

// What says that there is nothing, or that it is not done yet, says nothing of
// fields; those marked with a ? may be missing.
func TestNoDrift(t *testing.T) {
	status, body := http.StatusOK, ""
	a := open(t, `[action.list_x]
method = "GET"
path = "/"
records = "/x"
fields = ["id", "owner.name", "tags.k", "note?", "via.channel?"]
[action.get_x]
method = "GET"
path = "/"
records = "/x"`, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	for _, body = range []string{
		`{"x":[]}`, `{"x":null}`, `{"x":[{"id":1,"owner":null,"tags":[]}]}`, `{"x":[{"id":1,"owner":{"name":"a"},"tags":[{"k":1}],"note":1,"via":{}}]}`,
	} {
		structured(t, a, "list_x", `{}`)
	}
	status, body = http.StatusAccepted, `{"handle":"h"}`
	if got := structured(t, a, "list_x", `{}`); got != `{"records":[],"count":0,"note":"it is not done yet; ask again later"}` {
		t.Errorf("not yet: %s", got)
	}
	if got := structured(t, a, "get_x", `{}`); got != `{"note":"it is not done yet; ask again later"}` {
		t.Errorf("not yet: %s", got)
	}
	if d := a.Drift(); d != nil {
		t.Errorf("%+v", d)
	}
}
