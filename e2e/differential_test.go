package e2e_test

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// The differential suite holds the same conversation with the fixture directly
// and through Bulkhead, and compares every message: clients of each era over
// each transport, against the fixture in each era over each transport. What may
// differ is listed in compare_test.go and nowhere else.

// everything is what a client declares that can do all there is.
const everything = `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{},"context":{}},"roots":{"listChanged":true},"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}}`

// way is a transport and an era.
type way struct{ transport, era string }

func (w way) String() string { return w.era + " " + w.transport }
func (w way) modern() bool   { return w.era == "modern" }

// ways are all there are: the older transport is of the older era only.
var ways = []way{{"stdio", "legacy"}, {"stdio", "modern"}, {"http", "legacy"}, {"http", "modern"}, {"sse", "legacy"}}

// direct connects a client to the fixture, which speaks both eras.
func direct(t *testing.T, program string, w way) *wire {
	t.Helper()
	var c *wire
	switch w.transport {
	case "stdio":
		cmd := exec.Command(program)
		cmd.Env = []string{raceOptions}
		c = launch(t, cmd, t.TempDir()).wire(w.modern(), everything)
	case "http":
		c = wireHTTP(t, startFixture(t, program, "-http", "127.0.0.1:0"), w.modern(), everything)
	default:
		c = wireSSE(t, startFixture(t, program, "-sse", "127.0.0.1:0"), everything)
	}
	c.reply = obliging
	c.hello()
	return c
}

// upstreamBy returns the table of an upstream that is the fixture, reached in a
// way.
func upstreamBy(t *testing.T, program string, w way) string {
	t.Helper()
	switch w.transport {
	case "stdio":
		return upstreamTable("fixture", fmt.Sprintf("command = [%q, '-era', %q]", program, w.era))
	case "http":
		return upstreamTable("fixture", fmt.Sprintf("url = %q", startFixture(t, program, "-http", "127.0.0.1:0", "-era", w.era)))
	}
	return upstreamTable("fixture", fmt.Sprintf("url = %q", startFixture(t, program, "-sse", "127.0.0.1:0")))
}

// through connects a client to Bulkhead, which has the fixture as upstream.
func through(t *testing.T, program string, client, upstream way) *wire {
	t.Helper()
	config := "[server]\nnames = 'flat'\nlist_wait = '30s'\nmax_result = '64MiB'\n" + upstreamBy(t, program, upstream)
	var c *wire
	if client.transport == "stdio" {
		c = start(t, config, nil, "serve").wire(client.modern(), everything)
	} else {
		_, url := serveHTTP(t, config)
		if client.transport == "sse" {
			c = wireSSE(t, strings.TrimSuffix(url, "/mcp")+"/sse", everything)
		} else {
			c = wireHTTP(t, url, client.modern(), everything)
		}
	}
	c.reply = obliging
	c.hello()
	return c
}

// obliging answers whatever is asked, in the same words each time.
func obliging(method string, params []byte) string {
	switch method {
	case "elicitation/create":
		if strings.Contains(string(params), `"url"`) && !strings.Contains(string(params), "requestedSchema") {
			return `"result":{"action":"accept"}`
		}
		return `"result":{"action":"accept","content":{"username":"wire","name":"wire","email":"wire@example.com"}}`
	case "sampling/createMessage":
		return `"result":{"role":"assistant","content":{"type":"text","text":"sampled é \u00e9"},"model":"wire-1","stopReason":"endTurn"}`
	case "roots/list":
		return `"result":{"roots":[{"uri":"file:///wire","name":"Wire"}]}`
	case "ping":
		return `"result":{}`
	}
	return `"error":{"code":-32601,"message":"not supported"}`
}

// step is one request of the conversation.
type step struct {
	name    string
	method  string
	members string // of params
	meta    string // of params._meta
	// same compares what came directly with what came through Bulkhead, and
	// returns the difference; nil compares by the general rules.
	same func(direct, through reading) string
}

func tool(name, arguments string) string {
	return fmt.Sprintf(`"name":%q,"arguments":%s`, name, arguments)
}

// conversation is what both are asked, in order.
var conversation = []step{
	{name: "tools", method: "tools/list", same: sameList("tools", "name")},
	{name: "prompts", method: "prompts/list", same: sameList("prompts", "name")},
	{name: "resources", method: "resources/list", same: sameList("resources", "uri")},
	{name: "templates", method: "resources/templates/list", same: sameList("resourceTemplates", "uriTemplate")},
	{name: "a cursor of nobody's", method: "tools/list", members: `"cursor":"no such cursor"`, same: bothRefuse(-32602)},
	{name: "an odd result", method: "tools/call", members: tool("odd_result", `{}`)},
	{name: "odd fields", method: "tools/call", members: tool("odd_fields", `{}`)},
	{name: "structured content", method: "tools/call", members: tool("odd_schema", `{"kind":"a"}`)},
	{name: "arguments", method: "tools/call",
		members: `"x-odd":[1E+2],` + tool("odd_arguments", `{"big":9007199254740993,"huge":1e400,"text":"\u00e9é\ud83d\ude00\/","nested":{"b":[],"a":{}},"":null}`),
		meta:    `"example.wire/kept":{"n":12345678901234567890}`, same: sameArguments},
	{name: "no arguments", method: "tools/call", members: `"name":"odd_fields"`},
	{name: "a failing tool", method: "tools/call", members: tool("test_error_handling", `{}`)},
	{name: "text", method: "tools/call", members: tool("test_simple_text", `{}`)},
	{name: "an image", method: "tools/call", members: tool("test_image_content", `{}`)},
	{name: "audio", method: "tools/call", members: tool("test_audio_content", `{}`)},
	{name: "an embedded resource", method: "tools/call", members: tool("test_embedded_resource", `{}`)},
	{name: "mixed content", method: "tools/call", members: tool("test_multiple_content_types", `{}`)},
	{name: "an error", method: "tools/call", members: tool("odd_error", `{"code":-32099,"message":"no \u00e9 way","data":{"n":9007199254740993,"list":[1.0]}}`), same: sameError},
	{name: "an error of the application", method: "tools/call", members: tool("odd_error", `{"code":42,"message":"forty-two","data":"why"}`), same: sameError},
	{name: "an error about arguments", method: "tools/call", members: tool("odd_error", `{"code":-32602,"message":"bad argument","data":null}`), same: sameError},
	{name: "an unknown tool", method: "tools/call", members: tool("no_such_tool", `{}`), same: bothRefuse(-32602)},
	{name: "progress", method: "tools/call", members: tool("odd_progress", `{"count":25}`), meta: `"progressToken":"p-1"`},
	{name: "progress with a number for a token", method: "tools/call", members: tool("odd_progress", `{"count":3,"ms":5}`), meta: `"progressToken":7`},
	{name: "no progress", method: "tools/call", members: tool("odd_progress", `{"count":3}`)},
	{name: "1 MB", method: "tools/call", members: tool("odd_bytes", `{"bytes":1000000}`)},
	{name: "many MB", method: "tools/call", members: tool("odd_bytes", fmt.Sprintf(`{"bytes":%d}`, manyBytes))},
	{name: "a prompt", method: "prompts/get", members: `"name":"test_simple_prompt"`},
	{name: "a prompt with arguments", method: "prompts/get", members: tool("test_prompt_with_arguments", `{"arg1":"é","arg2":"\u00e9"}`)},
	{name: "a prompt with a resource", method: "prompts/get", members: tool("test_prompt_with_embedded_resource", `{"resourceUri":"test://static-text"}`)},
	{name: "a prompt with an image", method: "prompts/get", members: `"name":"test_prompt_with_image"`},
	{name: "an odd prompt", method: "prompts/get", members: `"name":"odd_prompt"`},
	{name: "an unknown prompt", method: "prompts/get", members: `"name":"no_such_prompt"`, same: bothRefuse(-32602)},
	{name: "a resource", method: "resources/read", members: `"uri":"test://static-text"`},
	{name: "a binary resource", method: "resources/read", members: `"uri":"test://static-binary"`},
	{name: "an odd resource", method: "resources/read", members: `"uri":"test://odd-resource"`},
	{name: "a resource of a template", method: "resources/read", members: `"uri":"test://template/a%20b/data"`},
	{name: "an unknown resource", method: "resources/read", members: `"uri":"test://no-such-resource"`, same: bothRefuse(-32602, -32002)},
	{name: "a completion", method: "completion/complete", members: `"ref":{"type":"ref/prompt","name":"test_prompt_with_arguments"},"argument":{"name":"arg1","value":"par"}`},
	{name: "a completion of a template", method: "completion/complete", members: `"ref":{"type":"ref/resource","uri":"test://template/{id}/data"},"argument":{"name":"id","value":"1"},"context":{"arguments":{"x":"y"}}`},
	{name: "an unknown method", method: "no/such/method", same: bothRefuse(-32601)},
	{name: "a form", method: "tools/call", members: tool("odd_elicit_form", `{"message":"Who \u00e9?"}`)},
	{name: "a page", method: "tools/call", members: tool("odd_elicit_url", `{"message":"Open it"}`)},
	{name: "sampling", method: "tools/call", members: tool("odd_sample", `{"prompt":"Say \u00e9"}`)},
	{name: "roots", method: "tools/call", members: tool("odd_roots", `{}`)},
}

// talk holds the conversation.
func talk(t *testing.T, c *wire, via string) map[string]reading {
	t.Helper()
	out := map[string]reading{}
	for _, s := range conversation {
		began := time.Now()
		out[s.name] = c.converse(s)
		if took := time.Since(began); took > 10*time.Second {
			t.Logf("%s: %s took %s", via, s.name, took)
		}
	}
	return out
}

// substantial holds that there is something to compare.
func substantial(t *testing.T, readings map[string]reading) {
	t.Helper()
	for name, r := range readings {
		if len(r.answer) < 2 {
			t.Errorf("%s: the fixture answers %q", name, r.answer)
		}
	}
	for name, n := range map[string]int{"progress": 25, "progress with a number for a token": 3, "no progress": 0} {
		if got := len(readings[name].notes); got != n {
			t.Errorf("%s: the fixture sends %d notifications, want %d", name, got, n)
		}
	}
	for name, method := range map[string]string{"a form": "elicitation/create", "a page": "elicitation/create",
		"sampling": "sampling/createMessage", "roots": "roots/list"} {
		if asked := readings[name].asked; len(asked) != 1 || !strings.HasPrefix(asked[0], method+" ") {
			t.Errorf("%s: the fixture asks %q", name, asked)
		}
	}
	if n := len(readings["many MB"].answer); n < manyBytes {
		t.Errorf("%d bytes are %d", manyBytes, n)
	}
}

func TestDifferential(t *testing.T) {
	t.Parallel()
	program := buildFixture(t)
	var mu sync.Mutex
	known := map[way]map[string]reading{}
	expected := func(t *testing.T, w way) map[string]reading {
		mu.Lock()
		defer mu.Unlock()
		if known[w] == nil {
			known[w] = talk(t, direct(t, program, w), "direct "+w.String())
			substantial(t, known[w])
		}
		return known[w]
	}
	for _, client := range ways {
		for _, upstream := range ways {
			t.Run(client.String()+" client, "+upstream.String()+" upstream", func(t *testing.T) {
				want := expected(t, client)
				got := talk(t, through(t, program, client, upstream), "through")
				for _, s := range conversation {
					same := s.same
					if same == nil {
						same = sameBytes
					}
					if diff := same(want[s.name], got[s.name]); diff != "" {
						t.Errorf("%s: %s", s.name, diff)
					}
				}
			})
		}
	}
}
