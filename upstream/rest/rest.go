// Package rest asks services that speak REST, by declared actions: a
// [Definition] says which requests there are and what their answers mean, and
// each action is a tool.
//
// Job: hold the arguments of a call to their types, lay them into one request
// whose origin and constant path they cannot change, and turn the answer into
// records, a cursor for the next page, or an *[upstream.Error].
//
// It owns the form of definitions, paging and its sealed cursors, and what a
// service's own codes mean. It must not know configuration, credentials, other
// upstreams, or any service by name; whoever builds an [Adapter] hands in an HTTP
// client that carries the login and keeps to its origins.
package rest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// Options configures an [Adapter]. ID and Definition are required.
type Options struct {
	ID         upstream.ID
	Definition *Definition
	// Values are those that the definition asks for, see [Definition.Fill].
	Values map[string]string
	// BaseURL replaces the definition's; "" leaves it.
	BaseURL string
	// Key seals cursors; if it is the same after a restart, so are they. Empty is
	// a random one.
	Key        []byte
	MaxMessage int64 // bytes of an answer; default 16 MiB
	MaxRecords int   // records of one result, the rest has a cursor of its own; default 1000
	Writes     bool  // whether actions that are more than a read are offered
	// Log is told when an answer lacks a declared field for the first time, by name;
	// nil discards.
	Log *slog.Logger
	// ClientFor returns the client for a call, where it needs another credential
	// than the others; nil is the one that the adapter was made with. May be nil.
	ClientFor func(*upstream.Call) *http.Client
	// TokenValue returns a member of the response that a call's token came with, for
	// the values of the definition that say so. May be nil where none do, or BaseURL
	// is set.
	TokenValue func(ctx context.Context, c *upstream.Call, member string) (string, error)
}

// The defaults of [Options].
const (
	DefaultMaxMessage = 16 << 20
	DefaultMaxRecords = 1000
)

// Adapter is one REST source. It implements [upstream.Adapter],
// [upstream.Reporter] and [upstream.Drifter].
type Adapter struct {
	opt     Options
	hc      *http.Client
	base    *bases
	rules   *rules
	sealer  *sealer
	salt    [32]byte // of idempotency keys
	tools   []upstream.Tool
	actions map[string]*action
	hidden  int
	since   time.Time

	calls httpcall.InFlight
}

var (
	_ upstream.Adapter  = (*Adapter)(nil)
	_ upstream.Reporter = (*Adapter)(nil)
	_ upstream.Drifter  = (*Adapter)(nil)
)

// New returns an adapter for the source that o describes. It starts nothing. The
// error names everything that is wrong with the definition or the values.
//
// hc carries the login, the origin check and the dial guard. A GET follows
// redirects within its origin, and nothing follows any other. Its Timeout is
// ignored: contexts bound calls.
func New(o Options, hc *http.Client) (*Adapter, error) {
	if o.Definition == nil {
		return nil, errors.New("there is no definition")
	}
	if err := o.Definition.Check(); err != nil {
		return nil, err
	}
	values, err := o.Definition.values(o.Values)
	if err != nil {
		return nil, err
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.MaxRecords <= 0 {
		o.MaxRecords = DefaultMaxRecords
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Adapter{opt: o, hc: client(hc), rules: newRules(o.Definition), actions: make(map[string]*action), since: time.Now()}
	if a.base, err = newBases(&o, values); err != nil {
		return nil, err
	}
	if a.sealer, err = newSealer(o.Key); err != nil {
		return nil, err
	}
	_, _ = rand.Read(a.salt[:]) // it never fails
	log := o.Log.With("upstream", string(o.ID))
	for i := range o.Definition.Actions {
		def := &o.Definition.Actions[i]
		if def.Writes() && !o.Writes {
			a.hidden++
			continue
		}
		act, err := compile(o.ID, o.Definition, def, values, log)
		if err != nil {
			return nil, err
		}
		a.actions[def.Name] = act
		a.tools = append(a.tools, act.tool)
	}
	return a, nil
}

// Hidden implements [upstream.Hider].
func (a *Adapter) Hidden() int { return a.hidden }

// maxRedirects is how often a read follows one within its origin.
const maxRedirects = 3

// client returns a copy of hc as this package needs it.
func client(hc *http.Client) *http.Client {
	c := *hc
	c.Timeout = 0
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		first := via[0]
		if len(via) > maxRedirects || req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host ||
			first.Method != http.MethodGet && first.Method != http.MethodHead {
			return http.ErrUseLastResponse
		}
		if hc.CheckRedirect != nil {
			return hc.CheckRedirect(req, via)
		}
		return nil
	}
	return &c
}

// Tools implements [upstream.Adapter].
func (a *Adapter) Tools(context.Context) ([]upstream.Tool, error) {
	return slices.Clone(a.tools), nil
}

// Call implements [upstream.Adapter]. A result is structured: of a list
// {"records": […], "count": n, "next_cursor": …, "total": …}, of anything else
// the record itself. What the source itself says of a failure is the result's
// text or the error's Public.
func (a *Adapter) Call(ctx context.Context, call *upstream.Call) (*upstream.Result, error) {
	res, err := a.call(ctx, call)
	if err != nil {
		e := *upstream.AsError(a.opt.ID, call.Name, err)
		e.Upstream, e.Tool, e.Op = a.opt.ID, call.Name, string(call.Op)
		return nil, &e
	}
	return res, nil
}

func (a *Adapter) call(ctx context.Context, call *upstream.Call) (*upstream.Result, error) {
	if call.Op != upstream.CallTool {
		return nil, &upstream.Error{Kind: upstream.NotFound, Public: "it offers tools only"}
	}
	act := a.actions[call.Name]
	if act == nil {
		return nil, &upstream.Error{Kind: upstream.NotFound, Public: "there is no such tool"}
	}
	if ctx.Err() != nil {
		return nil, httpcall.Ended(ctx, false)
	}
	ctx, leave, ok := a.calls.Enter(ctx)
	if !ok {
		return nil, httpcall.Ended(ctx, false)
	}
	defer leave()
	in, err := act.read(call.Arguments)
	if err != nil {
		return nil, err
	}
	v := &visit{in: in, at: &page{}, most: a.opt.MaxRecords}
	bound := func() []byte { return act.bound(a.opt.ID, call.Principal, in) }
	v.cursor = func(p *page) string { return a.sealer.seal(p, bound()) }
	if in.cursor != "" {
		if v.at, err = a.sealer.open(in.cursor, bound()); err != nil {
			return nil, err
		}
	}
	act.pager.turn(in, v.at)
	base, err := a.base.get(ctx, call)
	if err != nil {
		return nil, err
	}
	w, err := act.request(base, in, v.at, a.key(act, call))
	if err != nil {
		return nil, err
	}
	v.url = &w.url
	hc := a.hc
	if a.opt.ClientFor != nil {
		if own := a.opt.ClientFor(call); own != nil {
			hc = client(own)
		}
	}
	res, ans, err := a.ask(ctx, hc, act, v, w)
	if tokenRefused(err) && ans.RefuseCredential(ctx) {
		res, _, err = a.ask(ctx, hc, act, v, w)
	}
	return res, err
}

// ask makes the request; the answer is nil if there was none.
func (a *Adapter) ask(ctx context.Context, hc *http.Client, act *action, v *visit, w *wire) (*upstream.Result, *httpcall.Answer, error) {
	ans, err := httpcall.Send(ctx, hc, a.opt.MaxMessage, w.build)
	if err != nil {
		return nil, nil, err
	}
	res, err := act.result(ans, v, a.rules)
	if err == nil && res.Quota == nil {
		res.Quota = httpcall.Quota(ans.Header)
	}
	return res, ans, err
}

// key returns the idempotency key of a call, which is the same in each of its
// attempts; "" if the action has none.
func (a *Adapter) key(act *action, call *upstream.Call) string {
	if act.def.Idempotency == "" {
		return ""
	}
	id := call.ID
	if id == "" {
		id = rand.Text()
	}
	h := hmac.New(sha256.New, a.salt[:])
	h.Write([]byte(act.def.Name + "\x00" + id))
	b := h.Sum(nil)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // as a UUID, which some demand (RFC 9562, section 5.4)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Close implements [upstream.Adapter].
func (a *Adapter) Close() error {
	a.calls.Close()
	a.hc.CloseIdleConnections()
	return nil
}

// Health implements [upstream.Reporter]. A source without a connection is up
// until it is closed; whether it answers is found out by calls.
func (a *Adapter) Health() upstream.Health {
	h := upstream.Health{State: upstream.Up, Since: a.since, Server: a.opt.Definition.Title}
	if a.calls.Closed() {
		h.State, h.Err = upstream.Down, "it is shut down"
	}
	return h
}

// Drift implements [upstream.Drifter].
func (a *Adapter) Drift() []upstream.Drift {
	var out []upstream.Drift
	for i := range a.tools {
		out = append(out, a.actions[a.tools[i].Name].drift.known.List()...)
	}
	slices.SortStableFunc(out, func(x, y upstream.Drift) int { return x.Since.Compare(y.Since) })
	return out
}
