package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// conversations is what has to be remembered of questions to clients.
type conversations struct {
	seals   seals
	used    consumed
	patient time.Duration // how long a question may stay open
	parked  parked
}

func newConversations(opt Options) (*conversations, error) {
	s, err := newSeals(opt.StateKey)
	if err != nil {
		return nil, err
	}
	c := &conversations{seals: s, patient: opt.AskTimeout}
	if c.patient <= 0 {
		c.patient = 5 * time.Minute
	}
	return c, nil
}

// stateLasts is how long a client may take to come back with the answers to an
// upstream that remembers nothing.
const stateLasts = 10 * time.Minute

// conversation is one request of a client with all that is asked meanwhile.
type conversation struct {
	m *member // whose call it is, even if another takes its name meanwhile
	r *Request
	c *upstream.Call
}

// converse has a call carried out and sees to what the upstream asks meanwhile,
// in the words of the client's era. It takes c over. An error for which
// [refused] has an error object is answered with that, whatever the method.
func (m *member) converse(ctx context.Context, r *Request, c *upstream.Call) (*upstream.Result, error) {
	mute := m.DenyAsk || !r.Modern && c.Back.Ask == nil // whatever the client declares
	c.Back.Capabilities = capabilitiesFor(c.Back.Capabilities, r.Modern, mute)
	if m.DenyAsk || r.Modern { // a modern client is asked by results
		c.Back.Ask = nil
	}
	t := conversation{m, r, c}
	res, err := t.carryOut(ctx)
	if err != nil {
		if res, err = (invitation{t}).connected(ctx, err); err == nil && res == nil {
			res, err = again(t).carryOut(ctx)
		}
	}
	if err != nil {
		return nil, t.named(err)
	}
	return res, nil
}

func (t conversation) carryOut(ctx context.Context) (*upstream.Result, error) {
	if t.r.Modern {
		return t.modern(ctx)
	}
	return t.legacy(ctx)
}

func (t conversation) binding() []byte { return bindingOf(t.c, t.m.Identity) }

// mayRequire lists the methods whose result may be input_required (MCP
// 2026-07-28, multi round-trip requests, §Supported Requests).
func mayRequire(o upstream.Op) bool {
	return o == upstream.CallTool || o == upstream.GetPrompt || o == upstream.ReadResource
}

// legacy serves a client that is asked by requests.
func (t conversation) legacy(ctx context.Context) (*upstream.Result, error) {
	if err := t.brought(); err != nil {
		return nil, err
	}
	c := *t.c
	c.Back.Ask = t.ask()
	t.c = &c
	res, err := t.m.handler(ctx, t.c)
	if err != nil || res.Type == upstream.Final {
		return res, err
	}
	if res.Type == upstream.TaskCreated {
		return nil, t.fault(upstream.UpstreamError, "it answered with a task, which this client does not know")
	}
	if err := t.inputAllowed(); err != nil {
		return nil, err
	}
	i := &interview{conversation: t, ask: t.c.Back.Ask, urls: make(map[string]json.RawMessage)}
	return i.run(ctx, res)
}

// brought returns why the request of a legacy client is refused: it was given no
// state to bring back, and an upstream would take one from us for what it gave
// this user.
func (t conversation) brought() error {
	if !mayRequire(t.c.Op) || !mentions(t.c.Params, memberState) {
		return nil
	}
	if _, ok := rawjson.Get(t.c.Params, memberState); !ok {
		return nil
	}
	return refuse("params.requestState belongs to revision 2026-07-28, which this request is not of: leave it out")
}

// ask returns how a legacy client is asked: with the source's name, and not for
// ever. It is nil if the client cannot be asked.
func (t conversation) ask() func(context.Context, upstream.Question) (json.RawMessage, error) {
	if t.c.Back.Ask == nil {
		return nil
	}
	return inquirer(t, t.c.Back.Ask)
}

func inquirer(t conversation, ask func(context.Context, upstream.Question) (json.RawMessage, error)) func(context.Context, upstream.Question) (json.RawMessage, error) {
	id, limit := t.c.Upstream, t.m.agg.asked.patient
	return func(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
		if _, ok := isURL(q); ok {
			t.m.elicitees.add(partyOf(t.c), q.Params)
		}
		q.Params = attributed(id, q)
		bounded, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		answer, err := ask(bounded, q)
		if err != nil && ctx.Err() == nil && bounded.Err() != nil {
			return nil, &upstream.RPCError{Code: upstream.CodeInternal, Message: fmt.Sprintf("no answer within %s", limit)}
		}
		return answer, err
	}
}

// modern serves a client that is asked by results and comes back with the
// answers.
func (t conversation) modern(ctx context.Context) (*upstream.Result, error) {
	if !mayRequire(t.c.Op) {
		return t.finish(t.m.handler(ctx, t.c))
	}
	st, answers, err := t.retried()
	if err != nil {
		return nil, err
	}
	switch st.kind {
	case waiting:
		return t.resume(ctx, st, answers)
	case repeated:
		if err := t.agreed(answers); err != nil {
			return nil, err
		}
	case connecting:
		if err := (invitation{t}).returned(ctx, answers); err != nil {
			return nil, err
		}
	}
	if t.m.DenyAsk || !canAnswer(t.c.Back.Capabilities) {
		return t.finish(t.m.handler(ctx, t.c))
	}
	return t.talk(ctx)
}

// retried tells a retry from a first request by its params, restores what the
// upstream is to see of them, and returns the state, the zero one of a first
// request. Answers without a state answer nothing that we have passed on: what
// they mean is for the upstream to say.
func (t conversation) retried() (st state, answers json.RawMessage, err error) {
	var token json.RawMessage
	found := false
	if !mentions(t.c.Params, memberState, memberResponses) {
		return st, nil, nil
	}
	for m := range rawjson.Members(t.c.Params) {
		switch m.Name {
		case memberState:
			token, found = m.Value, true
		case memberResponses:
			answers, found = m.Value, true
		}
	}
	if !found {
		return st, nil, nil
	}
	if answers != nil && !isResponses(answers) {
		return st, nil, refuse("params.inputResponses is not an object of result objects")
	}
	if rawjson.IsNull(token) {
		t.c.Params = rawjson.Delete(t.c.Params, memberState)
		return st, nil, nil
	}
	st, ok := t.m.agg.asked.seals.openState(rawjson.String(token), t.binding())
	now := time.Now()
	switch {
	case !ok:
		return st, nil, refuse("params.requestState is not what this request was answered with: send it back as it was, " +
			"with the same params and credentials, or leave it out to start anew")
	case !st.expires.After(now):
		return st, nil, refuse("params.requestState has expired: leave it out to start anew")
	case st.kind != waiting && !t.m.agg.asked.used.take(st, now): // the place of a call that waits is taken once anyway
		return st, nil, refuse("params.requestState has been used already: leave it out to start anew")
	}
	switch {
	case st.kind != relayed:
		t.c.Params = rawjson.Delete(t.c.Params, memberState, memberResponses)
	case st.own == nil:
		t.c.Params = rawjson.Delete(t.c.Params, memberState)
	default:
		t.c.Params = set(t.c.Params, memberState, st.own)
	}
	return st, answers, nil
}

// isResponses reports whether v is an InputResponses object (MCP 2026-07-28
// schema), as far as that can be told without the questions.
func isResponses(v json.RawMessage) bool {
	if rawjson.Kind(v) != '{' {
		return false
	}
	for m := range rawjson.Members(v) {
		if rawjson.Kind(m.Value) != '{' {
			return false
		}
	}
	return true
}

// finish makes of the upstream's own answer what a modern client gets.
func (t conversation) finish(res *upstream.Result, err error) (*upstream.Result, error) {
	if err != nil {
		return t.failed(err)
	}
	switch {
	case res.Type == upstream.InputRequired:
		return t.inputRequired(res)
	case res.Type == upstream.TaskCreated && (t.c.Op != upstream.CallTool || !declares(t.c.Back.Capabilities, extensionTasks)):
		return nil, t.fault(upstream.UpstreamError, "it answered with a task, which was not asked for")
	case res.Type == upstream.TaskCreated, isTaskOp(t.c.Op):
		return t.taskResult(res)
	}
	return res, nil
}

// failed gives a modern client the errors of the protocol that it can act on.
func (t conversation) failed(err error) (*upstream.Result, error) {
	e := upstream.AsError(t.c.Upstream, t.c.Name, err)
	if e.RPC == nil {
		return nil, err
	}
	switch {
	case e.RPC.Code == codeElicitURL && mayRequire(t.c.Op):
		return t.openFirst(e)
	case e.RPC.Code == codeMissingCapability && !t.m.DenyAsk:
		return nil, &refusal{e.RPC}
	}
	return nil, err
}

// inputRequired relays the questions of a modern upstream to a modern client.
func (t conversation) inputRequired(res *upstream.Result) (*upstream.Result, error) {
	if err := t.inputAllowed(); err != nil {
		return nil, err
	}
	st := state{kind: relayed, expires: time.Now().Add(stateLasts)}
	st.own, _ = res.Get(memberState)
	if len(st.own) > maxState || st.own != nil && rawjson.Kind(st.own) != '"' {
		return nil, t.fault(upstream.UpstreamError, "it asks for input with a requestState that cannot be used")
	}
	raw := res.Raw
	if requests, ok := res.Get(memberRequests); ok {
		raw = set(raw, memberRequests, attributedAll(t.c.Upstream, requests))
	}
	token, _ := t.m.agg.asked.seals.sealState(st, t.binding())
	return asked(set(raw, memberState, rawjson.Quote(token)))
}

// inputAllowed returns why a call may not be answered with questions.
func (t conversation) inputAllowed() error {
	switch {
	case t.m.DenyAsk:
		return t.denied()
	case !mayRequire(t.c.Op):
		return t.fault(upstream.UpstreamError, fmt.Sprintf("it asks for input in answer to %s, which the protocol does not allow", t.c.Op))
	}
	return nil
}

func (t conversation) denied() error {
	return t.fault(upstream.UpstreamError, `it asks for input, which the configuration denies (ask = "deny")`)
}

// addQuestion adds a question of a legacy upstream to the members of an
// inputRequests object. 2026-07-28 has no elicitationId.
func addQuestion(members []byte, key string, id upstream.ID, q upstream.Question) []byte {
	if members != nil {
		members = append(members, ',')
	}
	members = append(members, rawjson.Quote(key)...)
	members = append(members, `:{"method":`...)
	members = append(members, rawjson.Quote(q.Method)...)
	if params := rawjson.Delete(attributed(id, q), memberElicited); params != nil {
		members = append(append(members, `,"params":`...), params...)
	}
	return append(members, '}')
}

// inputRequiredText is an InputRequiredResult (MCP 2026-07-28 schema).
func inputRequiredText(requests []byte, token string) []byte {
	return fmt.Appendf(nil, `{%q:"input_required",%q:{%s},%q:%q}`, memberResultType, memberRequests, requests, memberState, token)
}

func asked(raw json.RawMessage) (*upstream.Result, error) {
	res, err := upstream.ParseResult(raw)
	if err != nil {
		return nil, err
	}
	res.Type = upstream.InputRequired
	return res, nil
}

// fault is a failure in which an upstream did what it may not.
func (t conversation) fault(kind upstream.Kind, public string) *upstream.Error {
	return &upstream.Error{Upstream: t.c.Upstream, Tool: t.c.Name, Op: string(t.c.Op), Kind: kind, Sent: true, Public: public}
}

// named gives a failure that is about the client's capabilities its words.
func (t conversation) named(err error) error {
	if refused(err) != nil {
		return err
	}
	e := upstream.AsError(t.c.Upstream, t.c.Name, err)
	if e.RPC == nil {
		return e
	}
	switch {
	case e.RPC.Code == codeMissingCapability && t.m.DenyAsk:
		named := missingCapability(e)
		named.Public = strings.Replace(named.Public, "this client does not have", `the configuration denies (ask = "deny")`, 1)
		named.Err = e // whatever the client has
		return named
	case e.RPC.Code == codeMissingCapability:
		return missingCapability(e)
	case e.RPC.Code == codeElicitURL && !t.r.Modern && t.m.DenyAsk:
		return t.denied()
	case e.RPC.Code == codeElicitURL && !t.r.Modern:
		list, _ := rawjson.Get(e.RPC.Data, memberElicitations)
		for params := range rawjson.Elements(list) {
			t.m.elicitees.add(partyOf(t.c), params)
		}
		return &refusal{elicitations(t.c.Upstream, e.RPC)}
	}
	return e
}
