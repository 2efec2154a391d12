package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	maxAsking      = 64               // questions open at once on one link
	maxAskingBytes = 16 << 20         // of them
	answerTime     = 30 * time.Second // for an answer to reach the server
)

var (
	errWithdrawn = errors.New("the server has withdrawn its question")
	errCallOver  = errors.New("the call that asked has ended")
)

// legacyCapabilities are what we declare in initialize, for clients that are not
// known yet: a question that its client cannot take is refused then (MCP
// 2025-11-25, schema, ClientCapabilities). Not declared: sampling.context, which
// would mix what servers know, and roots.listChanged, because nobody's roots are
// those of the connection.
const legacyCapabilities = `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}`

// asks reports whether a method is a question to the client's user or model.
func asks(method string) bool {
	switch method {
	case upstream.AskElicitation, upstream.AskSampling, upstream.AskRoots:
		return true
	}
	return false
}

// guest is a call whose client wants to be told, or can be asked, while it
// runs.
type guest struct {
	back *upstream.Back
	ctx  context.Context // the call's
	log  *follower       // nil if it wants no messages
	rank int             // the least severe message for log

	mu     sync.Mutex
	over   bool
	asking context.Context // parent of every question; nil before the first
	stop   context.CancelCauseFunc
	left   chan struct{}  // closed by leave; nil before the first question
	asks   sync.WaitGroup // running Back.Ask
}

// newGuest returns nil for a call whose client wants nothing of the kind.
func newGuest(ctx context.Context, call *upstream.Call) *guest {
	b := &call.Back
	if b.Ask == nil && b.Log == nil {
		return nil
	}
	g := &guest{back: b, ctx: ctx}
	if rank := upstream.Severity(b.LogLevel); rank > 0 && b.Log != nil {
		g.rank, g.log = rank, newFollower(b.Log)
	}
	return g
}

// leave ends the visit: nothing is told or asked after it.
func (g *guest) leave() {
	if g == nil {
		return
	}
	g.mu.Lock()
	g.over = true
	if g.stop != nil {
		g.stop(errCallOver)
		close(g.left)
	}
	g.mu.Unlock()
	if g.log != nil {
		g.log.stop()
	}
	g.asks.Wait()
}

// open begins a question, which ends with asks.Done; ok is false after the call.
func (g *guest) open() (ctx context.Context, cancel context.CancelCauseFunc, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return nil, nil, false
	}
	if g.asking == nil {
		g.asking, g.stop = context.WithCancelCause(g.ctx)
		g.left = make(chan struct{})
	}
	g.asks.Add(1)
	ctx, cancel = context.WithCancelCause(g.asking)
	return ctx, cancel, true
}

func (v visit) askable() bool { return !v.modern && v.guest != nil && v.guest.back.Ask != nil }

// question is one request of the server while a client is asked.
type question struct {
	id     []byte // as the server wrote it
	method string
	msg    []byte // not yet checked
	cancel context.CancelCauseFunc
}

// ask puts a question to the client of a call on a goroutine of its own and
// answers the server.
func (d *desk) ask(e envelope, msg []byte, g *guest, out outlet) {
	q := &question{id: bytes.Clone(e.id), method: e.method, msg: bytes.Clone(msg)}
	no := d.start(q, g, func(ctx context.Context) {
		result, err := q.put(ctx, g.back)
		g.asks.Done()
		switch why := context.Cause(ctx); {
		case errors.Is(why, errWithdrawn), // wants no answer (MCP 2025-11-25, cancellation)
			errors.Is(why, errStopped): // gets none any more
			return
		case why != nil:
			<-g.left // or the server might finish a call that is being given up
		}
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
		defer cancel()
		defer context.AfterFunc(d.life, cancel)() //nolint:contextcheck // two lives end an answer: its time and the link's
		if err := out.send(limited, q.answer(ctx, result, err)); err != nil {
			d.opt.Log.Debug("an answer did not reach the server", "upstream", d.opt.ID, "method", q.method, "error", err)
		}
	})
	if no != nil {
		out.post(encodeError(e.id, no))
	}
}

// start runs what asks and answers q on a goroutine, if there is room. Its
// context is that of the call, not of the reader that has found the question.
//
//nolint:contextcheck // as just said
func (d *desk) start(q *question, g *guest, run func(context.Context)) *upstream.RPCError {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return refusal(upstream.CodeInternal, "the connection is being closed")
	}
	if len(d.asking) >= maxAsking {
		return refusal(upstream.CodeInternal, "%d questions are open already; ask again when one is answered", maxAsking)
	}
	size := len(q.msg)
	for open := range d.asking {
		size += len(open.msg)
	}
	if size > maxAskingBytes {
		return refusal(upstream.CodeInternal, "the open questions have more than %d MiB", maxAskingBytes>>20)
	}
	ctx, cancel, ok := g.open()
	if !ok {
		return refusal(upstream.CodeInvalidRequest, "%s", errCallOver)
	}
	q.cancel = cancel
	d.asking[q] = struct{}{}
	d.wg.Go(func() {
		defer d.shut(q)
		run(ctx)
	})
	return nil
}

func (d *desk) shut(q *question) {
	q.cancel(nil)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.asking, q)
}

// withdrawn takes a notifications/cancelled of the server.
func (d *desk) withdrawn(msg []byte) {
	params, _ := rawjson.Get(msg, "params")
	id, ok := rawjson.Get(params, "requestId")
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for q := range d.asking {
		if bytes.Equal(q.id, id) {
			q.cancel(errWithdrawn)
		}
	}
}

// put checks a question and puts it to the client.
func (q *question) put(ctx context.Context, b *upstream.Back) (json.RawMessage, error) {
	if err := rawjson.Check(q.msg, rawjson.Limits{}); err != nil {
		return nil, refusal(upstream.CodeInvalidRequest, "the request is not valid: %s", err)
	}
	params, ok := rawjson.Get(q.msg, "params")
	if ok && rawjson.Kind(params) != '{' {
		return nil, refusal(upstream.CodeInvalidParams, "the params are not an object")
	}
	asked := upstream.Question{Method: q.method, Params: params}
	if what := asked.Lacks(b.Capabilities); what != "" {
		return nil, refusal(upstream.CodeMethodNotFound, "the client of this call does not have the capability %s", escape(what))
	}
	return b.Ask(ctx, asked)
}

// answer frames what the client said. Only an error object is the client's own;
// any other failure is ours and stays here.
func (q *question) answer(ctx context.Context, result json.RawMessage, err error) []byte {
	if err == nil {
		if rawjson.Kind(result) != '{' {
			result = json.RawMessage(`{}`)
		}
		return encodeResult(q.id, result)
	}
	if rpc, ok := errors.AsType[*upstream.RPCError](err); ok {
		return encodeError(q.id, rpc)
	}
	if ctx.Err() != nil {
		return encodeError(q.id, refusal(upstream.CodeInternal, "%s", errCallOver))
	}
	return encodeError(q.id, refusal(upstream.CodeInternal, "the client could not be asked"))
}

// callMeta returns the members of _meta that a call needs besides its own (MCP
// 2026-07-28, basic, §_meta): in the modern era the capabilities of its client
// and the least severe log message it wants.
func (p *peer) callMeta(call *upstream.Call, token int64, denyAsk bool) []byte {
	if !p.modern {
		return withToken(nil, token)
	}
	caps := []byte(call.Back.Capabilities)
	if rawjson.Kind(caps) != '{' {
		caps = []byte(noCapabilities)
	} else if denyAsk {
		caps = rawjson.Delete(caps, "elicitation", "sampling", "roots")
	}
	meta := make([]byte, 0, len(p.meta)+len(caps)+64)
	meta = append(append(meta, p.meta[:len(p.meta)-len(noCapabilities)]...), caps...)
	if call.Back.Log != nil && upstream.Severity(call.Back.LogLevel) > 0 {
		meta = append(meta, `,"`+mcp.MetaKeyLogLevel+`":"`+call.Back.LogLevel+`"`...)
	}
	return withToken(meta, token)
}
