package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Call implements [upstream.Adapter]. The result is the upstream's own text. An
// error object of the upstream is an *[upstream.Error] with RPC set; its kind
// is InvalidArguments for code -32602, NotFound for -32002 where a resource was
// read, RateLimited where it asks to wait, and UpstreamError for every other.
// Progress is asked for where the call wants it, under a token of ours; no more
// than 1,000 notifications a second and 64 KiB each are passed on, and as many
// log messages. What a legacy server asks goes to the call on whose stream it
// came; on a channel that all calls share to the oldest call that can be asked,
// where no other user or conversation can be meant, and else it is refused.
func (a *Adapter) Call(ctx context.Context, call *upstream.Call) (*upstream.Result, error) {
	token, stop := a.progress.follow(call.Back.Progress)
	defer stop()
	g := newGuest(ctx, call)
	defer g.leave()
	ans, c, err := a.exchange(ctx, func(p *peer) (request, error) {
		r, err := callRequest(call, p, p.callMeta(call, token, a.opt.DenyAsk))
		r.from = visit{call, g, p.modern}
		return r, err
	})
	if err != nil {
		return nil, named(a, err, toolOf(call), string(call.Op))
	}
	res, err := parseResult(ans, c.peer.modern)
	if err == nil && res.Type == upstream.InputRequired && a.opt.DenyAsk {
		err = failure(upstream.UpstreamError, true, `it asks for input, which the configuration denies (ask = "deny")`, nil)
	}
	if err != nil {
		return nil, named(a, err, toolOf(call), string(call.Op))
	}
	return res, nil
}

// parseResult finds out what a result is (MCP 2026-07-28, basic, §Results):
// absent means complete. Before that the member is a server's own.
func parseResult(ans answer, modern bool) (*upstream.Result, error) {
	res, err := upstream.IndexedResult(ans.result, ans.members)
	if err != nil {
		return nil, failure(upstream.UpstreamError, true, "answered with a result that is not an object", err)
	}
	res.Quota = ans.quota
	typ, ok := res.Get("resultType")
	if !ok || !modern {
		return res, nil
	}
	switch rawjson.String(typ) {
	case "complete":
	case "input_required":
		res.Type = upstream.InputRequired
	case "task":
		res.Type = upstream.TaskCreated
	default:
		return nil, failure(upstream.UpstreamError, true, "answered with a result of a type that Bulkhead does not know",
			fmt.Errorf("resultType %.40s", typ))
	}
	return res, nil
}

// exchange sends one request on the current connection and returns the result.
// build makes it for that connection, or refuses to.
// A request that provably was not executed because the connection proved
// unusable is sent once more, on the next one.
func (a *Adapter) exchange(ctx context.Context, build func(*peer) (request, error)) (answer, *conn, error) {
	if !a.enter() {
		return answer{}, nil, failure(upstream.Unavailable, false, "it is shut down", errStopped)
	}
	defer a.calls.Done()
	for again := false; ; again = true {
		c, err := a.board.await(ctx)
		if err != nil {
			return answer{}, nil, err
		}
		req, err := build(c.peer)
		if err != nil {
			return answer{}, c, err
		}
		c.lower(ctx, req.from.guest, a.opt.Log)
		desk := c.link.desk()
		desk.enter(req.from)
		ans, err := c.link.do(ctx, c.peer, req)
		desk.leave(req.from, givenUp(err))
		if err == nil && ans.rpc == nil {
			return ans, c, nil
		}
		if err == nil {
			err = judge(c, req.method, ans.rpc)
			if ans.rpc.Code == codeHeaderMismatch && req.method == methodCall {
				a.news.changed(upstream.Tools) // our idea of its header annotations is out of date
			}
		}
		b := brokenBy(err)
		if b == nil {
			return answer{}, c, err
		}
		a.board.report(c, err)
		if !b.again || again {
			return answer{}, c, err
		}
	}
}

// givenUp reports whether the server may still be at a request that failed.
func givenUp(err error) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	return ok && e.Sent && (e.Kind == upstream.Cancelled || e.Kind == upstream.Timeout)
}

// judge makes a failure of an error object and adds what it says about the
// connection.
func judge(c *conn, method string, rpc *upstream.RPCError) error {
	e := rpcFailure(rpc)
	switch {
	case c.peer.contradictedBy(method, rpc):
		return contradiction(rpc)
	case rpc.Code == codeNoResource && strings.HasPrefix(method, "resources/"):
		e.Kind = upstream.NotFound
	}
	return e
}

// named completes a failure with where it happened.
func named(a *Adapter, err error, tool, op string) error {
	e := *upstream.AsError(a.opt.ID, tool, err)
	e.Upstream, e.Tool, e.Op = a.opt.ID, tool, op
	return &e
}
