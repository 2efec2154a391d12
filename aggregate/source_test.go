package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// taskMaker answers a call with a task, and tells of the task whose it is.
func taskMaker(whose string) handler {
	return func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		if c.Op == upstream.GetTask {
			return upstream.ParseResult(fmt.Appendf(nil, `{"taskId":%q,"status":%q}`, c.Name, whose))
		}
		res, err := upstream.ParseResult([]byte(`{"resultType":"task","taskId":"1"}`))
		res.Type = upstream.TaskCreated
		return res, err
	}
}

func taskID(t *testing.T, o outcome) string {
	t.Helper()
	var made struct{ TaskID string }
	if err := json.Unmarshal([]byte(o.raw), &made); err != nil || made.TaskID == "" {
		t.Fatalf("no task: %s", o.raw)
	}
	return made.TaskID
}

func taskRequest(method, id string) *aggregate.Request {
	r := modernRequest(alice, fmt.Sprintf(`{"taskId":%q}`, id))
	r.Method = method
	return r
}

// What a client holds of one source is nothing to another one that takes its
// name: not the answers of its user, and not a task that goes by the same id.
func TestHandlesDoNotOutliveTheirSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := func(identity string, h handler) aggregate.Member {
			f := newFake(t, "crm", "get")
			f.call = h
			m := member(f)
			m.Identity = identity
			return m
		}
		var seen []string
		a, err := aggregate.New([]aggregate.Member{source("one", modernAsker(askName, &seen))}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		swap := func(m aggregate.Member) {
			t.Helper()
			if err := a.Swap([]aggregate.Member{m}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			names(t, v)
		}
		names(t, v)
		const answers = `{"k 1":{"action":"accept","content":{"password":"p"}}}`
		first := must(t, v, modernRequest(alice, getX))
		second := must(t, v, modernRequest(alice, getX))
		var others []string
		swap(source("other", modernAsker(askName, &others)))
		if o, err := send(t, t.Context(), v, modernRequest(alice, retry(first.State, answers))); err == nil || len(others) != 0 {
			t.Errorf("another source was told %q: %s", others, o.raw)
		}
		swap(source("one", modernAsker(askName, &seen))) // the first again, under other settings
		if o := must(t, v, modernRequest(alice, retry(second.State, answers))); o.text() != "done" {
			t.Error(o.raw)
		}

		swap(source("one", taskMaker("mine")))
		id := taskID(t, must(t, v, modernRequest(alice, getX)))
		swap(source("other", taskMaker("another's")))
		if raw, err := v.Handle(t.Context(), taskRequest("tasks/get", id)); err == nil {
			t.Errorf("another source's task: %s", raw)
		}
		swap(source("one", taskMaker("mine")))
		if raw, err := v.Handle(t.Context(), taskRequest("tasks/get", id)); err != nil {
			t.Errorf("%s %v", raw, err)
		}
	})
}

// A source that may ask nothing may not do so by way of a task either.
func TestTasksAskNothingWhereAskingIsDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const asking = `{"taskId":"1","status":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"password?"}}}}`
		r := newRich(t, "crm", "get")
		r.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			if c.Op == upstream.GetTask {
				return upstream.ParseResult([]byte(asking))
			}
			return taskMaker("")(ctx, c)
		}
		m := asMember(r)
		m.DenyAsk = true
		v, _ := start(t, aggregate.Options{}, m)
		names(t, v)
		id := taskID(t, must(t, v, modernRequest(alice, getX)))
		if raw, err := v.Handle(t.Context(), taskRequest("tasks/get", id)); err == nil {
			t.Errorf("asked: %s", raw)
		}
		var heard told
		granted, cancel := v.Subscribe(t.Context(), aggregate.Subscription{Principal: alice, Tasks: []string{id}, Tell: heard.note})
		defer cancel()
		r.events().Note(upstream.NoteTask, json.RawMessage(asking))
		want := fmt.Sprintf(`notifications/tasks %s {"taskId":%q,"status":"input_required"}`, id, id)
		if got := heard.take(); len(granted.Tasks) != 1 || len(got) != 1 || got[0] != want {
			t.Errorf("told %q, want %s", got, want)
		}
	})
}
