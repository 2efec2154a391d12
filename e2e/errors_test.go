package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// erring are error objects of a tool's upstream, with what a client of each era
// gets: "tool" is a result with isError that tells code, message and data;
// "words" one that tells what is missing; "input" a question to the user;
// otherwise an error object with this code.
var erring = []struct {
	code           int
	data           string
	legacy, modern string
}{
	{-32002, `{"uri":"test://x"}`, "tool", "tool"},
	{-32020, `{"header":"Mcp-Name"}`, "tool", "tool"},
	{-32021, `{"requiredCapabilities":{"sampling":{}}}`, "words", "-32021"},
	{-32022, `{"supported":["2099-01-01"],"requested":"2099-12-31"}`, "tool", "tool"},
	{-32042, `{"elicitations":[{"mode":"url","message":"Sign in","url":"https://fixture.example/in","elicitationId":"e-1"}]}`, "-32042", "input"},
	{-32050, `[9007199254740993]`, "tool", "tool"},
	{-32603, `null`, "tool", "tool"},
	{-32000, `{}`, "tool", "tool"},
	{42, `"why"`, "tool", "tool"},
}

// An upstream's error object reaches a model as a failed result, except where
// the client has to act on it and its era knows how.
func rowToolErrors(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		for _, w := range ways {
			c := s.join(w)
			for _, e := range erring {
				want := e.legacy
				if w.modern() {
					want = e.modern
				}
				members := tool("odd_error", fmt.Sprintf(`{"code":%d,"message":"no \u00e9 way","data":%s}`, e.code, e.data))
				x := c.ask("tools/call", members, "")
				if diff := unlike(x.answer, want, e.code, e.data); diff != "" {
					t.Errorf("%s, %d: %s: %.700s", w, e.code, diff, x.answer)
				}
			}
			if c.says("test_simple_text", `{}`) == "" { // nobody has changed the era for it
				t.Errorf("%s: nothing works afterwards", w)
			}
		}
	})
}

// unlike says in what an answer is not what is wanted.
func unlike(answer []byte, want string, code int, data string) string {
	told := func(path ...string) string { return at(answer, append([]string{"result"}, path...)...) }
	const facts = "io.github.bulkhead-mcp/error"
	switch want {
	case "tool":
		switch {
		case told("isError") != "true":
			return "it is no failed result"
		case told("_meta", facts, "upstream", "code") != fmt.Sprint(code):
			return "the code is lost"
		case told("_meta", facts, "upstream", "data") != data && data != "null":
			return "the data is lost"
		}
	case "words":
		if told("isError") != "true" || !strings.Contains(told("content"), "sampling") {
			return "it does not say what is missing"
		}
	case "input":
		if told("resultType") != `"input_required"` || !strings.Contains(told("inputRequests"), "[fixture] Sign in") {
			return "the user is not asked"
		}
	default:
		if at(answer, "error", "code") != want || code != -32042 && at(answer, "error", "data") != data {
			return "it is another error"
		}
		if code == -32042 && !strings.Contains(at(answer, "error", "data"), "[fixture] Sign in") {
			return "the source is not named"
		}
	}
	return ""
}

// reading of a resource ends in an error object, whose code is one that the
// client's era has: MCP 2025-11-25 and 2026-07-28, resources, §Error Handling.
func rowReadErrors(t *testing.T, program string) {
	codes := map[int]struct{ legacy, modern string }{
		-32002: {"-32002", "-32602"},
		-32602: {"-32602", "-32602"},
		-32601: {"-32603", "-32603"},
		-32600: {"-32603", "-32603"},
		-32000: {"-32000", "-32603"},
		-32050: {"-32050", "-32603"},
		-32020: {"-32603", "-32603"},
		-32022: {"-32603", "-32603"},
		-32021: {"-32603", "-32021"},
		-32042: {"-32042", "-32603"},
		42:     {"42", "42"},
	}
	eachUpstream(t, program, ways, func(t *testing.T, s *site, upstream way) {
		for _, w := range ways {
			c := s.join(w)
			for code, want := range codes {
				x := c.ask("resources/read", fmt.Sprintf(`"uri":"test://error/%d"`, code), "")
				expected := want.legacy
				if w.modern() {
					expected = want.modern
				}
				if got := at(x.answer, "error", "code"); got != expected {
					t.Errorf("%s, %d: want %s, got %.400s", w, code, expected, x.answer)
				}
			}
			x := c.ask("resources/read", `"uri":"test://no-such-resource"`, "")
			expected := "-32002"
			if w.modern() || upstream.modern() { // -32602 is right in both eras, and what the upstream said
				expected = "-32602"
			}
			if at(x.answer, "error", "code") != expected || !strings.Contains(string(x.answer), "test://no-such-resource") {
				t.Errorf("%s, unknown: %.400s", w, x.answer)
			}
			x = c.ask("resources/read", `"uri":"nobody://has/this"`, "")
			if got := at(x.answer, "error", "code"); got != map[bool]string{true: "-32602", false: "-32002"}[w.modern()] && got != expected {
				t.Errorf("%s, of no source: %.400s", w, x.answer)
			}
		}
	})
}
