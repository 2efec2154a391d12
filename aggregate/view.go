package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// View is the aggregate as one client endpoint sees it: everything, or one
// upstream alone under its own tool names.
type View struct {
	agg *Aggregate
	id  upstream.ID // "" for everything
}

// View returns the view of one upstream, or of everything for "". It reports
// false if there is no such upstream.
func (a *Aggregate) View(id string) (*View, bool) {
	if a.snap.Load().pages(upstream.ID(id)) == nil {
		return nil, false
	}
	return &View{a, upstream.ID(id)}, true
}

// pages returns what the view offers now: nothing if its upstream has been
// taken out of the configuration.
func (v *View) pages() *pages {
	if p := v.agg.snap.Load().pages(v.id); p != nil {
		return p
	}
	return serialise(nil, true)
}

// Handle answers one request by its method: the whole result object, in the
// client's era. The error is an *upstream.RPCError; for a method that is not
// known here its code is CodeMethodNotFound.
func (v *View) Handle(ctx context.Context, r *Request) (json.RawMessage, error) {
	switch r.Method {
	case "tools/call":
		return v.CallTool(ctx, r)
	case "tools/list":
		return v.ListTools(ctx, r)
	}
	return nil, &upstream.RPCError{Code: upstream.CodeMethodNotFound, Message: "method not found"}
}

// ListTools answers tools/list: the whole result object, in the client's era.
// There is one page; a cursor is refused. The error is an *upstream.RPCError.
func (v *View) ListTools(ctx context.Context, r *Request) (json.RawMessage, error) {
	if cursor, ok := rawjson.Get(r.Params, "cursor"); ok && !rawjson.IsNull(cursor) {
		return nil, &upstream.RPCError{Code: upstream.CodeInvalidParams,
			Message: "unknown cursor: this list has one page; leave the cursor out"}
	}
	v.agg.ready(ctx, func() bool { return v.pages().complete })
	p := v.pages()
	if r.Modern {
		return p.modern, nil
	}
	return p.legacy, nil
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
		return nil, &upstream.RPCError{Code: upstream.CodeInvalidParams, Message: "params.name is missing or not a string"}
	}
	if !r.Principal.Valid() {
		return nil, &upstream.RPCError{Code: upstream.CodeInternal, Message: "the call has no principal"}
	}
	exposed := rawjson.String(name)
	e, err := v.lookup(ctx, exposed)
	if err != nil {
		return nil, err
	}
	if err := checkHeaders(r.Header, e.tool, r.Params); err != nil {
		return nil, err
	}
	c := &upstream.Call{
		ID: strconv.FormatUint(v.agg.calls.Add(1), 36), Principal: r.Principal,
		Session: r.Session, Client: r.Client,
		Op: upstream.CallTool, Upstream: e.tool.Upstream, Name: e.tool.Name, Tool: e.tool, Exposed: exposed,
		Params: r.Params, Arguments: arguments, Back: r.Back, Timing: &upstream.Timing{},
	}
	res, failed := v.converse(ctx, r, c, e.handler)
	if rpc := refused(failed); rpc != nil {
		return nil, rpc
	}
	if failed != nil {
		res = failureResult(upstream.AsError(e.tool.Upstream, e.tool.Name, failed))
	}
	return rawjson.OneLine(forEra(res, r.Modern)), nil
}

// lookup finds a tool by its exposed name. A call that comes before the
// catalog is there waits for it like a list does.
func (v *View) lookup(ctx context.Context, name string) (*entry, error) {
	e, ok := v.pages().index[name]
	if !ok {
		v.agg.ready(ctx, func() bool { _, there := v.pages().index[name]; return there })
		e, ok = v.pages().index[name]
	}
	if ok {
		return e, nil
	}
	msg := fmt.Sprintf("unknown tool: %q", Printable(name, 200))
	if missing := v.unlisted(); len(missing) > 0 {
		msg += fmt.Sprintf("; the tools of %s are not known yet", strings.Join(missing, ", "))
	}
	return nil, &upstream.RPCError{Code: upstream.CodeInvalidParams, Message: msg}
}

// unlisted returns the upstreams that have never listed their tools.
func (v *View) unlisted() []string {
	var out []string
	for _, m := range v.agg.members() {
		if m.list.Load() == nil && (v.id == "" || v.id == m.ID) {
			out = append(out, string(m.ID))
		}
	}
	return out
}

// Instructions returns the server instructions, less than 2 KB.
func (v *View) Instructions() string { return v.agg.instructions(v.id) }

// Extensions returns the settings of each extension of the protocol that is
// offered, by its identifier; nil if there is none.
func (v *View) Extensions() map[string]json.RawMessage { return nil }
