// Package graphql makes the operations of GraphQL documents the tools of an
// upstream.
//
// Job: each named operation that an operator wrote is one tool, whose arguments
// are the operation's variables; a call is one POST of the operation, and its
// answer is told apart into data, data with gaps, and a failure. It also reads
// schemas and proposes documents for them, see [Propose].
//
// It owns the reading of documents and schemas, what becomes of types in JSON
// Schema, and the meaning of the errors of a service. It must not know
// configuration, credentials or where a text came from; the model never writes
// GraphQL here.
package graphql

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/drift"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// Options says what an adapter offers.
type Options struct {
	ID upstream.ID
	// Documents hold the operations, and the fragments that they share.
	Documents []Source
	// Schema is the types of the service. With it, documents are checked against
	// it and enums, input objects and answers are described; nil is no schema.
	Schema *Schema
	// Writes offers mutations too.
	Writes bool
	// MaxMessage is how long an answer may be, in bytes; 0 is 16 MiB.
	MaxMessage int64
	// ClientFor chooses the client of a call; nil, or if it returns nil, it is
	// that of [New].
	ClientFor func(*upstream.Call) *http.Client
	// Log is told when a service begins to refuse an operation; nil discards.
	Log *slog.Logger
}

const defaultMaxMessage = 16 << 20

// Adapter is a GraphQL service as an [upstream.Adapter], [upstream.Reporter] and
// [upstream.Drifter].
type Adapter struct {
	opt     Options
	url     string
	hc      *http.Client
	tools   []upstream.Tool
	byName  map[string]*action
	busy    httpcall.InFlight
	refused refusals
	hidden  int
	since   time.Time
}

// New returns an adapter for the service at url. It does not follow redirects
// unless hc says how. Whatever is wrong with the documents is told at once, each
// fault with its file and line.
func New(opt Options, url string, hc *http.Client) (*Adapter, error) {
	if opt.MaxMessage <= 0 {
		opt.MaxMessage = defaultMaxMessage
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	operations, err := readDocuments(opt.Documents)
	if err != nil {
		return nil, errors.Join(err, unfitting(operations, opt.Schema))
	}
	a := &Adapter{opt: opt, url: url, hc: hc, byName: make(map[string]*action), since: time.Now()}
	a.refused = refusals{opt.Log.With("upstream", string(opt.ID)), drift.New(len(operations), 0)}
	var faults []error
	for _, op := range operations {
		act, err := compile(opt.ID, op, opt.Schema)
		switch {
		case err != nil:
			faults = append(faults, err)
		case act.mutates && !opt.Writes:
			a.hidden++
		default:
			a.tools = append(a.tools, act.tool)
			a.byName[act.tool.Name] = act
		}
	}
	if a.hidden > 0 {
		opt.Log.Info("mutations are not offered, because writes are not allowed", "upstream", string(opt.ID), "mutations", a.hidden)
	}
	a.opt.Documents, a.opt.Schema = nil, nil // they are large and have served
	return a, errors.Join(faults...)
}

// unfitting tells what of documents that are faulty does not fit the schema
// either.
func unfitting(operations []*operation, s *Schema) error {
	var faults []error
	for _, op := range operations {
		if s != nil && op.whole {
			faults = append(faults, s.check(op, known...))
		}
	}
	return errors.Join(faults...)
}

// Hidden implements [upstream.Hider].
func (a *Adapter) Hidden() int { return a.hidden }

// Tools implements [upstream.Adapter].
func (a *Adapter) Tools(ctx context.Context) ([]upstream.Tool, error) {
	if ctx.Err() != nil {
		return nil, a.named("", httpcall.Ended(ctx, false))
	}
	return slices.Clone(a.tools), nil
}

// Call implements [upstream.Adapter].
func (a *Adapter) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	if c.Op != upstream.CallTool {
		return nil, a.named("", &upstream.Error{Op: string(c.Op), Kind: upstream.NotFound, Public: "a GraphQL service has tools only"})
	}
	act := a.byName[c.Name]
	if act == nil {
		return nil, a.named(c.Name, &upstream.Error{Kind: upstream.NotFound, Public: "there is no such tool"})
	}
	res, err := a.run(ctx, c, act)
	if err != nil {
		return nil, a.named(c.Name, err)
	}
	return res, nil
}

func (a *Adapter) run(ctx context.Context, c *upstream.Call, act *action) (*upstream.Result, error) {
	if ctx.Err() != nil {
		return nil, httpcall.Ended(ctx, false)
	}
	body, err := act.body(c.Arguments)
	if err != nil {
		return nil, err
	}
	ctx, leave, ok := a.busy.Enter(ctx)
	if !ok {
		return nil, httpcall.Ended(ctx, false)
	}
	defer leave()
	res, ans, err := a.ask(ctx, c, act, body)
	e, failed := errors.AsType[*upstream.Error](err)
	if failed && ans != nil && e.Kind == upstream.NeedsLogin && ans.RefuseCredential(ctx) && (!e.Sent || !act.mutates) {
		res, _, err = a.ask(ctx, c, act, body)
	}
	return res, err
}

// ask makes the request; the answer is nil if there was none.
func (a *Adapter) ask(ctx context.Context, c *upstream.Call, act *action, body []byte) (*upstream.Result, *answer, error) {
	ans, err := a.send(ctx, c, body)
	if err != nil {
		return nil, nil, err
	}
	res, refusal, err := ans.result(act.mutates)
	switch {
	case err == nil:
		a.refused.drop(c.Name)
	case refusal != "":
		a.refused.add(c.Name, refusal)
	}
	return res, ans, err
}

// Health implements [upstream.Reporter]. There is no connection that could be
// lost; whether the service answers is found out by calls.
func (a *Adapter) Health() upstream.Health {
	return upstream.Health{State: upstream.Up, Since: a.since}
}

// Close implements [upstream.Adapter]: calls in flight end, and idle connections of
// its client.
func (a *Adapter) Close() error {
	a.busy.Close()
	a.hc.CloseIdleConnections()
	return nil
}

// Drift implements [upstream.Drifter]: the operations that the service refuses
// to carry out, because its schema is another than the one that they were
// written for.
func (a *Adapter) Drift() []upstream.Drift { return a.refused.known.List() }

// named puts the names of upstream and tool on a failure.
func (a *Adapter) named(tool string, err error) error {
	e := *upstream.AsError(a.opt.ID, tool, err)
	e.Upstream, e.Tool = a.opt.ID, tool
	if e.Op == "" {
		e.Op = string(upstream.CallTool)
	}
	return &e
}
