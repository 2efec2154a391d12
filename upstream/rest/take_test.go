package rest_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const takeDefinition = `
[errors]
failed = { path = "/data/failed", equals = true }
message = ["/data/why"]
[quota]
left = "/cost/left"
[paging.page]
kind = "page"
param = "page"
more = "/data/list/more"
total = "/data/list/total"
[action.list_x]
method = "GET"
path = "/"
records = "/data/list/rows"
fields = ["id"]
paging = "page"
[action.list_second]
method = "GET"
path = "/"
records = "/1/rows"
`

// TestTaking holds that records, and what is said besides them, are found wherever
// they stand in an answer, though it is read once.
func TestTaking(t *testing.T) {
	many := ""
	for i := range 100 {
		many += `"m` + strconv.Itoa(i) + `":[{"rows":[]}],`
	}
	const none = `{"records":[],"count":0,"note":"the answer has nothing at /data/list/rows: the source may have changed"}`
	for name, c := range map[string]struct{ body, want string }{
		"in order":                 {`{"data":{"list":{"rows":[{"id":1},{"x":2,"id":3}],"more":false,"total":7}}}`, `{"records":[{"id":1},{"id":3}],"count":2,"total":7}`},
		"behind what is said":      {`{"x":[{}],"data":{"list":{"total":7,"more":false,"rows":[{"id":1}]}}}`, `{"records":[{"id":1}],"count":1,"total":7}`},
		"under other spellings":    {`{"d\u0061ta":{"l\u0069st":{"\u0072ows":[{"\u0069d":1}],"tot\u0061l":7,"more":false}}}`, `{"records":[{"\u0069d":1}],"count":1,"total":7}`},
		"the first of two":         {`{"data":{"list":{"rows":[{"id":1}],"rows":[{"id":2}],"total":7,"total":8,"more":false}},"data":{"list":{"rows":[{"id":3}]}}}`, `{"records":[{"id":1}],"count":1,"total":7}`},
		"not in the second of two": {`{"data":{"list":1,"list":{"rows":[{"id":2}]}},"data":{"list":{"rows":[{"id":3}]}}}`, none},
		"among many":               {`{` + many + `"data":{` + many + `"list":{` + many + `"rows":[{"id":1}],` + many + `"total":7,"more":false}}}`, `{"records":[{"id":1}],"count":1,"total":7}`},
		"nowhere":                  {`{"data":[{"list":{"rows":[{"id":1}]}}]}`, none},
		"in no object":             {`"data"`, none},
	} {
		t.Run(name, func(t *testing.T) {
			a := open(t, takeDefinition, serve(t, says("application/json", c.body)))
			if got := structured(t, a, "list_x", `{}`); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	a := open(t, takeDefinition, serve(t, says("application/json", `[{"rows":[1]},{"rows":[2,[3]]},{"rows":[4]}]`)))
	if got, want := structured(t, a, "list_second", `{}`), `{"records":[2,[3]],"count":2}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestTakenForNothing holds that records which were read already are not given where
// the rest of the answer is broken, or says that it is none.
func TestTakenForNothing(t *testing.T) {
	const rows = `{"data":{"list":{"rows":[{"id":1}]}`
	for _, rest := range []string{"", "}", "}}}", `},"x":01}`, `},"x":"` + "\x01" + `"}`, `},"x":"` + "\xff" + `"}`, `},"x":` + strings.Repeat("[", 130) + strings.Repeat("]", 130) + `}`, `}} {}`} {
		a := open(t, takeDefinition, serve(t, says("application/json", rows+rest)))
		_, err := call(t.Context(), a, "list_x", `{}`)
		wantKind(t, err, upstream.UpstreamError, true, "broken JSON")
	}
	const failed = rows + `,"failed":true,"why":"no such list"},"cost":{"left":5}}`
	a := open(t, takeDefinition, serve(t, says("application/json", failed)))
	r, err := call(t.Context(), a, "list_x", `{}`)
	if err != nil || !strings.Contains(string(r.Raw), `"no such list"`) || strings.Contains(string(r.Raw), "records") {
		t.Errorf("it says %v, %v", r, err)
	}
	marked := open(t, takeDefinition, serve(t, says("application/json", "\ufeff"+failed)))
	if r, err := call(t.Context(), marked, "list_x", `{}`); err != nil || !strings.Contains(string(r.Raw), `"no such list"`) {
		t.Errorf("behind a byte order mark it says %v, %v", r, err)
	}
	if d := a.Drift(); d != nil {
		t.Errorf("answers of no use are drift: %v", d)
	}
}
