package upstream_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestQuestionLacks(t *testing.T) {
	for _, c := range []struct{ caps, method, params, want string }{
		{``, upstream.AskElicitation, `{}`, "elicitation"},
		{`{"elicitation":null}`, upstream.AskElicitation, `{}`, "elicitation"},
		{`{"elicitation":{}}`, upstream.AskElicitation, `{}`, ""},
		{`{"elicitation":{}}`, upstream.AskElicitation, `{"mode":"form"}`, ""},
		{`{"elicitation":{}}`, upstream.AskElicitation, `{"mode":"url"}`, "elicitation.url"},
		{`{"elicitation":{"form":{}}}`, upstream.AskElicitation, `{"mode":"url"}`, "elicitation.url"},
		{`{"elicitation":{"url":{}}}`, upstream.AskElicitation, `{"mode":"url"}`, ""},
		{`{"elicitation":{"url":{}}}`, upstream.AskElicitation, ``, "elicitation.form"},
		{`{"elicitation":{"form":{},"url":{}}}`, upstream.AskElicitation, ``, ""},
		{`{"elicitation":{"form":{},"url":{}}}`, upstream.AskElicitation, `{"mode":"x\n"}`, "elicitation.x\n"},
		{`{"elicitation":{}}`, upstream.AskSampling, `{}`, "sampling"},
		{`{"sampling":{}}`, upstream.AskSampling, `{}`, ""},
		{`{"sampling":{}}`, upstream.AskSampling, `{"tools":[]}`, "sampling.tools"},
		{`{"sampling":{}}`, upstream.AskSampling, `{"toolChoice":{}}`, "sampling.tools"},
		{`{"sampling":{"tools":{}}}`, upstream.AskSampling, `{"tools":[],"toolChoice":{}}`, ""},
		{`{"sampling":{}}`, upstream.AskRoots, ``, "roots"},
		{`{"roots":{}}`, upstream.AskRoots, ``, ""},
		{`{"elicitation":{}}`, upstream.AskElicitation, `{"mode":"` + strings.Repeat("é", 30) + `"}`, "elicitation." + strings.Repeat("é", 20) + "…"},
		{`{"ping":{}}`, "ping", ``, "ping"},
	} {
		if got := (upstream.Question{Method: c.method, Params: json.RawMessage(c.params)}).Lacks(json.RawMessage(c.caps)); got != c.want {
			t.Errorf("%s with %s: %s lacks %q, want %q", c.method, c.params, c.caps, got, c.want)
		}
	}
}
