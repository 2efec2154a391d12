package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// link carries messages to and from one child process or HTTP endpoint.
type link interface {
	// do sends one request and waits for its answer, at most until ctx ends.
	// An error object is an answer; err is an *[upstream.Error].
	do(ctx context.Context, p *peer, r request) (answer, error)
	// notify sends a notification.
	notify(ctx context.Context, p *peer, method string, params []byte) error
	// done is closed when nothing will ever be answered any more.
	done() <-chan struct{}
	// close releases everything and waits for it; p is nil if no handshake
	// succeeded. ctx may have ended, only its values are used.
	close(ctx context.Context, p *peer)
	// desk is where the server's questions and messages find their calls.
	desk() *desk
}

// peer is what a handshake has found out. It never changes afterwards.
type peer struct {
	ready   bool // the handshake has succeeded
	modern  bool
	version string // protocol revision; "" before initialize is answered
	session string // legacy HTTP: Mcp-Session-Id; "" if the server gave none
	server  string // name and version, for display only
	offers  offers
	meta    []byte // modern: the members of _meta; nil if legacy
	// settled: the handshake found the same era that the server was taken to
	// have contradicted, so what looks like a contradiction is a request's own
	// answer. It holds for a while: a server may be replaced by another.
	settled time.Time
}

func (p *peer) era() Era {
	if p.modern {
		return Modern
	}
	return Legacy
}

// greeter shakes hands on a link.
type greeter struct {
	opt  *Options
	info json.RawMessage // our clientInfo
}

// handshake finds the era and introduces us. hint is the era to try first, ""
// to probe. In Auto a hint that proves wrong costs one more round; a modern hint
// needs no case of its own, because the probe asks the modern question first.
func (g *greeter) handshake(ctx context.Context, l link, hint Era) (*peer, error) {
	_, older := l.(*sseLink) // a transport of the legacy era only
	switch {
	case g.opt.Era == Legacy, older:
		return g.initialize(ctx, l)
	case g.opt.Era == Modern:
		return g.discover(ctx, l)
	case hint == Legacy:
		p, err := g.initialize(ctx, l)
		if final(err) {
			return p, err
		}
		p, other := g.discover(ctx, l)
		if final(other) {
			return p, other
		}
		return g.settle(ctx, l, err, other)
	}
	return g.probe(ctx, l)
}

// final reports whether trying the other era is pointless: it worked, or the
// failure has nothing to do with the era.
func final(err error) bool {
	if err == nil {
		return true
	}
	if _, ok := errors.AsType[*broken](err); ok {
		return true
	}
	switch e := upstream.AsError("", "", err); e.Kind {
	case upstream.UpstreamError, upstream.InvalidArguments, upstream.NotFound:
		return false
	case upstream.Unavailable:
		return !e.Sent // some servers hang up on what they do not know
	}
	return true
}

// settle goes on after neither question has brought about a handshake. What a
// server makes of the question of the era that it does not speak says nothing; so
// if only the other question was lost, on a connection that broke or never
// answered, that one is asked once more.
func (g *greeter) settle(ctx context.Context, l link, initialized, discovered error) (*peer, error) {
	switch {
	case lost(initialized) && !lost(discovered):
		return g.initialize(ctx, l)
	case !aboutEra(initialized):
		return nil, initialized
	case lost(discovered):
		return g.discover(ctx, l)
	}
	return nil, discovered
}

// noHandshake is the failure of a handshake that was answered with an error
// object.
func noHandshake(rpc *upstream.RPCError) *upstream.Error {
	e := rpcFailure(rpc)
	e.Public = "it refuses the handshake: " + e.Public
	return e
}

// lost reports whether nobody knows what a server made of a question.
func lost(err error) bool {
	e := upstream.AsError("", "", err)
	return e.Kind == upstream.Unavailable && e.Sent
}

// probeGrace is how much later than the answer to initialize that to the modern
// question may be taken up, which on one pipe came before it.
const probeGrace = 100 * time.Millisecond

// probe asks a modern question first (MCP 2026-07-28, stdio and Streamable
// HTTP, §Backward Compatibility). Whatever is not a usable answer leads to
// initialize. After a silence the question stays open while initialize is under
// way: a modern server that is slow to start answers both, in order.
func (g *greeter) probe(ctx context.Context, l link) (*peer, error) {
	type found struct {
		p   *peer
		err error
	}
	modern := make(chan found, 1)
	asked, cancel := context.WithCancel(ctx)
	defer cancel()
	greeting, enough := context.WithCancel(ctx)
	defer enough()
	go func() {
		defer close(modern)
		p, err := g.discover(asked, l)
		modern <- found{p, err}
		if err == nil { // it need not answer initialize any more, which it may not know
			time.AfterFunc(probeGrace, enough)
		}
	}()
	silence, stop := context.WithTimeout(ctx, g.opt.ProbeTimeout)
	defer stop()
	select {
	case f := <-modern:
		if final(f.err) {
			return f.p, f.err
		}
		p, err := g.initialize(ctx, l)
		if final(err) {
			return p, err
		}
		return g.settle(ctx, l, err, f.err)
	case <-silence.Done():
	}
	g.opt.Log.Debug("no answer to the era probe yet, trying initialize", "upstream", g.opt.ID)
	p, err := g.greet(greeting, l)
	if err == nil || greeting.Err() != nil && ctx.Err() == nil {
		// One that speaks both eras and was only slow to start has answered both.
		select {
		case f := <-modern:
			if f.err == nil {
				return f.p, nil
			}
		case <-time.After(probeGrace):
		}
	}
	if final(err) {
		cancel()
		<-modern
		if err == nil {
			err = g.confirm(ctx, l, p)
		}
		return p, err
	}
	// Answers come in order, so a modern server's is here by now or soon.
	last, stop := context.WithTimeout(ctx, g.opt.ProbeTimeout)
	defer stop()
	var f found
	select {
	case f = <-modern:
	case <-last.Done():
		cancel()
		if f = <-modern; f.err != nil { // over HTTP it may have gone astray
			f.err = failure(upstream.Unavailable, true, "it did not answer the handshake", errNoAnswer)
		}
	}
	if f.err == nil {
		return f.p, nil
	}
	return g.settle(ctx, l, err, f.err)
}

// discover asks a modern server who it is. A success counts only if it names a
// revision that we speak.
func (g *greeter) discover(ctx context.Context, l link) (*peer, error) {
	p := &peer{modern: true, version: mcp.ProtocolVersion20260728}
	p.meta = modernMeta(p.version, g.info)
	ans, err := l.do(ctx, p, request{method: methodDiscover, params: ownParams("", p.meta)})
	if err == nil && ans.rpc != nil && ans.rpc.Code == codeUnsupportedVersion &&
		slices.Contains(stringList(ans.rpc.Data, "supported"), p.version) {
		// The server refuses a revision and names it as supported: ask once more.
		ans, err = l.do(ctx, p, request{method: methodDiscover, params: ownParams("", p.meta)})
	}
	switch {
	case err != nil:
		return nil, err
	case ans.rpc != nil:
		return nil, noHandshake(ans.rpc)
	case !slices.Contains(stringList(ans.result, "supportedVersions"), p.version):
		return nil, failure(upstream.UpstreamError, true,
			"it does not speak protocol revision "+p.version, fmt.Errorf("%w: %.200s", errNotAServer, ans.result))
	}
	meta, _ := rawjson.Get(ans.result, "_meta")
	info, _ := rawjson.Get(meta, mcp.MetaKeyServerInfo)
	p.learn(ans.result, info)
	return p, nil
}

// initialize shakes hands with a legacy server (MCP 2025-11-25, lifecycle).
func (g *greeter) initialize(ctx context.Context, l link) (*peer, error) {
	p, err := g.greet(ctx, l)
	if err != nil {
		return nil, err
	}
	return p, g.confirm(ctx, l, p)
}

// greet is the first half of initialize, which obliges to nothing.
func (g *greeter) greet(ctx context.Context, l link) (*peer, error) {
	caps := legacyCapabilities
	if g.opt.DenyAsk {
		caps = noCapabilities
	}
	params := fmt.Appendf(nil, `{"protocolVersion":"%s","capabilities":%s,"clientInfo":%s}`,
		mcp.LATEST_LEGACY_PROTOCOL_VERSION, caps, g.info)
	ans, err := l.do(ctx, &peer{}, request{method: methodInitialize, params: params})
	switch {
	case err != nil:
		return nil, err
	case ans.rpc != nil:
		return nil, noHandshake(ans.rpc)
	}
	version, _ := rawjson.GetString(ans.result, "protocolVersion")
	if !slices.Contains(mcp.LegacyProtocolVersions(), version) {
		return nil, failure(upstream.UpstreamError, true, "it answered initialize with a protocol revision that Bulkhead does not know",
			fmt.Errorf("%w %.40q", errUnknownEra, version))
	}
	p := &peer{version: version, session: ans.session}
	info, _ := rawjson.Get(ans.result, "serverInfo")
	p.learn(ans.result, info)
	return p, nil
}

// confirm is the second half.
func (g *greeter) confirm(ctx context.Context, l link, p *peer) error {
	return l.notify(ctx, p, methodInitialized, nil)
}

func (p *peer) learn(result, info json.RawMessage) {
	p.ready = true
	name, _ := rawjson.GetString(info, "name")
	version, _ := rawjson.GetString(info, "version")
	if p.server = name; version != "" {
		p.server += " " + version
	}
	p.server = escape(bounded(p.server, 200))
	p.offers = learnOffers(result)
}

// stringList returns the strings of an array member.
func stringList(obj json.RawMessage, name string) []string {
	arr, _ := rawjson.Get(obj, name)
	var out []string
	for v := range rawjson.Elements(arr) {
		out = append(out, rawjson.String(v))
	}
	return out
}
