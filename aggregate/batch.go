package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The tools that carry out a whole plan of calls.
const (
	toolBatch     = ownPrefix + "batch"
	toolBatchRead = ownPrefix + "batch_read"
)

// batchSchema does not declare null, which is taken for what is left out: with a list of
// types, some hosts fail at every request to Gemini (https://github.com/github/copilot-cli/issues/4623),
// and at an enum without a type (https://github.com/google-gemini/gemini-cli/issues/4400).
const batchSchema = `{"type":"object","properties":{` +
	`"calls":{"type":"array","minItems":1,"description":"The calls.","items":{"type":"object","properties":{` +
	`"id":{"type":"string"},"tool":{"type":"string"},"arguments":{"type":"object"},"after":{"type":"array","items":{"type":"string"}},` +
	`"map":{"type":"object"},"on_error":{"type":"string","enum":["skip","null","fail"]}},"required":["id","tool"]}},` +
	`"deadline_ms":{"type":"integer","minimum":1,"description":"How long the whole plan may take."},` +
	`"max_result_bytes":{"type":"integer","minimum":1024,"description":"How long the results may be together; the longest are left out and can be read with bulkhead_read_more."},` +
	`"fresh":{"type":"boolean","description":"Make calls anew that succeeded when the same plan was sent a short time ago. Default false."}},` +
	`"required":["calls"],"additionalProperties":false}`

const batchText = `Carries out a plan of up to 64 tool calls in one go: calls that do not depend on each other run at once, across all sources. ` +
	`Prefer it to several calls one after another. Each call has an id, a tool and its arguments. ` +
	`A later call uses an earlier result by {"$ref":"#/ID/path/to/value"} in place of a value (a JSON pointer into the structured result of call ID), ` +
	`runs for each element of a list by "map":{"$ref":"#/ID/rows"} and {"$ref":"#/item/..."}, or waits by "after":["ID"]. ` +
	`on_error is skip (what depends on it is skipped; the default), null or fail. ` +
	`Example: {"calls":[{"id":"c","tool":"crm_search","arguments":{"q":"Acme"}},{"id":"o","tool":"shop_orders","arguments":{"customer":{"$ref":"#/c/records/0/id"}}}]}. ` +
	`A failed call does not fail the others; the answer has the status of each. Send the same plan again within 5 minutes to make only those calls that failed or were skipped.`

// batches carries out the plans that are sent to one view. They call what it offers.
type batches struct {
	*planning
	view *View
}

// planning is what the views have in common.
type planning struct {
	agg     *Aggregate
	schemas *schemaCache
	done    *batchMemory
}

// batchSpecs define the tools that carry out plans.
func batchSpecs() []upstream.ToolSpec {
	return []upstream.ToolSpec{
		{
			Name: toolBatch, Title: "Several calls in one", Description: batchText + " Calls that change something at a source are made in the order in which they are written.",
			Input: json.RawMessage(batchSchema), Hints: upstream.Traits{Destructive: true},
		},
		{
			Name: toolBatchRead, Title: "Several reads in one", Description: "Like " + toolBatch + ", for tools that only read. " + batchText,
			Input: json.RawMessage(batchSchema), Hints: upstream.Traits{ReadOnly: true, Idempotent: true},
		},
	}
}

func (b *batches) handler(readOnly bool) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		args, faults := batchArgumentsOf(c.Arguments)
		run := &batchRun{batches: b, call: c, readOnly: readOnly}
		p, err := plan.Parse(args.calls, run.find(ctx), readOnly)
		if more, ok := errors.AsType[plan.Faults](err); ok {
			faults = append(faults, more...)
		}
		if len(faults) > 0 {
			return nil, &upstream.Error{Tool: c.Name, Kind: upstream.InvalidArguments, Err: errArguments,
				Public: "nothing was called, because the plan has faults: " + faultsText(faults)}
		}
		ctx, cancel := context.WithTimeout(ctx, args.deadline)
		defer cancel()
		kept, release, err := b.done.of(ctx, c, b.view.id, args.calls)
		if err != nil {
			return nil, err
		}
		defer release()
		if run.kept = kept; args.fresh {
			kept.forget(p)
		}
		run.settled = p.Under(kept.written())
		run.plan = &upstream.Plan{Key: string(kept.key[:]), Fresh: args.fresh}
		began := time.Now()
		run.total = len(p.Nodes)
		out := plan.Run(ctx, p, plan.Work[batchAnswer]{
			Do:    run.do,
			Done:  func(i int, o *plan.Outcome[batchAnswer]) { run.finished(&p.Nodes[i], o) },
			Fault: run.fault,
		})
		wall := time.Since(began)
		res, err := run.result(ctx, p, out, wall, min(args.most, b.agg.opt.MaxResult))
		if err == nil {
			b.agg.opt.Observer.Planned(run.planned(p, out, wall, res))
		}
		return res, err
	}
}

// maxTogether is how many bytes of results a plan holds at once. Any more can be read,
// but not be referred to.
const maxTogether = 64 << 20

// batchRun is one plan being carried out.
type batchRun struct {
	*batches
	call     *upstream.Call // of the batch tool
	readOnly bool
	kept     *batchKept
	plan     *upstream.Plan  // of its calls
	settled  map[string]bool // calls that writes were made from, when the plan was sent before
	total    int
	held     atomic.Int64 // bytes of results
	wrote    sync.Map     // upstream.ID -> true: something was changed there, or may have been
	equals   equals

	mu    sync.Mutex // guards what follows, and the order in which progress is told
	ended int        // calls of the plan
	moved int        // times that the progress of one was told since
	told  time.Time  // when that was last
}

// batchAnswer is what carrying out a call of a plan returned: one of result, cut
// and err.
type batchAnswer struct {
	source upstream.ID
	result *upstream.Result
	cut    *batchCut // in the place of a result that is held back
	err    *upstream.Error
	reused bool // it was made for the same plan before
	unsure bool // it failed, and may have been carried out: it is not made again
	// What is kept has none of these: the arguments that it was made with, and what
	// [ownMeta] says of this one answer.
	arguments, meta json.RawMessage
}

// do carries out one call as if the client had made it, unless it has succeeded
// before or must not be made again. A read that follows a write of its source, which
// is made now, is made anew.
func (r *batchRun) do(ctx context.Context, s plan.Step) (value json.RawMessage, answer batchAnswer, ok bool) {
	var keep func(*batchAnswer) // nil before the call is made
	defer func() {
		if v := recover(); v != nil {
			answer, ok = r.contained(s, keep != nil, v), false
			if keep != nil {
				keep(&answer)
			}
		}
	}()
	e, err := r.now(s.Node)
	if err != nil {
		return nil, batchAnswer{source: upstream.ID(s.Node.Source), err: err}, false
	}
	call, as := r.keyOf(s, e), r.circumstances(e)
	_, wrote := r.wrote.Load(e.tool.Upstream)
	if a, ok := r.kept.get(call, as, r.settled[s.Node.ID]); ok && !(wrote && e.tool.Hints.ReadOnly && !r.settled[s.Node.ID]) {
		a.reused, a.arguments = true, s.Arguments
		return r.answered(a)
	}
	if e.m != nil && e.writes() {
		r.wrote.Store(e.tool.Upstream, true)
	}
	c := r.child(s, e)
	keep = func(a *batchAnswer) {
		if e.m != nil {
			a.unsure = unsure(e, a.err)
			r.kept.put(call, keptCall{batchAnswer: *a, node: s.Node.ID, reads: e.tool.Hints.ReadOnly, once: c.Timing.Memory == byStale || a.result != nil && a.result.Gaps, circumstances: as})
		}
	}
	a := batchAnswer{source: e.tool.Upstream}
	res, failed := recovered(r.agg.log)(func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		return r.carryOut(ctx, c, e)
	})(ctx, c)
	switch {
	case failed != nil:
		a.err = upstream.AsError(e.tool.Upstream, e.tool.Name, failed)
	case !res.IsError && r.held.Add(int64(len(res.Raw))) > maxTogether:
		a.cut = r.holdBack(valueOf(res), besides(res), notesOf(res), e.tool.Upstream)
	default:
		a.result = res
	}
	keep(&a)
	if a.arguments = s.Arguments; failed == nil {
		a.meta = ownMeta(res)
	}
	return r.answered(a)
}

// writes reports whether calls of a source's tool keep their place among others of
// the source, because it may change something there.
func (e *entry) writes() bool {
	return !e.tool.Hints.ReadOnly && (e.tool.HasHints || e.m.Limits.Unannotated == Serial)
}

// contained makes a fault of ours beside a call, which has a goroutine of its own,
// that call's failure.
func (r *batchRun) contained(s plan.Step, begun bool, v any) batchAnswer {
	source := upstream.ID(s.Node.Source)
	err := panicked(r.agg.log, &upstream.Call{ID: r.call.ID, Upstream: source, Name: s.Node.Tool, Exposed: s.Node.Tool}, v)
	err.Sent = begun
	return batchAnswer{source: source, err: err}
}

// fault is [batchRun.contained] for what goes wrong outside of do, and after it:
// whether something was changed then is not known of any call.
func (r *batchRun) fault(s plan.Step, begun bool, v any) batchAnswer {
	a := r.contained(s, begun, v)
	a.unsure = begun && !r.readOnly
	return a
}

// now returns the tool of a call as it is offered at this moment: the plan may have
// been running for a while, and a call by itself would find no other either.
func (r *batchRun) now(n *plan.Node) (*entry, *upstream.Error) {
	e := r.view.offer().list(upstream.Tools).index[n.Tool]
	switch {
	case e == nil:
		return nil, &upstream.Error{Upstream: upstream.ID(n.Source), Tool: n.Tool, Kind: upstream.NotFound,
			Public: "the tool was there when the plan began, and is no longer"}
	case r.readOnly && !e.tool.Hints.ReadOnly:
		return nil, &upstream.Error{Upstream: upstream.ID(n.Source), Tool: n.Tool, Kind: upstream.Denied,
			Public: "the tool said that it only reads when the plan began, and does not any longer"}
	}
	return e, nil
}

// child returns one call of the plan as the client would have made it.
func (r *batchRun) child(s plan.Step, e *entry) *upstream.Call {
	id := r.call.ID + "." + s.Node.ID
	if s.Item >= 0 {
		id = fmt.Sprintf("%s.%d", id, s.Item)
	}
	arguments := e.sent(s.Arguments)
	params := fmt.Appendf(make([]byte, 0, len(arguments)+len(s.Node.Tool)+64), `{"name":%s,"arguments":%s`, rawjson.Quote(s.Node.Tool), arguments)
	arguments = params[len(params)-len(arguments):]
	if meta, ok := rawjson.Get(r.call.Params, memberMeta); ok { // a trace, and what else is not about progress
		if meta = rawjson.Delete(meta, "progressToken"); !isEmpty(meta) {
			params = append(append(params, `,"_meta":`...), meta...)
		}
	}
	params = append(params, '}')
	back := r.call.Back
	back.Progress = r.moves(s.Node)
	c := &upstream.Call{
		ID: id, Principal: r.call.Principal, Session: r.call.Session, Client: r.call.Client,
		Op: upstream.CallTool, Upstream: e.tool.Upstream, Name: e.tool.Name, Tool: e.tool, Exposed: s.Node.Tool,
		Back: back, Timing: &upstream.Timing{},
	}
	if e.m != nil {
		c.Plan = r.plan
	}
	c.Params, c.Arguments = params, arguments
	return c
}

// carryOut makes a call. What the client may be asked meanwhile is asked as of a
// client of an older revision: one of the present revision would have to come back
// with answers for one call of many, and cannot.
func (r *batchRun) carryOut(ctx context.Context, c *upstream.Call, e *entry) (*upstream.Result, error) {
	if e.m == nil {
		return e.handler(ctx, c)
	}
	request := &Request{Principal: c.Principal, Session: c.Session, Client: c.Client, Method: string(c.Op), Params: c.Params, Back: c.Back}
	res, err := e.m.converse(ctx, request, c)
	if rpc := refused(err); rpc != nil {
		return nil, &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: upstream.InvalidArguments, RPC: rpc}
	}
	if err != nil {
		return nil, unbegun(ctx, c, r.unasked(c, err))
	}
	return r.view.offer().exposeResult(e.m, res), nil
}

// unasked says of a call that needs what the client has, but not in the middle of a
// plan, how it can be made: the client is not to believe that it lacks something.
func (r *batchRun) unasked(c *upstream.Call, err error) error {
	need, ok := errors.AsType[*incapable](err)
	if !ok || r.call.Back.Ask != nil || need.lacks(r.call.Back.Capabilities) != "" {
		return err
	}
	said := *upstream.AsError(c.Upstream, c.Name, err)
	said.Public = fmt.Sprintf("%s, which is not possible in the middle of a plan: %s has to be called by itself", need.all(), c.Exposed)
	return &said
}

// unbegun says of a call that waited until the plan ended that this is all there was.
func unbegun(ctx context.Context, c *upstream.Call, err error) error {
	e := upstream.AsError(c.Upstream, c.Name, err)
	if ctx.Err() == nil || e.Sent || e.Kind != upstream.Timeout || c.Timing.Attempts > 0 {
		return err
	}
	said := *e
	said.Public = "its turn at the source did not come before the plan's time was up"
	return &said
}

func (r *batchRun) answered(a batchAnswer) (json.RawMessage, batchAnswer, bool) {
	switch {
	case a.err != nil || a.result != nil && a.result.IsError:
		return nil, a, false
	case a.result == nil || a.result.Marks.Cut:
		return nil, a, true
	}
	return valueOf(a.result), a, true
}

// finished tells the client that one more call has ended.
func (r *batchRun) finished(n *plan.Node, o *plan.Outcome[batchAnswer]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended, r.moved = r.ended+1, 0
	r.tell(n, string(o.Status))
}

// moveEvery is how often the progress of single calls is told at most.
const moveEvery = time.Second

// moves returns what tells the client that a call of the plan has come further,
// which has hosts wait longer; nil if it does not want to know.
func (r *batchRun) moves(n *plan.Node) func(json.RawMessage) {
	if r.call.Back.Progress == nil {
		return nil
	}
	return func(params json.RawMessage) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if now := time.Now(); now.Sub(r.told) >= moveEvery {
			r.told = now
			r.moved++
			message, _ := rawjson.GetString(params, "message")
			r.tell(n, Printable(message, maxURI))
		}
	}
}

// tell tells the client how far the plan is: calls that have ended, and a part of
// one, because progress has to grow each time (MCP, progress). r.mu is held.
func (r *batchRun) tell(n *plan.Node, what string) {
	if r.call.Back.Progress == nil {
		return
	}
	part := float64(r.moved) / float64(r.moved+1)
	message := strings.TrimSuffix(fmt.Sprintf("%s (%s): %s", n.ID, n.Tool, what), ": ")
	r.call.Back.Progress(fmt.Appendf(nil, `{"progress":%v,"total":%d,"message":%s}`, float64(r.ended)+part, r.total, rawjson.Quote(message)))
}
