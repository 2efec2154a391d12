package aggregate

import (
	"context"
	"encoding/json"
	"strconv"
	"sync/atomic"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// View is the aggregate as one client endpoint sees it: everything, or one
// upstream alone under its own names.
type View struct {
	agg *Aggregate
	id  upstream.ID // "" for everything
}

// View returns the view of one upstream, or of everything for "". It reports
// false if there is no such upstream.
func (a *Aggregate) View(id string) (*View, bool) {
	if a.snap.Load().offer(upstream.ID(id)) == nil {
		return nil, false
	}
	return &View{a, upstream.ID(id)}, true
}

// offer returns what the view offers now: nothing if its upstream has been
// taken out of the configuration.
func (v *View) offer() *offer {
	if o := v.agg.snap.Load().offer(v.id); o != nil {
		return o
	}
	return (&draft{names: new(newNamers())}).offer(nil)
}

// members returns the members that the view is of, sorted by ID.
func (v *View) members() []*member {
	all := v.agg.members()
	if v.id == "" {
		return all
	}
	if m := memberCalled(all, v.id); m != nil {
		return []*member{m}
	}
	return nil
}

// Handle answers one request by its method: the whole result object, in the
// client's era. The error is an *upstream.RPCError; for a method that is not
// known here its code is CodeMethodNotFound.
func (v *View) Handle(ctx context.Context, r *Request) (json.RawMessage, error) {
	switch r.Method {
	case "tools/call":
		return v.CallTool(ctx, r)
	case "tools/list":
		return v.list(ctx, r, upstream.Tools)
	case "prompts/list":
		return v.list(ctx, r, upstream.Prompts)
	case "resources/list":
		return v.list(ctx, r, upstream.Resources)
	case "resources/templates/list":
		return v.list(ctx, r, upstream.Templates)
	case "skills/list":
		return v.list(ctx, r, upstream.Skills)
	case "prompts/get":
		return v.relay(ctx, r, v.findPrompt)
	case "resources/read", "resources/directory/read", "skills/get":
		return v.relay(ctx, r, v.findResource)
	case "completion/complete":
		return v.relay(ctx, r, v.findReference)
	case "tasks/get", "tasks/update", "tasks/cancel":
		return v.relay(ctx, r, v.findTask)
	}
	return nil, &upstream.RPCError{Code: upstream.CodeMethodNotFound, Message: "method not found"}
}

// ListTools answers tools/list: the whole result object, in the client's era.
// The error is an *upstream.RPCError.
func (v *View) ListTools(ctx context.Context, r *Request) (json.RawMessage, error) {
	return v.list(ctx, r, upstream.Tools)
}

// list answers a request for a list, or for a page of one.
func (v *View) list(ctx context.Context, r *Request, l upstream.List) (json.RawMessage, error) {
	behind, fault := v.agg.cursors.behind(r, v.id, l)
	if fault != nil {
		return nil, fault
	}
	v.agg.clients.seen(r.Client)
	v.await(ctx, l, r.Principal)
	seal := func(m mark) string { return v.agg.cursors.seal(v.id, l, r.Principal, m) }
	return v.offer().list(l).host(r.Client).page(l, r.Modern, behind, v.agg.cursors.size, seal), nil
}

// await waits for a list that somebody wants to know, see [Aggregate.ready], and
// has upstreams asked that may say more by then.
func (v *View) await(ctx context.Context, l upstream.List, p upstream.Principal) {
	v.agg.ready(ctx, l, func() bool { return v.offer().list(l).complete })
	for _, m := range v.offer().members {
		f := m.feeds.at(l)
		f.wanted()
		if m.Users != nil && l == upstream.Tools && f.missing() {
			m.Users.Visit(p)
		}
	}
}

// CallTool answers tools/call: the whole result object, in the client's era. A
// failing upstream is a result with isError; only a call that names no tool of
// ours, or whose header fields contradict it, is an error, an
// *upstream.RPCError.
func (v *View) CallTool(ctx context.Context, r *Request) (json.RawMessage, error) {
	var name, arguments json.RawMessage
	for m := range rawjson.Members(r.Params) {
		switch m.Name {
		case "name":
			name = m.Value
		case "arguments":
			arguments = m.Value
		}
	}
	if rawjson.Kind(name) != '"' {
		return nil, invalid("params.name is missing or not a string", nil)
	}
	if !r.Principal.Valid() {
		return nil, errNobody
	}
	exposed := rawjson.String(name)
	e := v.find(ctx, upstream.Tools, exposed)
	if e == nil {
		return nil, v.offer().unknown("tool", upstream.Tools, exposed)
	}
	if err := checkHeaders(r.Header, e.tool, r.Params); err != nil {
		return nil, err
	}
	params := r.Params
	if left := e.sent(arguments); len(left) != len(arguments) {
		params, arguments = set(params, "arguments", left), left
	}
	if e.m == nil && e.name == toolCall {
		if params, err := directed(params, arguments); err == nil {
			meant := *r
			meant.Params, meant.Header = params, nil
			return v.CallTool(ctx, &meant)
		}
	}
	defer v.agg.opt.Observer.Asked(r)()
	var made struct { // one allocation
		upstream.Call
		timing upstream.Timing
	}
	c := &made.Call
	*c = upstream.Call{
		ID: v.agg.calls.next(), Principal: r.Principal,
		Session: r.Session, Client: r.Client,
		Op: upstream.CallTool, Upstream: e.tool.Upstream, Name: e.tool.Name, Tool: e.tool, Exposed: exposed,
		Params: params, Arguments: arguments, Back: r.Back, Timing: &made.timing,
	}
	var res *upstream.Result
	var failed error
	if e.m != nil {
		res, failed = e.m.converse(ctx, r, c)
	} else { // our own tools ask nothing
		res, failed = e.handler(ctx, c)
	}
	if rpc := refused(failed); rpc != nil {
		return nil, rpc
	}
	if failed != nil {
		res = failureResult(upstream.AsError(e.tool.Upstream, e.tool.Name, failed))
	}
	return forEra(v.offer().exposeResult(e.m, res), r.Modern, r.Version), nil
}

var errNobody = &upstream.RPCError{Code: upstream.CodeInternal, Message: "the call has no principal"}

// callIDs numbers calls.
type callIDs struct{ last atomic.Uint64 }

func (c *callIDs) next() string { return strconv.FormatUint(c.last.Add(1), 36) }

// Instructions returns the server instructions, less than 2 KB.
func (v *View) Instructions() string { return v.agg.instructions(v.id) }

// Extensions returns the settings of each extension of the protocol that one of
// the upstreams declares and we carry, by its identifier; nil if there is none.
// Where several declare it the first one's count.
func (v *View) Extensions() map[string]json.RawMessage {
	var out map[string]json.RawMessage
	for _, m := range v.offer().members {
		x, ok := m.Adapter.(upstream.Extender)
		if !ok {
			continue
		}
		declared := x.Extensions()
		for _, id := range carried {
			settings, has := declared[id]
			if _, known := out[id]; !has || known {
				continue
			}
			if out == nil {
				out = make(map[string]json.RawMessage)
			}
			out[id] = settings
		}
	}
	return out
}
