package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func typed(t *testing.T, typ upstream.ResultType, raw string) upstream.Handler {
	t.Helper()
	return func(context.Context, *upstream.Call) (*upstream.Result, error) {
		res, err := upstream.ParseResult(json.RawMessage(raw))
		res.Type = typ
		return res, err
	}
}

type idle struct{}

func (idle) Tools(context.Context) ([]upstream.Tool, error) { return nil, nil }
func (idle) Close() error                                   { return nil }
func (idle) Call(context.Context, *upstream.Call) (*upstream.Result, error) {
	return nil, errors.New("not called")
}

func bareView(t *testing.T) *View {
	t.Helper()
	a, err := New([]Member{{ID: "crm", Adapter: idle{}}, {ID: "erp", Adapter: idle{}}}, Options{StateKey: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := a.View("")
	return v
}

// do converses as a client with these capabilities.
func do(t *testing.T, op upstream.Op, modern bool, caps string, h upstream.Handler) (string, error) {
	t.Helper()
	r := &Request{Principal: upstream.Local(), Modern: modern}
	c := &upstream.Call{Principal: r.Principal, Op: op, Upstream: "crm", Name: "x", Params: json.RawMessage(`{}`), Timing: &upstream.Timing{},
		Back: upstream.Back{Capabilities: json.RawMessage(caps)}}
	m := memberCalled(bareView(t).agg.members(), "crm")
	m.handler = h
	res, err := m.converse(t.Context(), r, c)
	if err != nil {
		return "", err
	}
	return string(forEra(res, modern, "")), nil
}

const withTasks = `{"extensions":{"io.modelcontextprotocol/tasks":{}}}`

// Only three methods may be answered with questions, and only tools/call with
// a task, for a client that knows tasks.
func TestResultTypesByMethod(t *testing.T) {
	const questions, task = `{"resultType":"input_required","requestState":"s"}`, `{"resultType":"task","taskId":"t"}`
	for op, may := range map[upstream.Op]bool{upstream.CallTool: true, upstream.GetPrompt: true, upstream.ReadResource: true,
		upstream.Complete: false, upstream.GetTask: false, upstream.UpdateTask: false, upstream.CancelTask: false, upstream.GetSkill: false} {
		raw, err := do(t, op, true, "", typed(t, upstream.InputRequired, questions))
		if may != (err == nil) || may && !strings.HasPrefix(raw, `{"resultType":"input_required","requestState":"`) {
			t.Errorf("%s asks: %s %v", op, raw, err)
		}
		if e := upstream.AsError("", "", err); err != nil && (e.Kind != upstream.UpstreamError || !strings.Contains(e.Public, "does not allow")) {
			t.Errorf("%s asks: %v", op, err)
		}
		raw, err = do(t, op, true, withTasks, typed(t, upstream.TaskCreated, task))
		if (op == upstream.CallTool) != (err == nil) {
			t.Errorf("%s makes a task: %s %v", op, raw, err)
		}
	}
	for what, caps := range map[string]string{"no extensions": `{}`, "another": `{"extensions":{"x/y":{}}}`} {
		if raw, err := do(t, upstream.CallTool, true, caps, typed(t, upstream.TaskCreated, task)); err == nil {
			t.Errorf("a task for a client with %s: %s", what, raw)
		}
	}
	if raw, err := do(t, upstream.CallTool, false, withTasks, typed(t, upstream.TaskCreated, task)); err == nil {
		t.Errorf("a task for a legacy client: %s", raw)
	}
	if raw, err := do(t, upstream.CallTool, true, withTasks, typed(t, upstream.TaskCreated, `{"taskId":5}`)); err == nil {
		t.Errorf("a task without a usable id: %s", raw)
	}
}

func TestCapabilitiesForAnUpstream(t *testing.T) {
	for _, tt := range []struct{ caps, legacy, modern, denied string }{
		{"", "", "", ""},
		{`{"roots":{}}`, `{"roots":{}}`, `{"roots":{}}`, `{}`},
		{`{"x":1, "elicitation":{"a":1},"extensions":{"io.modelcontextprotocol/ui":{"b":2},"io.modelcontextprotocol/tasks":{},"x/y":{}}}`,
			`{"x":1, "elicitation":{"a":1},"extensions":{"io.modelcontextprotocol/ui":{"b":2}}}`,
			`{"x":1, "elicitation":{"a":1},"extensions":{"io.modelcontextprotocol/ui":{"b":2},"io.modelcontextprotocol/tasks":{}}}`,
			`{"x":1,"extensions":{"io.modelcontextprotocol/ui":{"b":2},"io.modelcontextprotocol/tasks":{}}}`},
	} {
		got := []string{string(capabilitiesFor([]byte(tt.caps), false, false)), string(capabilitiesFor([]byte(tt.caps), true, false)),
			string(capabilitiesFor([]byte(tt.caps), true, true))}
		if diff := cmp.Diff([]string{tt.legacy, tt.modern, tt.denied}, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTasksUnderOurIDs(t *testing.T) {
	v := bareView(t)
	id := v.agg.asked.seals.sealTask(upstream.Local(), taskRef{"crm", markOf(""), "t1"})
	raw, err := do(t, upstream.GetTask, true, withTasks, typed(t, upstream.Final, `{"taskId":"t1","status":"input_required",`+
		`"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t1"},"x":1},"result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t0"}}},`+
		`"inputRequests":{"k":{"method":"elicitation/create","params":{"message":"m"}}}}`))
	zero := v.agg.asked.seals.sealTask(upstream.Local(), taskRef{"crm", markOf(""), "t0"})
	want := strings.NewReplacer("T1", id, "T0", zero).Replace(`{"taskId":"T1","status":"input_required",` +
		`"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"T1"},"x":1},"result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"T0"}}},` +
		`"inputRequests":{"k":{"method":"elicitation/create","params":{"message":"[crm] m"}}},"resultType":"complete"}`)
	if diff := cmp.Diff(want, raw); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	raw, err = do(t, upstream.CallTool, true, withTasks, typed(t, upstream.TaskCreated, `{"resultType":"task","taskId":"t1"}`))
	if err != nil || raw != `{"resultType":"task","taskId":"`+id+`"}` {
		t.Errorf("%s %v", raw, err)
	}
}

func TestTaskTarget(t *testing.T) {
	v := bareView(t)
	lone, _ := v.agg.View("erp")
	p := upstream.NewPrincipal("i", "a")
	id := v.agg.asked.seals.sealTask(p, taskRef{"crm", markOf(""), "t1"})
	request := func(who upstream.Principal, params string) *Request {
		return &Request{Principal: who, Modern: true, Params: json.RawMessage(params), Back: upstream.Back{Capabilities: json.RawMessage(withTasks)}}
	}
	named := `{"taskId":"` + id + `"}`
	m, task, err := v.taskTarget(request(p, named))
	if err != nil || m.ID != "crm" || task != "t1" {
		t.Errorf("%v %q %v", m, task, err)
	}
	bare := request(p, named)
	bare.Back.Capabilities = nil
	legacy := request(p, named)
	legacy.Modern = false
	for what, tt := range map[string]struct {
		v    *View
		r    *Request
		code int
	}{
		"another principal":  {v, request(upstream.Local(), named), -32602},
		"another view":       {lone, request(p, named), -32602},
		"a source that left": {v, request(p, `{"taskId":"`+v.agg.asked.seals.sealTask(p, taskRef{"gone", markOf(""), "t1"})+`"}`), -32602},
		"no id":              {v, request(p, `{"taskId":1}`), -32602},
		"not ours":           {v, request(p, `{"taskId":"t1"}`), -32602},
		"no capability":      {v, bare, -32021},
		"a legacy client":    {v, legacy, -32021},
	} {
		_, _, err := tt.v.taskTarget(tt.r)
		var rpc *upstream.RPCError
		if !errors.As(err, &rpc) || rpc.Code != tt.code {
			t.Errorf("%s: %v", what, err)
		}
	}
}
