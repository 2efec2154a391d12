package aggregate

import (
	"encoding/json"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The extensions of the protocol that are carried from one side to the other.
const (
	extensionTasks  = "io.modelcontextprotocol/tasks"
	extensionSkills = "io.modelcontextprotocol/skills"
	extensionUI     = "io.modelcontextprotocol/ui"
)

var carried = []string{extensionSkills, extensionTasks, extensionUI}

const (
	memberTaskID  = "taskId"
	memberResult  = "result"
	memberRelated = "io.modelcontextprotocol/related-task"
)

// declares reports whether ClientCapabilities name an extension.
func declares(caps json.RawMessage, extension string) bool {
	extensions, _ := rawjson.Get(caps, "extensions")
	_, ok := rawjson.Get(extensions, extension)
	return ok
}

func isTaskOp(o upstream.Op) bool {
	return o == upstream.GetTask || o == upstream.UpdateTask || o == upstream.CancelTask
}

// taskTarget returns whose task a request names, and the upstream's own id of
// it. The error is an *upstream.RPCError (extension tasks, §Capability and
// §Errors).
func (v *View) taskTarget(r *Request) (*member, string, error) {
	if !r.Modern || !declares(r.Back.Capabilities, extensionTasks) {
		return nil, "", &upstream.RPCError{Code: codeMissingCapability,
			Message: "tasks take the client capability extensions[" + extensionTasks + "]",
			Data:    json.RawMessage(`{"requiredCapabilities":{"extensions":{"` + extensionTasks + `":{}}}}`)}
	}
	sealed, ok := rawjson.GetString(r.Params, memberTaskID)
	if !ok {
		return nil, "", &upstream.RPCError{Code: upstream.CodeInvalidParams, Message: "params.taskId is missing or not a string"}
	}
	if m, task, ok := v.taskOf(r.Principal, sealed); ok {
		return m, task, nil
	}
	return nil, "", &upstream.RPCError{Code: upstream.CodeInvalidParams, Message: "unknown task: it is not one of this client's, " +
		"or its source has been taken out"}
}

// taskOf returns whose task a principal knows under an id, and the upstream's
// own id of it.
func (v *View) taskOf(p upstream.Principal, sealed string) (*member, string, bool) {
	ref, ok := v.agg.asked.seals.openTask(p, sealed)
	if !ok || v.id != "" && v.id != ref.upstream {
		return nil, "", false
	}
	m := memberCalled(v.agg.members(), ref.upstream)
	return m, ref.task, m != nil && ref.source == markOf(m.Identity)
}

// exposeTask returns an object that tells the state of a task (schema
// DetailedTask of the extension), such as the params of notifications/tasks, as
// a principal may see it: under our id, and with the source's name in questions.
func (m *member) exposeTask(p upstream.Principal, obj json.RawMessage) json.RawMessage {
	ref := taskRef{upstream: m.ID, source: markOf(m.Identity)}
	sealed := func(raw json.RawMessage) json.RawMessage {
		if rawjson.Kind(raw) != '"' {
			return raw
		}
		ref.task = rawjson.String(raw)
		return rawjson.Quote(m.agg.asked.seals.sealTask(p, ref))
	}
	related := func(meta json.RawMessage) json.RawMessage {
		return replace(meta, memberRelated, func(to json.RawMessage) json.RawMessage {
			return replace(to, memberTaskID, sealed)
		})
	}
	obj = replace(obj, memberTaskID, sealed)
	obj = replace(obj, memberMeta, related)
	obj = replace(obj, memberResult, func(res json.RawMessage) json.RawMessage { return replace(res, memberMeta, related) })
	if m.DenyAsk {
		return rawjson.Delete(obj, memberRequests)
	}
	return replace(obj, memberRequests, func(requests json.RawMessage) json.RawMessage { return attributedAll(m.ID, requests) })
}

// replace returns obj with the value of one member replaced by what f makes of
// it, if it has that member.
func replace(obj json.RawMessage, name string, f func(json.RawMessage) json.RawMessage) json.RawMessage {
	v, ok := rawjson.Get(obj, name)
	if !ok {
		return obj
	}
	to := f(v)
	if slices.Equal(v, to) {
		return obj
	}
	return set(obj, name, to)
}

// taskResult returns a result that tells of a task as a principal may see it.
func (t conversation) taskResult(res *upstream.Result) (*upstream.Result, error) {
	if id, ok := res.Get(memberTaskID); res.Type == upstream.TaskCreated && (!ok || rawjson.Kind(id) != '"' || len(id) > maxTaskID) {
		return nil, t.fault(upstream.UpstreamError, "it answered with a task whose id cannot be used")
	}
	if asks, _ := res.Get(memberRequests); t.m.DenyAsk && rawjson.Kind(asks) == '{' {
		return nil, t.denied()
	}
	return res.With(t.m.exposeTask(t.c.Principal, res.Raw)), nil
}
