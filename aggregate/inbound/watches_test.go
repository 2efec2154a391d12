package inbound_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func listChanged(list string) string {
	return `{"jsonrpc":"2.0","method":"notifications/` + list + `/list_changed"}`
}

func updatedNote(uri string) string {
	return `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"` + uri + `","_meta":{"n":1e400}}}`
}

func watch(id, method, uri string) string {
	return request(id, "resources/"+method, `{"uri":"`+uri+`"}`)
}

const done = `"result":{}`

func TestLegacyWatchesOnStdio(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.handshake("2025-06-18")
	ask := func(message string, parts ...string) {
		t.Helper()
		w.send(message)
		got := w.recv()
		for _, p := range parts {
			if !strings.Contains(got, p) {
				t.Fatalf("no %s in %s", p, got)
			}
		}
	}
	eventually(t, "it follows the lists", func() bool { return f.subscribers() == 1 })
	for _, list := range []string{"tools", "prompts", "resources"} {
		f.changedList(upstream.List(list))
		w.want(listChanged(list))
	}
	ask(watch("1", "subscribe", "u:a"), done)
	ask(watch("2", "subscribe", "u:a"), done) // once is enough
	ask(watch("3", "subscribe", "u:b"), done)
	ask(watch("4", "subscribe", "none:c"), `"code":-32002`, `"data":{"uri":"none:c"}`)
	for _, params := range []string{`{}`, `{"uri":1}`, `{"uri":""}`} {
		ask(request("5", "resources/subscribe", params), `"code":-32602`)
		ask(request("5", "resources/unsubscribe", params), `"code":-32602`)
	}
	if n := f.subscribers(); n != 3 {
		t.Fatalf("%d subscriptions", n)
	}
	f.updated("u:a")
	w.want(updatedNote("u:a"))
	ask(watch("6", "unsubscribe", "u:a"), done)
	ask(watch("7", "unsubscribe", "u:a"), done)
	f.updated("u:a")
	f.updated("u:b")
	w.want(updatedNote("u:b"))
	w.end()
	if n := f.subscribers(); n != 0 {
		t.Fatalf("%d subscriptions are left", n)
	}
}

// What comes while there is no stream waits, the newest of each kind.
func TestLegacyWatchesOverHTTP(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	session, other := w.join("2025-11-25"), w.join("2025-11-25")
	for i := range 1000 {
		w.want(w.post(watch("1", "subscribe", fmt.Sprintf("u:%d", i)), session), 200, done)
	}
	w.want(w.post(watch("1", "subscribe", "u:1000"), session), 200, `"code":-32602`, "1000 resources")
	w.want(w.post(watch("1", "subscribe", "u:3"), other), 200, done)
	w.want(w.post(watch("1", "unsubscribe", "u:7"), session), 200, done)
	for range 3 {
		f.updated("u:5")
		f.updated("u:3")
		f.updated("u:7")
	}
	next, end := w.events("GET", "/mcp", "", session)
	for _, uri := range []string{"u:5", "u:3"} {
		if got, _ := next(); got != updatedNote(uri) {
			t.Fatal(got)
		}
	}
	for _, list := range []string{"resources", "tools", "prompts"} {
		f.changedList(upstream.List(list))
		if got, _ := next(); got != listChanged(list) {
			t.Fatal(got)
		}
	}
	end()
	theirs, _ := w.events("GET", "/mcp", "", other)
	if got, _ := theirs(); got != updatedNote("u:3") {
		t.Fatal(got)
	}
	w.want(w.delete("/mcp", session), 204)
	w.want(w.delete("/mcp", other), 204)
	eventually(t, "nothing is left", func() bool { return f.subscribers() == 0 })
}

func listening(id, filter string) string {
	return request(id, "subscriptions/listen", `{"notifications":`+filter+`,"_meta":`+modernMeta+`}`)
}

// Everything that can be listened to is granted, tagged and ended, for several
// subscriptions at once.
func TestListenToEverything(t *testing.T) {
	const everything = `{"taskIds":["t","none:t","t"],"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["none:u","u:b","u:a","u:b"]}`
	const granted = `{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["u:b","u:a"],"taskIds":["t"]}`
	f := newFake()
	s := newServer(t, f, inbound.Options{})
	converse := func(t *testing.T, next func() string) {
		meta := `"_meta":{"io.modelcontextprotocol/subscriptionId":"s"`
		want := func(method, params string) {
			t.Helper()
			if got := next(); got != `{"jsonrpc":"2.0","method":"notifications/`+method+`","params":{`+params+`}}}` {
				t.Fatalf("instead of %s: %s", method, got)
			}
		}
		want("subscriptions/acknowledged", `"notifications":`+granted+`,`+meta)
		for _, list := range []string{"tools", "prompts", "resources"} {
			f.changedList(upstream.List(list))
			want(list+"/list_changed", meta)
		}
		f.updated("u:a")
		want("resources/updated", `"uri":"u:a","_meta":{"n":1e400,"io.modelcontextprotocol/subscriptionId":"s"`)
		f.tell(aggregate.Notice{Method: upstream.NoteTask, Key: "t", Params: json.RawMessage("{\n\"taskId\":\"t\"}")}, func(s aggregate.Subscription) bool {
			return slices.Contains(s.Tasks, "t")
		})
		want("tasks", `"taskId":"t",`+meta)
	}
	t.Run("stdio", func(t *testing.T) {
		w := dial(t, s)
		w.send(listening(`"s"`, everything))
		converse(t, w.recv)
		w.in.Close()
		w.want(`{"jsonrpc":"2.0","id":"s","result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}`)
		w.end()
	})
	t.Run("http", func(t *testing.T) {
		w := serve(t, s)
		next, _ := w.events("POST", "/mcp", listening(`"s"`, everything), modern("subscriptions/listen", "")...)
		converse(t, func() string { got, _ := next(); return got })
		go w.stop()
		if got, _ := next(); !strings.Contains(got, `"id":"s","result":{"resultType":"complete"`) {
			t.Fatal(got)
		}
	})
	eventually(t, "nothing is left", func() bool { return f.subscribers() == 0 })
}

func TestListenRefuses(t *testing.T) {
	w := dial(t, newServer(t, newFake(), inbound.Options{}))
	many := `["` + strings.Join(slices.Collect(maps.Keys(numbered(1001))), `","`) + `"]`
	for _, filter := range []string{
		`{"resourceSubscriptions":"u:a"}`, `{"resourceSubscriptions":[1]}`, `{"resourceSubscriptions":` + many + `}`,
		`{"taskIds":{}}`, `{"promptsListChanged":1}`, `{"resourcesListChanged":null}`, `{"taskIds":` + many + `}`,
	} {
		w.send(listening("1", filter))
		if got := w.recv(); !strings.Contains(got, `"id":1,"error":{"code":-32602,"message":"params.notifications.`) {
			t.Errorf("%.100s: %s", filter, got)
		}
	}
	w.send(listening("1", `{"TaskIds":[]}`))
	if got := w.recv(); !strings.Contains(got, "misspelt") {
		t.Error(got)
	}
	w.end()
}

func numbered(n int) map[string]bool {
	all := make(map[string]bool)
	for i := range n {
		all[fmt.Sprint(i)] = true
	}
	return all
}

// A listener that does not read loses only what a later notice says as well.
func TestSlowListener(t *testing.T) {
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(listening("1", `{"taskIds":["a","b"]}`))
	w.recv()
	long := strings.Repeat("x", 100_000)
	const n = 60
	for i := range n {
		for _, key := range []string{"a", "b"} {
			params := json.RawMessage(fmt.Sprintf(`{"taskId":%q,"n":%d,"long":%q}`, key, i, long))
			f.tell(aggregate.Notice{Method: upstream.NoteTask, Key: key, Params: params}, func(aggregate.Subscription) bool { return true })
		}
	}
	last, told := map[string]int{}, 0
	for last["a"] < n-1 || last["b"] < n-1 {
		var note struct {
			Params struct {
				TaskID string
				N      int
			}
		}
		if err := json.Unmarshal([]byte(w.recv()), &note); err != nil {
			t.Fatal(err)
		}
		if note.Params.N < last[note.Params.TaskID] {
			t.Fatalf("%d of %s after %d", note.Params.N, note.Params.TaskID, last[note.Params.TaskID])
		}
		last[note.Params.TaskID] = note.Params.N
		told++
	}
	if told >= 2*n {
		t.Errorf("all %d were told: nothing waited", told)
	}
	w.send(cancelled("1"))
	w.end()
}
