package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const withTasks = `{"elicitation":{"form":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}`

var modernUpstreams = []way{{"http", "modern"}, {"stdio", "modern"}}

// created makes a call that has to go on as a task, and returns the task's id as
// JSON text.
func created(c *wire, name, arguments string) string {
	c.t.Helper()
	result, err := c.begin(c.t.Context(), "tools/call", tool(name, arguments), "").result()
	if err != nil || at(result, "resultType") != `"task"` || at(result, "taskId") == "" {
		c.t.Fatalf("%s: %v %.500s", name, err, result)
	}
	return at(result, "taskId")
}

// task asks for a task until it is in a state, and returns it.
func (w *wire) task(id, state string) []byte {
	w.t.Helper()
	var result []byte
	if !eventually(func() bool {
		var err error
		if result, err = w.begin(w.t.Context(), "tasks/get", `"taskId":`+id, "").result(); err != nil {
			w.t.Errorf("tasks/get: %v", err)
		}
		return err != nil || at(result, "status") == fmt.Sprintf("%q", state)
	}) || at(result, "taskId") != id {
		w.t.Errorf("a task that should be %s: %.500s", state, result)
	}
	return result
}

// Calls go on as tasks, and are followed, told of, cancelled and asked for under
// ids of ours.
func rowTasks(t *testing.T, program string) {
	eachUpstream(t, program, modernUpstreams, func(t *testing.T, s *site, _ way) {
		for _, w := range modernClients {
			c := s.declaring(w, withTasks)
			c.succeeds("tools/list", "") // an extension is declared once its source has been heard of
			if x := c.ask("server/discover", "", ""); !strings.Contains(at(x.answer, "result", "capabilities", "extensions"), "io.modelcontextprotocol/tasks") {
				t.Errorf("%s: tasks are not declared: %.500s", w, x.answer)
			}
			id := created(c, "slow_compute", `{"seconds":1,"label":"é"}`)
			ctx, cancel := context.WithCancel(t.Context())
			f := s.hear(ctx, c, w, `{"taskIds":[`+id+`]}`)
			c.task(id, "working")
			if done := c.task(id, "completed"); !strings.Contains(at(done, "result", "content"), "computed é") {
				t.Errorf("%s: %.500s", w, done)
			}
			note := c.told("notifications/tasks")
			if at(note, "params", "taskId") != id || at(note, "params", "status") != `"completed"` || at(note, "params", "_meta", subscription) != f.id {
				t.Errorf("%s: told %s", w, note)
			}
			cancel()

			broken := created(c, "protocol_error_job", `{}`)
			if end := c.task(broken, "failed"); at(end, "error", "data") != `{"job":1}` {
				t.Errorf("%s: %.500s", w, end)
			}
			doomed := created(c, "slow_compute", `{"seconds":60}`)
			c.succeeds("tasks/cancel", `"taskId":`+doomed)
			c.task(doomed, "cancelled")

			for _, foreign := range []string{`"` + strings.Repeat("A", 40) + `"`, strings.Replace(id, `"`, `"A`, 1), `"ABCDEFGHIJKLMNOPQRSTUVWXYZ"`} {
				for _, method := range []string{"tasks/get", "tasks/cancel", "tasks/update"} {
					_, err := c.begin(t.Context(), method, `"inputResponses":{},"taskId":`+foreign, "").result()
					if err == nil || !strings.Contains(err.Error(), "-32602") {
						t.Errorf("%s, %s of %s: %v", w, method, foreign, err)
					}
				}
			}
			without := s.join(w)
			if _, err := without.begin(t.Context(), "tasks/get", `"taskId":`+id, "").result(); err == nil || !strings.Contains(err.Error(), "-32021") {
				t.Errorf("%s, without the extension: %v", w, err)
			}
			if got := without.says("slow_compute", `{"seconds":0,"label":"at once"}`); got != "computed at once" {
				t.Errorf("%s, without the extension: %s", w, got)
			}
		}
	})
}

// A task asks under the source's name and goes on with the answers.
func rowTaskInput(t *testing.T, program string) {
	eachUpstream(t, program, modernUpstreams, func(t *testing.T, s *site, _ way) {
		for _, w := range modernClients {
			c := s.declaring(w, withTasks)
			id := created(c, "confirm_delete", `{"filename":"a.txt"}`)
			requests, _ := rawjson.Get(c.task(id, "input_required"), "inputRequests")
			if got := at(requests, "confirm", "params", "message"); got != `"[fixture] Delete a.txt?"` {
				t.Errorf("%s: asked %s", w, requests)
			}
			c.succeeds("tasks/update", `"taskId":`+id+`,"inputResponses":{"confirm":{"action":"accept","content":{"ok":true,"n":9007199254740993}}}`)
			done := c.task(id, "completed")
			result, _ := rawjson.Get(done, "result")
			if got := firstText(result); got != `a.txt: action=accept, content={"ok":true,"n":9007199254740993}` {
				t.Errorf("%s: %.500s", w, done)
			}
			// Asked first, and a task only then.
			members := tool("test_tool_with_task", `{}`)
			result, err := c.begin(t.Context(), "tools/call", members+questioned(c, members), "").result()
			if err != nil || at(result, "resultType") != `"task"` {
				t.Errorf("%s: %v %.500s", w, err, result)
			}
			c.task(at(result, "taskId"), "completed")
		}
	})
}

// Apps come through as they are: the tool says which, and the page can be read.
func rowApps(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, upstream way) {
		for _, w := range ways {
			c := s.join(w)
			x := c.ask("tools/list", "", "")
			list, _ := rawjson.Get(x.answer, "result")
			list, _ = rawjson.Get(list, "tools")
			found := false
			for entry := range rawjson.Elements(list) {
				if name, _ := rawjson.GetString(entry, "name"); name == "odd_fields" {
					found = at(entry, "_meta", "ui") == `{"resourceUri":"ui://fixture/app.html","visibility":["model","app"]}`
				}
			}
			if !found {
				t.Errorf("%s: the tool does not name its app", w)
			}
			r := c.converse(step{name: "app", method: "resources/read", members: `"uri":"ui://fixture/app.html"`})
			const page = `{"uri":"ui://fixture/app.html","mimeType":"text/html;profile=mcp-app","text":"<!doctype html><title>App</title>",` +
				`"_meta":{"ui":{"csp":{"connectDomains":["https://fixture.example"]},"domain":"fixture"}}}`
			if at(r.answer, "contents") != "["+page+"]" {
				t.Errorf("%s: %s", w, r.answer)
			}
		}
	})
}
