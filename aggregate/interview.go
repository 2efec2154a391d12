package aggregate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	maxRounds    = 10                     // answers of one call that ask for more
	maxQuestions = 32                     // in one answer, or open in one call
	againAfter   = 100 * time.Millisecond // first wait where there is nothing to ask; doubles
	againAtMost  = 2 * time.Second
)

// interview asks a legacy client what a modern upstream wants to know, and makes
// the call again with the answers. Between two rounds no request is under way,
// so a person who thinks holds up nobody.
type interview struct {
	conversation
	ask  func(context.Context, upstream.Question) (json.RawMessage, error) // nil if the client cannot be asked
	urls map[string]json.RawMessage                                        // what was answered, by the address to open
	wait time.Duration
}

// run goes on from the first answer, which asks for input.
func (i *interview) run(ctx context.Context, res *upstream.Result) (*upstream.Result, error) {
	for range maxRounds {
		requests, _ := res.Get(memberRequests)
		own, _ := res.Get(memberState)
		answers, fresh, err := i.round(ctx, requests)
		if err != nil {
			return nil, err
		}
		if !fresh {
			if err := i.pause(ctx); err != nil {
				return nil, err
			}
		}
		again := *i.c
		again.Timing = &upstream.Timing{}
		again.Params = retryParams(i.c.Params, answers, own)
		if res, err = i.m.handler(ctx, &again); err != nil || res.Type == upstream.Final {
			return res, err
		}
		if res.Type != upstream.InputRequired {
			return nil, i.fault(upstream.UpstreamError, "it answered with a task, which this client does not know")
		}
	}
	return nil, i.fault(upstream.UpstreamError, fmt.Sprintf("it asked for input more than %d times", maxRounds))
}

// pause waits before a round in which the upstream learns nothing new.
func (i *interview) pause(ctx context.Context) error {
	i.wait = min(max(2*i.wait, againAfter), againAtMost)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(i.wait):
		return nil
	}
}

// round puts the questions of one answer to the client, all at once. It returns
// the answers as an InputResponses object, nil if nothing was asked, and whether
// any of them is new.
func (i *interview) round(ctx context.Context, requests json.RawMessage) (answers []byte, fresh bool, err error) {
	if rawjson.IsNull(requests) {
		return nil, false, nil
	}
	var open []*asking
	for m := range rawjson.Members(requests) {
		q, err := i.question(m)
		if err != nil {
			return nil, false, err
		}
		open = append(open, q)
	}
	if len(open) > maxQuestions {
		return nil, false, i.fault(upstream.UpstreamError, fmt.Sprintf("it asks more than %d things at once", maxQuestions))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var w sync.WaitGroup
	for _, q := range open {
		if q.answer == nil {
			fresh = true
			w.Go(func() {
				if q.answer, q.err = i.put(ctx, q.Question); q.err != nil {
					cancel() // the call fails: nobody need answer the others
				}
			})
		}
	}
	w.Wait()
	answers = []byte{'{'}
	for n, q := range open {
		if q.err != nil {
			err = firstCause(err, q.err)
			continue
		}
		if n > 0 {
			answers = append(answers, ',')
		}
		answers = append(append(append(answers, rawjson.Quote(q.key)...), ':'), q.answer...)
		if q.url != "" {
			i.urls[q.url] = q.answer
		}
	}
	return append(answers, '}'), fresh, err
}

// firstCause prefers a failure that is no consequence of another.
func firstCause(old, e error) error {
	if old == nil || errors.Is(old, context.Canceled) {
		return e
	}
	return old
}

// asking is one question of a round.
type asking struct {
	upstream.Question
	key    string
	url    string // the address to open; "" if it is not about one
	answer json.RawMessage
	err    error
}

// question reads one question, or says why it cannot be put. The same address
// is asked for once in a call: the answer to the first time is the answer to
// all, since agreeing says nothing about when the user is done there.
func (i *interview) question(m rawjson.Member) (*asking, error) {
	q := &asking{Question: questionOf(m.Value), key: m.Name}
	caps := i.c.Back.Capabilities
	if i.ask == nil {
		caps = nil
	}
	if what := lacks(caps, q.Question); what != "" {
		return nil, i.incapable(what, func(caps json.RawMessage) string { return lacks(caps, q.Question) })
	}
	if url, ok := isURL(q.Question); ok {
		q.url, q.answer = url, i.urls[url]
		q.Params = set(q.Params, memberElicited, rawjson.Quote(rand.Text())) // which 2025-11-25 demands
	}
	return q, nil
}

// put asks one question. What is no answer to an elicitation counts as the user
// having closed it; of the others there is no such answer.
func (i *interview) put(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
	answer, err := i.ask(ctx, q)
	if err == nil && rawjson.Kind(answer) != '{' {
		err = &upstream.RPCError{Code: upstream.CodeInternal, Message: "the answer is not an object"}
	}
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case q.Method == upstream.AskElicitation:
		return json.RawMessage(`{"action":"cancel"}`), nil
	}
	public := fmt.Sprintf("it asked the client for %s and got no answer", q.Method)
	if rpc, ok := errors.AsType[*upstream.RPCError](err); ok {
		public = fmt.Sprintf(`it asked the client for %s, which answered "%s" (code %d)`,
			q.Method, Printable(rpc.Message, maxQuote), rpc.Code)
	}
	return nil, &upstream.Error{Upstream: i.c.Upstream, Tool: i.c.Name, Op: string(i.c.Op),
		Kind: upstream.Denied, Sent: true, Public: public, Err: err}
}

// retryParams returns the params of a retry: those of the first request with the
// answers and the upstream's own state, where there are any.
func retryParams(params json.RawMessage, answers []byte, own json.RawMessage) json.RawMessage {
	if params == nil {
		params = json.RawMessage("{}")
	}
	if answers != nil {
		params = set(params, memberResponses, answers)
	} else {
		params = rawjson.Delete(params, memberResponses)
	}
	if own == nil {
		return rawjson.Delete(params, memberState)
	}
	return set(params, memberState, own)
}
