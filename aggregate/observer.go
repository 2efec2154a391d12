package aggregate

import (
	"encoding/json"
	"iter"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Observer is told what happens, for whoever counts it. Its methods are called on
// the way of calls, by many goroutines at once: they return at once, and neither
// change nor keep what they are given.
type Observer interface {
	// Asked is told that a client calls a tool; what it returns is called when the
	// call has been answered. The calls of a plan are none of a client's.
	Asked(*Request) (answered func())
	// Called is told how a call ended: to a source, or of a tool of our own; a
	// client's, one of a plan, or one that renews what is kept.
	Called(*upstream.Call, Outcome)
	// Planned is told how a plan was carried out.
	Planned(*Planned)
}

// Outcome is how a call ended.
type Outcome struct {
	Code   string // "ok", "tool_error", or the code of the failure
	Took   time.Duration
	Result *upstream.Result // nil if it failed
}

// Planned is a plan that was carried out.
type Planned struct {
	Wall     time.Duration // that it took
	Critical time.Duration // of its longest chain of calls that had to wait for each other
	Sum      time.Duration // of all its calls
	Whole    PlannedCall   // the call that brought the plan
	Calls    []PlannedCall // each element of a list is one
	// Definitions is the list of tools as clients get it: the same bytes until it
	// changes.
	Definitions json.RawMessage
}

// PlannedCall is a call as a model sees it.
type PlannedCall struct {
	Tool      string          // as clients know it
	Arguments json.RawMessage // without references
	// Answer is what there is to read of the result: its structured content or its
	// text, or why it failed.
	Answer json.RawMessage
	Code   string // as in [Outcome]; "skipped" if it was not made, "reused" if it was made before
}

// Made reports whether the call was made, and there is an answer to read.
func (c *PlannedCall) Made() bool { return c.Answer != nil }

// nobody observes nothing.
type nobody struct{}

func (nobody) Asked(*Request) func()          { return func() {} }
func (nobody) Called(*upstream.Call, Outcome) {}
func (nobody) Planned(*Planned)               {}

// planned returns what an observer is told of a plan; res is its answer.
func (r *batchRun) planned(p *plan.Plan, out []plan.Outcome[batchAnswer], wall time.Duration, res *upstream.Result) *Planned {
	told := &Planned{
		Wall: wall, Critical: plan.Critical(p, out),
		Whole:       PlannedCall{r.call.Name, r.call.Arguments, valueOf(res), codeOK},
		Definitions: r.view.offer().list(upstream.Tools).modern.whole,
	}
	for i := range out {
		each := out[i].Items
		if each == nil {
			each = out[i : i+1]
		}
		for j := range each {
			told.Sum += each[j].Took
			told.Calls = append(told.Calls, plannedCall(p.Nodes[i].Tool, &each[j]))
		}
	}
	return told
}

func plannedCall(tool string, o *plan.Outcome[batchAnswer]) PlannedCall {
	c := PlannedCall{Tool: tool, Arguments: o.Result.arguments}
	switch a := o.Result; {
	case a.reused:
		c.Code = "reused"
	case a.err != nil:
		c.Code, c.Answer = a.err.Kind.Code(), rawjson.Quote(failureText(a.err))
	case a.cut != nil: // it is not there any more to be read
		c.Code = codeOK
	case a.result == nil && o.Status == plan.Failed:
		c.Code = upstream.InvalidArguments.Code() // what it refers to is not there
	case a.result == nil:
		c.Code = "skipped"
	case a.result.IsError:
		c.Code, c.Answer = codeToolError, valueOf(a.result)
	default:
		if c.Code, c.Answer = codeOK, o.Value; c.Answer == nil { // it was cut
			c.Answer = valueOf(a.result)
		}
	}
	return c
}

// Definitions returns what a client that lists the tools has to read: each
// definition, with the source that it is of, "" for a tool of our own.
func Definitions(a *Aggregate) iter.Seq2[upstream.ID, json.RawMessage] {
	return func(yield func(upstream.ID, json.RawMessage) bool) {
		tools := (&View{agg: a}).offer().list(upstream.Tools)
		for i, e := range tools.entries {
			if !yield(e.tool.Upstream, tools.modern.of(upstream.Tools, i, i+1)) {
				return
			}
		}
	}
}
