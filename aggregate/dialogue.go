package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// gatherFor is how long further questions are waited for before the client is
// asked: each time costs it a round trip.
const gatherFor = 50 * time.Millisecond

var (
	errNobodyAnswered = errors.New("the question to the client was not answered in time")
	errStopping       = errors.New("bulkhead is stopping")
)

// dialogue is a call of a modern client to an upstream that may be a legacy one,
// which asks while the call is under way. The client's request is answered with
// the questions, the call waits, and the retry brings the answers and takes the
// request's place. At any time at most one request waits for it.
type dialogue struct {
	agg  *Aggregate
	call *upstream.Call
	end  context.CancelCauseFunc
	wake chan struct{} // capacity 1: there are questions, or the call is over
	to   listener
	at   stateID // where it is parked; guarded by agg.asked.parked.mu

	mu      sync.Mutex
	open    []*pendingQuestion
	asked   int    // questions so far
	guest   bool   // of agg.asked.parked, from the first question on
	release func() // to be called when the call is over; nil before the first question
	over    bool
	res     *upstream.Result // when it is over
	err     error
}

// pendingQuestion is one that waits for its answer.
type pendingQuestion struct {
	upstream.Question
	key    string
	answer chan json.RawMessage // capacity 1
}

// talk makes the call so that it can outlive the request: for a client that can
// be asked, as it cannot be known whether the upstream will.
func (t conversation) talk(ctx context.Context) (*upstream.Result, error) {
	running, end := context.WithCancelCause(context.WithoutCancel(ctx)) // see wait
	d := &dialogue{agg: t.m.agg, call: t.c, end: end, wake: make(chan struct{}, 1), to: listener{back: &t.r.Back}}
	c := *t.c
	c.Back.Ask = d.ask
	if c.Back.Progress != nil {
		c.Back.Progress = d.to.progress
	}
	if c.Back.Log != nil {
		c.Back.Log = d.to.log
	}
	go func() {
		res, err := t.m.handler(running, &c)
		end(nil)
		d.finish(res, err)
	}()
	return d.wait(ctx, t)
}

// resume hands the answers to the call that waits for them.
func (t conversation) resume(ctx context.Context, st state, answers json.RawMessage) (*upstream.Result, error) {
	d := t.m.agg.asked.parked.remove(st.id, t.c.Principal)
	if d == nil {
		return nil, refuse("the call that asked no longer waits: params.requestState has been used already, or the call has ended, " +
			"or it ran in another process; leave params.requestState out to start anew")
	}
	d.to.set(&t.r.Back) // before the call goes on
	d.deliver(answers)
	return d.wait(ctx, t)
}

// wait returns the call's result, or its questions. Until then the request's
// end is the call's.
func (d *dialogue) wait(ctx context.Context, t conversation) (*upstream.Result, error) {
	defer d.to.set(nil)
	for {
		select {
		case <-d.wake:
			if !d.gather(ctx) {
				continue
			}
			if d.ended() {
				return d.result(t)
			}
			if res, err := d.park(t); res != nil || err != nil {
				return res, err
			}
		case <-ctx.Done():
			d.end(context.Cause(ctx))
			for !d.ended() { // soon, as its context has
				<-d.wake
			}
			return d.result(t)
		}
	}
}

// ended reports whether the call is over.
func (d *dialogue) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

// gather waits a moment for further questions, or the call's end. It reports
// false when ctx ends.
func (d *dialogue) gather(ctx context.Context) bool {
	if d.ended() {
		return true
	}
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-d.wake:
			if d.ended() {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// result returns the outcome of a call that is over, which waits no longer.
func (d *dialogue) result(t conversation) (*upstream.Result, error) {
	d.mu.Lock()
	d.leave()
	d.mu.Unlock()
	return t.finish(d.res, d.err) // as it is over, they do not change
}

// park returns the open questions, and has the call wait for the answers; nil
// if none is open any more. That the call is over meanwhile does no harm.
func (d *dialogue) park(t conversation) (*upstream.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.open) == 0 {
		return nil, nil
	}
	var requests []byte
	for _, q := range d.open {
		requests = addQuestion(requests, q.key, d.call.Upstream, q.Question)
	}
	limit := d.agg.asked.patient
	st := state{kind: waiting, expires: time.Now().Add(limit)}
	token, id := d.agg.asked.seals.sealState(st, t.binding())
	d.agg.asked.parked.put(id, d, limit)
	return asked(inputRequiredText(requests, token))
}

// signal wakes the request that waits, if one does. It never blocks.
func (d *dialogue) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// finish notes the end of the call. Its result is kept for a client that has
// yet to come back.
func (d *dialogue) finish(res *upstream.Result, err error) {
	d.mu.Lock()
	d.over, d.res, d.err = true, res, err
	release := d.release
	d.mu.Unlock()
	d.signal()
	if release != nil {
		release()
	}
}

// leave gives the place among the calls that ask back. d.mu is held.
func (d *dialogue) leave() {
	if d.guest {
		d.guest = false
		d.agg.asked.parked.leave(d.call.Principal)
	}
}

// ask is the call's Back.Ask.
func (d *dialogue) ask(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
	if what := lacks(d.call.Back.Capabilities, q); what != "" {
		return nil, &upstream.RPCError{Code: upstream.CodeMethodNotFound,
			Message: fmt.Sprintf("the client does not have the capability that this takes: %s", what)}
	}
	p, err := d.pend(q)
	if err != nil {
		return nil, &upstream.RPCError{Code: upstream.CodeInternal, Message: err.Error()}
	}
	d.signal()
	select {
	case answer := <-p.answer:
		return answer, nil
	case <-ctx.Done():
		d.withdraw(p)
		return nil, context.Cause(ctx)
	}
}

// pend puts a question among the open ones.
func (d *dialogue) pend(q upstream.Question) (*pendingQuestion, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over || len(d.open) >= maxQuestions {
		return nil, errors.New("the call has too many questions open, or has ended")
	}
	if !d.guest {
		if err := d.agg.asked.parked.enter(d.call.Principal); err != nil {
			return nil, err
		}
		d.guest = true
	}
	if d.release == nil {
		if d.release = d.outlive(); d.release == nil {
			d.leave()
			return nil, errStopping
		}
	}
	d.asked++
	p := &pendingQuestion{q, "q" + strconv.Itoa(d.asked), make(chan json.RawMessage, 1)}
	d.open = append(d.open, p)
	return p, nil
}

func (d *dialogue) withdraw(p *pendingQuestion) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(func(q *pendingQuestion) bool { return q == p })
}

// deliver hands the answers out. A question that has none is put once more, and
// an answer to no question is ignored (MCP 2026-07-28, multi round-trip
// requests, §Error Handling).
func (d *dialogue) deliver(answers json.RawMessage) {
	d.mu.Lock()
	d.drop(func(q *pendingQuestion) bool {
		answer, ok := rawjson.Get(answers, q.key)
		if ok {
			q.answer <- answer
		}
		return ok
	})
	again := len(d.open) > 0 || d.over
	d.mu.Unlock()
	if again {
		d.signal()
	}
}

// drop takes questions out of the open ones. d.mu is held.
func (d *dialogue) drop(gone func(*pendingQuestion) bool) {
	kept := d.open[:0]
	for _, q := range d.open {
		if !gone(q) {
			kept = append(kept, q)
		}
	}
	clear(d.open[len(kept):])
	d.open = kept
}

// abandon ends a call that nobody will come back for.
func (d *dialogue) abandon(cause error) {
	d.end(cause)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave()
	if !d.over {
		d.agg.log.Warn("call ended while it waited for its client", "call", d.call.ID, "upstream", string(d.call.Upstream),
			"name", d.call.Name, "principal", d.call.Principal.String(), "error", cause)
	}
}

// listener is the request that waits for a call: it hears of the progress.
// While none does, nobody hears of it.
type listener struct {
	mu   sync.Mutex
	back *upstream.Back
}

// set replaces who listens. Who did so before hears nothing more once it
// returns.
func (l *listener) set(b *upstream.Back) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back = b
}

// progress and log hold the lock while they tell: both return at once, by
// contract.
func (l *listener) progress(params json.RawMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back != nil && l.back.Progress != nil {
		l.back.Progress(params)
	}
}

func (l *listener) log(params json.RawMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back != nil && l.back.Log != nil {
		l.back.Log(params)
	}
}
