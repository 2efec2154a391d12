package inbound_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Every method is answered by the service in the eras that know it, and its name
// has to stand in the header as well.
func TestMethods(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{}))
	session := w.join("2025-11-25")
	for _, c := range []struct {
		method, named string
		modernOnly    bool
		mayLack       bool
	}{
		{method: "tools/list"},
		{method: "prompts/list"},
		{method: "prompts/get", named: "name"},
		{method: "resources/list"},
		{method: "resources/templates/list"},
		{method: "resources/read", named: "uri"},
		{method: "completion/complete"},
		{method: "tasks/get", named: "taskId", modernOnly: true},
		{method: "tasks/update", named: "taskId", modernOnly: true},
		{method: "tasks/cancel", named: "taskId", modernOnly: true},
		{method: "skills/list", modernOnly: true},
		{method: "skills/get", named: "uri", modernOnly: true, mayLack: true},
		{method: "resources/directory/read", named: "uri", mayLack: true},
	} {
		answer := `{"asked":"` + c.method + `"}`
		if c.method == "tools/list" {
			answer = `"tools":[`
		}
		if a := w.post(request("1", c.method, `{"name":"x"}`), session); c.modernOnly {
			w.want(a, 200, `"code":-32601`)
		} else {
			w.want(a, 200, answer)
		}
		params := `{"_meta":` + modernMeta + `}`
		name := ""
		if c.named != "" {
			name = "thé/y" // sent as =?base64?dGjDqS95?=
			params = `{"` + c.named + `":"` + name + `","_meta":` + modernMeta + `}`
			name = "=?base64?dGjDqS95?="
		}
		body := request("1", c.method, params)
		w.want(w.post(body, modern(c.method, name)...), 200, answer)
		if c.named == "" {
			continue
		}
		w.want(w.post(body, modern(c.method, "other")...), 400, `"code":-32020`)
		if c.mayLack {
			w.want(w.post(body, modern(c.method, "")...), 200, answer)
		} else {
			w.want(w.post(body, modern(c.method, "")...), 400, `"code":-32020`)
		}
	}
	for _, method := range []string{"resources/subscribe", "resources/unsubscribe", "logging/setLevel", "no/such"} {
		w.want(w.post(request("1", method, `{"uri":"x","level":"info","_meta":`+modernMeta+`}`), modern(method, "")...), 404, `"code":-32601`)
	}
}

func TestExtensionsAreOffered(t *testing.T) {
	f := newFake()
	f.extensions = map[string]json.RawMessage{"io.x/b": json.RawMessage(`{"n":1e400}`), "io.x/a": json.RawMessage(`{}`)}
	w := dial(t, newServer(t, f, inbound.Options{}))
	for _, message := range []string{initialize("2025-06-18"), request("1", "server/discover", `{"_meta":`+modernMeta+`}`)} {
		w.send(message)
		result, _ := rawjson.Get([]byte(w.recv()), "result")
		capabilities, _ := rawjson.Get(result, "capabilities")
		if got, _ := rawjson.Get(capabilities, "extensions"); string(got) != `{"io.x/a":{},"io.x/b":{"n":1e400}}` {
			t.Errorf("%s", capabilities)
		}
		for _, name := range []string{"tools", "prompts", "resources", "completions", "logging"} {
			if _, ok := rawjson.Get(capabilities, name); !ok {
				t.Errorf("no %s in %s", name, capabilities)
			}
		}
	}
	w.end()
}

// What a client can do reaches the service in both eras, over every transport.
func TestCapabilitiesReachTheService(t *testing.T) {
	f := newFake()
	s := newServer(t, f, inbound.Options{})
	const capabilities = `{"elicitation":{"url":{}},"x":{"n":1e400}}`
	init := strings.Replace(initialize("2025-11-25"), `"capabilities":{}`, `"capabilities":`+capabilities, 1)
	check := func(asks bool) {
		t.Helper()
		if b := f.request().Back; string(b.Capabilities) != capabilities || (b.Ask != nil) != asks || b.Log != nil || b.LogLevel != "" || b.Progress != nil {
			t.Errorf("%+v", b)
		}
	}
	w := dial(t, s)
	w.send(init)
	w.recv()
	w.send(call("1", "echo", "{}"))
	w.recv()
	check(true)
	w.send(strings.Replace(modernCall("2", "echo", "{}"), `clientCapabilities":{}`, `clientCapabilities":`+capabilities, 1))
	w.recv()
	check(false)
	w.end()
	web := serve(t, s)
	session := "Mcp-Session-Id: " + web.post(init).header.Get("Mcp-Session-Id")
	web.want(web.post(call("1", "echo", "{}"), session), 200)
	check(true)
	web.want(web.post(request("1", "resources/read", `{"uri":"x"}`), session), 200)
	check(true)
	// Too long for a session id: what nobody acts on goes first, then extensions.
	long := strings.Repeat("<", 3000)
	for given, want := range map[string]string{
		`{"x":"` + long + `","roots":{},"extensions":{"a":{}},"sampling":{"tools":{}},"elicitation":{}}`: `{"elicitation":{},"sampling":{"tools":{}},"roots":{},"extensions":{"a":{}}}`,
		`{"roots":{"a":"` + long[:900] + `"},"extensions":{"a":"` + long[:300] + `"}}`:                   `{"roots":{"a":"` + long[:900] + `"}}`,
		`{"sampling":{"x":"` + long + `"}}`:                                                              ``,
	} {
		a := web.post(strings.Replace(initialize("2025-11-25"), `"capabilities":{}`, `"capabilities":`+given, 1))
		session := "Mcp-Session-Id: " + a.header.Get("Mcp-Session-Id")
		web.want(web.post(call("1", "echo", "{}"), session), 200)
		if got := f.request().Back; string(got.Capabilities) != want || (got.Ask != nil) != (want != "") {
			t.Errorf("%.200s", got.Capabilities)
		}
	}
}
