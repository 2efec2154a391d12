package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// target is where a request goes that is no tool call.
type target struct {
	m      *member
	name   string          // the upstream's own name of what is asked for, or its URI
	said   string          // the same as the client said it
	params json.RawMessage // as they go up
}

// finder finds the target of a request. The error is an *upstream.RPCError.
type finder func(context.Context, *Request) (target, error)

// relay has an upstream answer a request.
func (v *View) relay(ctx context.Context, r *Request, find finder) (json.RawMessage, error) {
	if !r.Principal.Valid() {
		return nil, errNobody
	}
	to, err := find(ctx, r)
	if err != nil {
		return nil, err
	}
	arguments, _ := rawjson.Get(to.params, "arguments")
	c := &upstream.Call{
		ID: v.agg.calls.next(), Principal: r.Principal,
		Session: r.Session, Client: r.Client,
		Op: upstream.Op(r.Method), Upstream: to.m.ID, Name: to.name, Exposed: to.said,
		Params: to.params, Arguments: arguments, Back: r.Back, Timing: &upstream.Timing{},
	}
	res, err := to.m.converse(ctx, r, c)
	if err != nil {
		return nil, protocolError(upstream.AsError(to.m.ID, to.name, err), r.Modern)
	}
	res = v.offer().exposeResult(to.m, res)
	return cacheable(c.Op, res, forEra(res, r.Modern, r.Version), r.Modern), nil
}

// cacheable gives a result that a modern client may cache the members that say
// for how long and for whom (MCP 2026-07-28, caching): the upstream's own where
// it speaks of that revision, otherwise not at all.
func cacheable(op upstream.Op, res *upstream.Result, raw json.RawMessage, modern bool) json.RawMessage {
	switch op {
	case upstream.ReadResource, upstream.ReadDir, upstream.GetSkill:
	default:
		return raw
	}
	if !modern || res.Type != upstream.Final {
		return raw
	}
	typ, _ := res.Get(memberResultType)
	meant := string(typ) == string(resultComplete) // a legacy server's ttlMs would be a member of its own
	for _, m := range []struct{ name, value string }{{memberTTL, "0"}, {memberScope, `"private"`}} {
		if _, has := res.Get(m.name); has && meant {
			continue
		}
		if with, err := rawjson.Set(raw, m.name, []byte(m.value)); err == nil {
			raw = with
		}
	}
	return raw
}

// find returns the entry of a list by its exposed name; nil if there is none. A
// request that comes before the catalog is there waits for it like a list does.
func (v *View) find(ctx context.Context, l upstream.List, name string) *entry {
	if e := v.offer().list(l).index[name]; e != nil {
		return e
	}
	v.agg.ready(ctx, l, func() bool { return v.offer().list(l).complete || v.offer().list(l).index[name] != nil })
	return v.offer().list(l).index[name]
}

// unknown is the error of a name that is on no list.
func (o *offer) unknown(what string, l upstream.List, name string) *upstream.RPCError {
	msg := fmt.Sprintf("unknown %s: %q", what, Printable(name, 200))
	if meant := o.suggest(l, name); len(meant) > 0 {
		msg += "; perhaps " + strings.Join(meant, " or ") + " is meant"
	}
	if missing := o.unlisted(l); len(missing) > 0 {
		msg += fmt.Sprintf("; the %s of %s are not known yet", l, strings.Join(missing, ", "))
	}
	return invalid(msg, nil)
}

// unlisted returns the upstreams that have never listed theirs.
func (o *offer) unlisted(l upstream.List) []string {
	var out []string
	for _, m := range o.members {
		if m.contents(l) == nil {
			out = append(out, string(m.ID))
		}
	}
	return out
}

func (v *View) findPrompt(ctx context.Context, r *Request) (target, error) {
	raw, _ := rawjson.Get(r.Params, "name")
	if rawjson.Kind(raw) != '"' {
		return target{}, invalid("params.name is missing or not a string", nil)
	}
	name := rawjson.String(raw)
	e := v.find(ctx, upstream.Prompts, name)
	if e == nil {
		return target{}, v.offer().unknown("prompt", upstream.Prompts, name)
	}
	return target{e.m, e.key, name, r.Params}, nil
}

func (v *View) findResource(ctx context.Context, r *Request) (target, error) {
	raw, _ := rawjson.Get(r.Params, "uri")
	if rawjson.Kind(raw) != '"' {
		return target{}, invalid("params.uri is missing or not a string", nil)
	}
	uri := rawjson.String(raw)
	m, own, aliases := v.locate(ctx, uri)
	if m == nil {
		return target{}, noResource(uri, aliases, r.Modern)
	}
	return target{m, own, uri, r.Params}, nil
}

// findReference finds what a completion is for, and puts the upstream's own
// name of it in the place of ours.
func (v *View) findReference(ctx context.Context, r *Request) (target, error) {
	ref, _ := rawjson.Get(r.Params, "ref")
	typ, _ := rawjson.GetString(ref, "type")
	var to target
	var member string
	switch typ {
	case "ref/prompt":
		member = "name"
	case "ref/resource":
		member = "uri"
	default:
		return to, invalid(`params.ref.type must be "ref/prompt" or "ref/resource"`, nil)
	}
	raw, _ := rawjson.Get(ref, member)
	if rawjson.Kind(raw) != '"' {
		return to, invalid("params.ref."+member+" is missing or not a string", nil)
	}
	to.said = rawjson.String(raw)
	if typ == "ref/prompt" {
		e := v.find(ctx, upstream.Prompts, to.said)
		if e == nil {
			return to, v.offer().unknown("prompt", upstream.Prompts, to.said)
		}
		to.m, to.name = e.m, e.key
	} else if e := v.find(ctx, upstream.Templates, to.said); e != nil {
		to.m, to.name = e.m, e.key
	} else {
		var aliases []string
		if to.m, to.name, aliases = v.locate(ctx, to.said); to.m == nil {
			return to, noResource(to.said, aliases, true)
		}
	}
	to.params = r.Params
	if to.name != to.said {
		set, err := rawjson.Set(ref, member, rawjson.Quote(to.name))
		if err == nil {
			to.params, err = rawjson.Set(r.Params, "ref", set)
		}
		if err != nil { // both have been seen to be objects
			return to, invalid(err.Error(), nil)
		}
	}
	return to, nil
}

func (v *View) findTask(_ context.Context, r *Request) (target, error) {
	said, _ := rawjson.GetString(r.Params, "taskId")
	m, id, err := v.taskTarget(r)
	if err != nil {
		return target{}, err
	}
	return target{m, id, said, r.Params}, nil
}

// locate finds the upstream of a URI, see [offer.locate]. One that comes before
// the catalog is there waits for it.
func (v *View) locate(ctx context.Context, uri string) (m *member, own string, aliases []string) {
	o := v.offer()
	for _, l := range []upstream.List{upstream.Resources, upstream.Templates} {
		if o.list(l).index[uri] != nil {
			break
		}
		v.agg.ready(ctx, l, func() bool { return v.offer().list(l).complete })
	}
	return v.offer().locate(uri)
}

// noResource is the error of a URI that leads nowhere, or to several upstreams.
func noResource(uri string, aliases []string, modern bool) *upstream.RPCError {
	data, err := json.Marshal(map[string]string{"uri": uri})
	if err != nil { // a string always marshals
		data = nil
	}
	if len(aliases) > 0 {
		return invalid("several sources have this resource: ask for "+strings.Join(aliases, " or "), data)
	}
	e := invalid("Resource not found", data)
	if !modern {
		e.Code = codeNotFound
	}
	return e
}
