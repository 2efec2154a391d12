package upstream

import (
	"context"
	"encoding/json"
	"time"
)

// Op is what is asked of an upstream: the MCP method of that name, because the
// vocabulary of sources is MCP's.
type Op string

// The operations. Each names its target, [Call.Name], by another member of the
// params; for Complete it stands in params.ref.
const (
	CallTool     Op = "tools/call"
	GetPrompt    Op = "prompts/get"
	ReadResource Op = "resources/read"
	Complete     Op = "completion/complete"
	GetTask      Op = "tasks/get"
	UpdateTask   Op = "tasks/update"
	CancelTask   Op = "tasks/cancel"
	GetSkill     Op = "skills/get"
	ReadDir      Op = "resources/directory/read"
)

// Call is one request on its way to an upstream. Layers may replace the context
// but never change a call they did not make.
type Call struct {
	ID        string // ours, unique in this process; correlates log lines
	Principal Principal
	Session   string // the client connection; "" where there is none
	Client    string // the host's own name, e.g. "claude-code"; display and host limits only
	Op        Op
	Upstream  ID
	Name      string // the upstream's own name of what is called: tool, prompt, task; or its URI
	Tool      *Tool  // CallTool only; nil otherwise
	Exposed   string // the name or URI as the client said it
	// Params is the params object as the client sent it, checked but otherwise
	// untouched: unknown members and _meta are still in it. The adapter puts
	// Name in the place of Exposed. For Complete that is done already.
	Params json.RawMessage
	// Arguments is the value of params.arguments; nil if the client sent none.
	Arguments json.RawMessage
	// Back is how the client is reached while the call runs.
	Back Back
	// Timing collects what the log line reports; never nil in the pipeline.
	Timing *Timing
	// Hedged is set in an attempt of a call that may be made twice at once; nil in
	// any other.
	Hedged *Hedged
	// Plan is what it is made for together with others; nil for a call by itself.
	Plan *Plan
}

// Plan is what calls have in common that a client has asked for in one request.
// Whatever bounds how many may wait, and for how long, takes them for one caller
// that has as much time as the plan.
type Plan struct {
	Key   string // equal for the same plan of the same client that is sent again
	Fresh bool   // nothing is answered from before it began
}

// Hedged is one of the two attempts that a call may be made of.
type Hedged struct {
	// Spare is the second one. It waits for nothing: it goes on only if
	// everything that it needs is free at once, and else fails.
	Spare bool
	// Begun is called when the adapter is about to get it.
	Begun func()
}

// Spare reports whether the call is a second attempt beside another, which waits
// for nothing.
func (c *Call) Spare() bool { return c.Hedged != nil && c.Hedged.Spare }

// Reads reports whether the operation itself changes nothing at the upstream;
// of a tool call that says nothing.
func (o Op) Reads() bool {
	switch o {
	case GetPrompt, ReadResource, Complete, GetTask, GetSkill, ReadDir:
		return true
	}
	return false
}

// Back is the way back to the client of one call. The zero value is a client
// that wants to hear of nothing and can be asked nothing.
type Back struct {
	// Progress is called with the params of each notifications/progress of the
	// upstream, one after another, all before the call returns. It returns at
	// once. nil if the client asked for none.
	Progress func(params json.RawMessage)
	// Log is called with the params of each notifications/message that belongs
	// to the call, like Progress. nil if the client asked for none.
	Log func(params json.RawMessage)
	// LogLevel is the least severe level to be told (RFC 5424 names, as MCP has
	// them); "" if Log is nil.
	LogLevel string
	// Ask puts a question to the client and waits for the answer, which is the
	// result object. It fails with an *[RPCError] if the client refuses, and
	// soon after ctx ends. It may be called from several goroutines, until the
	// call has returned. nil if the client cannot be asked anything.
	Ask func(ctx context.Context, q Question) (json.RawMessage, error)
	// Capabilities is what the client can do as far as this upstream may know
	// it: a ClientCapabilities object (MCP schema); nil is none.
	Capabilities json.RawMessage
}

// Question is what an upstream asks in the middle of a call.
type Question struct {
	Method string          // one of the Ask constants
	Params json.RawMessage // as the upstream sent them; nil if it sent none
}

// What may be asked (MCP 2025-11-25 client features; 2026-07-28
// InputRequest).
const (
	AskElicitation = "elicitation/create"
	AskSampling    = "sampling/createMessage"
	AskRoots       = "roots/list"
)

// Timing is where a call's time went. It is written by the layers of one call,
// one after another.
type Timing struct {
	Queued   time.Duration // waiting for a slot or for quota
	Upstream time.Duration // in the adapter, all attempts
	Attempts int
	Hedged   bool // a second attempt was made beside the first
	// Memory says that it was answered from memory or with another call ("cached",
	// "stale", "coalesced"), or made to renew what is kept ("renewal"); "" for a
	// call that stands for itself.
	Memory string
}
