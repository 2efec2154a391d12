package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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

const batchSchema = `{"type":"object","properties":{` +
	`"calls":{"type":"array","minItems":1,"description":"The calls, each {id, tool, arguments, after, map, on_error}.","items":{"type":"object"}},` +
	`"deadline_ms":{"type":"integer","minimum":1,"description":"How long the whole plan may take."},` +
	`"max_result_bytes":{"type":"integer","minimum":1024,"description":"How long the results may be together; what is longer is cut and can be read with bulkhead_read_more."},` +
	`"fresh":{"type":"boolean","description":"Make calls anew that succeeded when the same plan was sent a short time ago. Default false."}},` +
	`"required":["calls"],"additionalProperties":false}`

const batchText = `Carries out a plan of up to 64 tool calls in one go: calls that do not depend on each other run at once, across all sources. ` +
	`Prefer it to several calls one after another. Each call has an id, a tool and its arguments. ` +
	`A later call uses an earlier result by {"$ref":"#/ID/path/to/value"} in place of a value (a JSON pointer into the structured result of call ID), ` +
	`runs for each element of a list by "map":{"$ref":"#/ID/rows"} and {"$ref":"#/item/..."}, or waits by "after":["ID"]. ` +
	`on_error is skip (what depends on it is skipped; the default), null or fail. ` +
	`Example: {"calls":[{"id":"c","tool":"crm_search","arguments":{"q":"Acme"}},{"id":"o","tool":"shop_orders","arguments":{"customer":{"$ref":"#/c/records/0/id"}}}]}. ` +
	`A failed call does not fail the others; the answer has the status of each. Send the same plan again to make only those calls that failed or were skipped.`

// batches carries out plans.
type batches struct {
	agg     *Aggregate
	schemas *schemaCache
	done    *batchMemory
}

func (b *batches) entries(o ownTools) []*entry {
	return []*entry{
		o.entry(toolBatch, "Several calls in one", batchText+" Calls that change something at a source are made in the order in which they are written.",
			batchSchema, upstream.Traits{Destructive: true}, b.handler(false)),
		o.entry(toolBatchRead, "Several reads in one", "Like "+toolBatch+", for tools that only read. "+batchText,
			batchSchema, upstream.Traits{ReadOnly: true, Idempotent: true}, b.handler(true)),
	}
}

type batchArguments struct {
	Calls      json.RawMessage `json:"calls"`
	DeadlineMS int             `json:"deadline_ms"`
	MaxBytes   int             `json:"max_result_bytes"`
	Fresh      bool            `json:"fresh"`
}

func (b *batches) handler(readOnly bool) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		var args batchArguments
		if err := arguments(c, &args); err != nil {
			return nil, err
		}
		run := &batchRun{batches: b, call: c, entries: map[string]*entry{}}
		p, err := plan.Parse(args.Calls, run.find(ctx), readOnly)
		if err != nil {
			return nil, &upstream.Error{Tool: c.Name, Kind: upstream.InvalidArguments, Err: errArguments,
				Public: "nothing was called, because the plan has faults: " + Printable(strings.ReplaceAll(err.Error(), "\n", " | "), maxFaults)}
		}
		if args.DeadlineMS > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(args.DeadlineMS)*time.Millisecond, errPlanDeadline)
			defer cancel()
		}
		kept, release, err := b.done.of(ctx, c, args.Calls)
		if err != nil {
			return nil, err
		}
		defer release()
		if run.kept = kept; args.Fresh {
			kept.forget()
		}
		began := time.Now()
		finished := 0
		out := plan.Run(ctx, p, run.do, func(i int, o *plan.Outcome[batchAnswer]) {
			finished++
			run.progress(finished, p, i, o)
		})
		limit := b.agg.opt.MaxResult
		if args.MaxBytes > 0 {
			limit = min(limit, args.MaxBytes)
		}
		return run.result(p, out, time.Since(began), limit/2) // the result says everything twice, see [upstream.StructuredResult]
	}
}

// maxFaults is how much is said of what is wrong with a plan, in bytes.
const maxFaults = 8 << 10

var errPlanDeadline = fmt.Errorf("the plan's deadline_ms has passed: %w", context.DeadlineExceeded)

// batchRun is one plan being carried out.
type batchRun struct {
	*batches
	call    *upstream.Call // of the batch tool
	entries map[string]*entry
	kept    *batchKept
}

// batchAnswer is what carrying out a call of a plan returned.
type batchAnswer struct {
	source upstream.ID
	result *upstream.Result // nil if it failed
	err    *upstream.Error  // nil if it did not
	reused bool             // it was made for the same plan before
}

// find returns what a plan may call.
func (r *batchRun) find(ctx context.Context) plan.Finder {
	v := &View{agg: r.agg}
	return func(name string) (plan.Tool, error) {
		if name == toolBatch || name == toolBatchRead {
			return plan.Tool{}, errors.New("a plan cannot contain a plan; put its calls into this one")
		}
		e := v.find(ctx, upstream.Tools, name)
		if e == nil {
			return plan.Tool{}, errors.New(v.offer().unknown("tool", upstream.Tools, name).Message)
		}
		r.entries[name] = e
		t := plan.Tool{Source: string(e.tool.Upstream), Reads: e.tool.Hints.ReadOnly, Check: func(arguments json.RawMessage) string {
			return r.schemas.check(e.tool, arguments)
		}}
		if e.m != nil {
			t.Writes = !t.Reads && (e.tool.HasHints || e.m.Limits.Unannotated == Serial)
			if needs := e.m.Requires[e.tool.Name]; len(needs) > 0 {
				t.Requires = v.offer().exposed(e.m, needs)
			}
		}
		return t, nil
	}
}

// exposed returns the names under which clients know a member's tools.
func (o *offer) exposed(m *member, own []string) []string {
	out := slices.Clone(own)
	for name, e := range o.list(upstream.Tools).index {
		if i := slices.Index(own, e.key); i >= 0 && e.m == m {
			out[i] = name
		}
	}
	return out // one that is not offered stays as it is: no plan can have it
}

// do carries out one call as if the client had made it, unless it has succeeded
// before or must not be made again.
func (r *batchRun) do(ctx context.Context, s plan.Step) (json.RawMessage, batchAnswer, bool) {
	key := stepKey(s)
	if a, ok := r.kept.get(key); ok {
		a.reused = true
		return r.answered(a)
	}
	e := r.entries[s.Node.Tool]
	id := r.call.ID + "." + s.Node.ID
	if s.Item >= 0 {
		id = fmt.Sprintf("%s.%d", id, s.Item)
	}
	c := &upstream.Call{
		ID: id, Principal: r.call.Principal, Session: r.call.Session, Client: r.call.Client,
		Op: upstream.CallTool, Upstream: e.tool.Upstream, Name: e.tool.Name, Tool: e.tool, Exposed: s.Node.Tool,
		Params: fmt.Appendf(nil, `{"name":%s,"arguments":%s}`, rawjson.Quote(s.Node.Tool), s.Arguments), Arguments: s.Arguments,
		Back:   upstream.Back{Log: r.call.Back.Log, LogLevel: r.call.Back.LogLevel, Ask: r.call.Back.Ask, Capabilities: r.call.Back.Capabilities},
		Timing: &upstream.Timing{},
	}
	a := batchAnswer{source: e.tool.Upstream}
	var err error
	if e.m != nil {
		// As for a client of an older revision: one of the present revision would
		// have to come back with answers for one call of many, and cannot.
		request := &Request{Principal: c.Principal, Session: c.Session, Client: c.Client, Method: string(c.Op), Params: c.Params, Back: c.Back}
		a.result, err = e.m.converse(ctx, request, c)
	} else {
		a.result, err = e.handler(ctx, c)
	}
	if rpc := refused(err); rpc != nil {
		err = &upstream.Error{Upstream: e.tool.Upstream, Tool: e.tool.Name, Kind: upstream.InvalidArguments, RPC: rpc, Public: rpc.Message}
	}
	if err != nil {
		a.result, a.err = nil, upstream.AsError(e.tool.Upstream, e.tool.Name, err)
	}
	if a.err == nil && !a.result.IsError || a.err != nil && a.err.Kind == upstream.WriteOutcomeUnknown {
		r.kept.put(key, a, e.tool.Hints.ReadOnly)
	}
	return r.answered(a)
}

func (r *batchRun) answered(a batchAnswer) (json.RawMessage, batchAnswer, bool) {
	if a.err != nil || a.result.IsError {
		return nil, a, false
	}
	return valueOf(a.result), a, true
}

// valueOf returns what references to a result refer to: its structured content;
// where there is none, the text, as the JSON that it is or else as a text. It is
// what the model is shown of it, see [shapes]: it knows nothing else.
func valueOf(res *upstream.Result) json.RawMessage {
	if v, ok := res.Get(memberStructured); ok {
		return v
	}
	if p := payloadOf(res); p != nil && !res.IsError {
		return p.value
	}
	content, _ := res.Get("content")
	var texts []string
	for item := range rawjson.Elements(content) {
		if text, ok := rawjson.GetString(item, "text"); ok {
			texts = append(texts, text)
		}
	}
	if len(texts) == 1 && rawjson.Check([]byte(texts[0]), rawjson.Limits{}) == nil {
		return json.RawMessage(texts[0])
	}
	return rawjson.Quote(strings.Join(texts, "\n"))
}

// progress tells the client that one more call has ended.
func (r *batchRun) progress(finished int, p *plan.Plan, i int, o *plan.Outcome[batchAnswer]) {
	if r.call.Back.Progress == nil {
		return
	}
	n := &p.Nodes[i]
	r.call.Back.Progress(fmt.Appendf(nil, `{"progress":%d,"total":%d,"message":%s}`,
		finished, len(p.Nodes), rawjson.Quote(fmt.Sprintf("%s (%s): %s", n.ID, n.Tool, o.Status))))
}
