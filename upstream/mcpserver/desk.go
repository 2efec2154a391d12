package mcpserver

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// lateTime is how long a user whose call was given up still counts as present:
// the server may not have noticed yet, and may go on speaking for that call.
const lateTime = 10 * time.Second

// desk is where what a server says in the middle of a call finds the call: the
// calls in flight on one link, and the questions that wait for an answer.
//
// On the response stream of a call it belongs to that call. On a channel that
// all calls share nothing says whose it is; see [desk.only].
type desk struct {
	opt  *Options
	life context.Context // of answers on their way to the server; ends with close
	cut  context.CancelFunc
	wg   sync.WaitGroup // questions

	mu     sync.Mutex
	calls  []visit // in flight, oldest first
	late   map[upstream.Principal]time.Time
	asking map[*question]struct{}
	closed bool
}

// visit is one call in flight. The zero value is that of a request of ours.
type visit struct {
	call   *upstream.Call
	guest  *guest // nil if the client is to be told and asked nothing
	modern bool   // nothing is asked of the client but in a result
}

// outlet is how answers get to the server.
type outlet struct {
	post func(msg []byte)                            // queues or drops; returns at once
	send func(ctx context.Context, msg []byte) error // waits
}

func newDesk(ctx context.Context, o *Options) *desk {
	ctx, cut := context.WithCancel(ctx)
	return &desk{opt: o, life: ctx, cut: cut, asking: map[*question]struct{}{}}
}

func (d *desk) enter(v visit) {
	if v.call == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, v)
}

// leave takes a call out; given up is one that the server may still be at.
func (d *desk) leave(v visit, givenUp bool) {
	if v.call == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.calls, v); i >= 0 {
		d.calls = slices.Delete(d.calls, i, i+1)
	}
	if givenUp {
		if d.late == nil {
			d.late = map[upstream.Principal]time.Time{}
		}
		d.forgetLate()
		d.late[v.call.Principal] = time.Now().Add(lateTime)
	}
}

func (d *desk) forgetLate() {
	now := time.Now()
	for p, until := range d.late {
		if now.After(until) {
			delete(d.late, p)
		}
	}
}

// whose is the outcome of [desk.only].
type whose uint8

const (
	found     whose = iota
	idle            // no call is in flight
	nobody          // none that wants it is
	ambiguous       // it may be another user's or another conversation's
)

// only finds the call that something on a shared channel belongs to: the oldest
// of those that want it, if they are all of one conversation and no other user
// is present. Anything else would be a guess, which may show one user what is
// another's or let one answer for another.
func (d *desk) only(wants func(visit) bool) (visit, whose) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.calls) == 0 {
		return visit{}, idle
	}
	i := slices.IndexFunc(d.calls, wants)
	if i < 0 {
		return visit{}, nobody
	}
	first := d.calls[i]
	for _, v := range d.calls {
		if v.call.Principal != first.call.Principal || (wants(v) && !sameTalk(v, first)) {
			return visit{}, ambiguous
		}
	}
	d.forgetLate()
	for p := range d.late {
		if p != first.call.Principal {
			return visit{}, ambiguous
		}
	}
	return first, found
}

// sameTalk reports whether two calls are known to be of one conversation. Those
// without a session, of modern clients over HTTP, may each be of another.
func sameTalk(a, b visit) bool {
	return a == b || (a.call.Session != "" && a.call.Session == b.call.Session)
}

// notification takes what the server tells a call, and reports whether that is
// all there is to it. from is the call on whose stream it came; its zero value
// is a shared channel.
func (d *desk) notification(method string, msg []byte, from visit) bool {
	switch method {
	case methodMessage:
		d.message(msg, from)
	case methodCancelled:
		d.withdrawn(msg)
	default:
		return false
	}
	return true
}

// request takes a request of the server. It returns at once.
func (d *desk) request(e envelope, msg []byte, from visit, out outlet) {
	if !e.answerable() {
		return
	}
	if !asks(e.method) || d.opt.DenyAsk {
		out.post(reply(e))
		return
	}
	v, w := from, found
	if from.call == nil {
		v, w = d.only(visit.askable)
	}
	switch {
	case w == idle && e.method == upstream.AskRoots:
		// Servers ask as soon as the handshake is over, when there is no client yet.
		out.post(encodeResult(e.id, []byte(`{"roots":[]}`)))
	case w == idle:
		out.post(encodeError(e.id, refusal(upstream.CodeInvalidRequest, "no call is running, so there is nobody to ask")))
	case w == ambiguous:
		d.opt.Log.Debug("question refused, it may be for one of several clients", "upstream", d.opt.ID, "method", e.method)
		out.post(encodeError(e.id, refusal(upstream.CodeInvalidRequest,
			"calls of several clients are running and nothing says whose question this is; ask on the response stream of the call, or while no other client's call runs")))
	case w == nobody, !v.askable():
		out.post(encodeError(e.id, refusal(upstream.CodeMethodNotFound, "the client of this call cannot be asked: %s is not supported", e.method)))
	default:
		d.ask(e, msg, v.guest, out)
	}
}

func refusal(code int, format string, args ...any) *upstream.RPCError {
	return &upstream.RPCError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// close ends all questions and waits for them.
func (d *desk) close() {
	d.cut()
	d.mu.Lock()
	d.closed = true
	for q := range d.asking {
		q.cancel(errStopped)
	}
	d.mu.Unlock()
	d.wg.Wait()
}
