package rest_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
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
		{`[{"id":"1","owner":{"name":"a"},"note":5}]`, ""}, // whoever has the schema sees that
		{`[{"id":"1","owner":{}}]`, "records[].owner.name is gone"},
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

// What begins to be missing is logged once, by its name and without the answer,
// also if it comes and goes.
func TestDriftIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := ""
		var log strings.Builder
		hc := &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
		})}
		a, err := rest.New(rest.Options{ID: "crm", BaseURL: "https://crm.example.com", Log: slog.New(slog.NewTextHandler(&log, nil)), Definition: parse(t, `[action.list_x]
method = "GET"
path = "/"
records = "/x"
fields = ["id", "ow\nner"]`)}, hc)
		if err != nil {
			t.Fatal(err)
		}
		lines := func() string {
			defer log.Reset()
			var out []string
			for line := range strings.Lines(log.String()) {
				if !strings.Contains(line, "level=WARN msg=\"source has changed\" upstream=crm tool=list_x ") || strings.Contains(line, "s3cret") {
					t.Errorf("the log has %q", line)
				}
				_, field, _ := strings.Cut(line, "field=")
				out = append(out, strings.TrimSpace(field))
			}
			return strings.Join(out, "; ")
		}
		const owner, whole = `"records[].ow\nner" problem="is gone"`, `/x problem="is gone"`
		for _, c := range []struct {
			body, want string
			told       int
			wait       time.Duration
		}{
			{`{"x":[{"id":1,"ow\nner":"s3cret"}]}`, "", 0, 0},
			{`{"x":[{"id":"s3cret"}]}`, owner, 1, 0},
			{`{"x":[{"id":1}]}`, "", 1, 0},
			{`{"x":[{"id":1,"ow\nner":"s3cret"}]}`, "", 0, 0},
			{`{"x":[{"id":"s3cret"}]}`, "", 1, 0},
			{`{"s3cret":1}`, whole, 2, 0},
			{`{"x":[{"id":1,"ow\nner":2}]}`, "", 0, time.Hour},
			{`{"x":[{"id":1}]}`, owner, 1, 0},
		} {
			body = c.body
			structured(t, a, "list_x", `{}`)
			if got := lines(); got != c.want || len(a.Drift()) != c.told {
				t.Errorf("%s: logged %q, want %q; told %+v", c.body, got, c.want, a.Drift())
			}
			time.Sleep(c.wait)
		}
	})
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
