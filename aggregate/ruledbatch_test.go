package aggregate_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
)

// Plans refer to what the model is shown, and are told what is left out.
func TestReferencesToShapedResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, raw := table(5)
		v := ruled(t, shaping.Rules{MaxRows: 2, Fields: []string{"id"}}, aggregate.Options{}, plainTool, raw)
		got := call(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"crm_get"},{"id":"b","tool":"bulkhead_sources","map":{"$ref":"#/a/rows"},"arguments":{"source":"crm"}},`+
			`{"id":"c","tool":"bulkhead_sources","arguments":{"source":{"$ref":"#/a/rows/0/name"}},"on_error":"null"}]}`)
		var b struct {
			Results []struct {
				ID     string
				Status string
				Error  string
				Result json.RawMessage
				Notes  []string
				Items  []any
			}
		}
		if err := json.Unmarshal(got.Structured, &b); err != nil || len(b.Results) != 3 {
			t.Fatalf("%v: %s", err, got.text())
		}
		r := b.Results
		if string(r[0].Result) != `{"rows":[{"id":0},{"id":1}],"next":"c"}` || len(r[0].Notes) != 1 || !strings.HasPrefix(r[0].Notes[0], "[crm: showing 2 of 5 rows") {
			t.Errorf("%s %q", r[0].Result, r[0].Notes)
		}
		if len(r[1].Items) != 2 || !strings.Contains(r[2].Error, `at #/a/rows/0 there is no "name", but id`) {
			t.Errorf("%d items; %s", len(r[1].Items), r[2].Error)
		}
	})
}

// What a failure says is said whole.
func TestFailuresOfTwoTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := ruled(t, shaping.Rules{}, aggregate.Options{}, plainTool, `{`+textual("No such customer:", `{"id":1}`)+`,"isError":true}`)
		if got := call(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"crm_get"}]}`); !strings.Contains(string(got.Structured), `"error":"No such customer:\n{\"id\":1}"`) {
			t.Errorf("%s", got.Structured)
		}
	})
}

// Words beside a text do not keep it from being referred to.
func TestReferencesToTextsWithWordsBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := ruled(t, shaping.Rules{}, aggregate.Options{}, plainTool, `{`+textual("Found:", `{"name":"crm"}`)+`}`)
		got := call(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"crm_get"},{"id":"b","tool":"bulkhead_sources","arguments":{"source":{"$ref":"#/a/name"}}}]}`)
		if s := string(got.Structured); !strings.Contains(s, "2 of 2 calls succeeded") || !strings.Contains(s, `"content":[{"type":"text","text":"Found:"}]`) {
			t.Error(s)
		}
	})
}

// What a tool says of its results holds of what is shown of them only where the
// rules do not choose what a record has.
func TestPlansAboutShapedResults(t *testing.T) {
	const declared = `{"name":"get","inputSchema":{"type":"object"},"outputSchema":{"type":"object","additionalProperties":false,` +
		`"properties":{"rows":{"type":"array","items":{"type":"object"}},"next":{"type":"string"}}}}`
	for name, tt := range map[string]struct {
		rules shaping.Rules
		over  string
		want  string // of the answer
	}{
		"jq":          {shaping.Rules{JQ: ".rows"}, "#/a", "2 of 2 calls succeeded"},
		"fields":      {shaping.Rules{Fields: []string{"id"}}, "#/a/nosuch", `there is no \"nosuch\", but rows`},
		"fewer rows":  {shaping.Rules{MaxRows: 2}, "#/a", "#/a is an object, not a list"},
		"fewer bytes": {shaping.Rules{MaxBytes: 1 << 10}, "#/a", "#/a is an object, not a list"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, raw := table(3)
				v := ruled(t, tt.rules, aggregate.Options{}, declared, raw)
				got := call(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"crm_get"},{"id":"b","tool":"bulkhead_sources","map":{"$ref":"`+tt.over+`"}}]}`)
				said := string(got.Structured)
				if said == "" { // nothing has been called
					said = got.text()
				}
				if early := len(got.Structured) == 0; !strings.Contains(said, tt.want) || early != (tt.over == "#/a" && tt.rules.JQ == "") {
					t.Error(said)
				}
			})
		})
	}
}

// A write whose answer cannot be shown was carried out, as its error says: nobody is
// told to find that out, and it is not made again.
func TestPlansOfWritesThatCannotBeShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writes = `{"name":"get","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":false}}`
		v := ruled(t, shaping.Rules{JQ: `error("no")`}, aggregate.Options{}, writes, `{"structuredContent":{},"content":[]}`)
		for _, want := range []string{"other sources are unaffected.", "It was not sent again with this plan."} {
			said := string(call(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"crm_get"}]}`).Structured)
			if !strings.Contains(said, "a was carried out, but its result cannot be shown: do not make it again.") || !strings.Contains(said, want) ||
				strings.Contains(said, "may have been") || strings.Contains(said, "Nobody knows") || strings.Contains(said, "same plan again") {
				t.Error(said)
			}
		}
	})
}
