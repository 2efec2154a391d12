package cli

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

const (
	maxUserLinks = 1_000            // connections to one upstream that are open for users at a time
	userLinkIdle = 10 * time.Minute // after which one is closed
)

// perUser is an MCP server that is asked with each user's own sign-in: over a
// connection for each, with a session, a transport and a client of its own, which
// is made at the first call and closed when it is idle. What the server lists is
// read over one of them, see [userCatalog]. Changes of single resources are not told:
// whoever asked to be told of them might not be the one who may know.
type perUser struct {
	*accounts
	links   *credentials.Holder[*userLink]
	opt     mcpserver.Options
	base    context.Context // what links live in; it does not end
	catalog *userCatalog
}

// userLink is the connection of one user.
type userLink struct {
	adapter  *closing
	operator bool
	stop     context.CancelFunc
	watching sync.WaitGroup
}

// Busy implements credentials.Held.
func (*userLink) Busy() bool { return false }

// Close implements credentials.Held. It waits until everything is released.
func (l *userLink) Close(context.Context) {
	l.stop()
	l.watching.Wait()
	_ = l.adapter.Close() // there is nobody to tell
}

// perUser builds the adapter of an upstream that is asked with each user's own
// sign-in.
func (w *wiring) perUser(ctx context.Context, u config.Upstream, opt mcpserver.Options) (*perUser, error) {
	links := credentials.NewHolder[*userLink](maxUserLinks, userLinkIdle)
	own, err := newAccounts(ctx, w, u, links)
	if err != nil {
		return nil, err
	}
	return &perUser{accounts: own, links: links, opt: opt, base: context.WithoutCancel(ctx), catalog: &userCatalog{began: time.Now()}}, nil
}

// Watch implements upstream.Watcher. The operator's connection is kept, if the
// operator has signed in; that of users is closed when it is idle.
func (p *perUser) Watch(ctx context.Context, tell upstream.Events) error {
	p.catalog.listen(tell)
	if s, release, err := p.use(ctx, upstream.Local()); err == nil {
		_, err := s.sets[0].tokens.Token(ctx)
		release()
		if e, ok := errors.AsType[*credentials.TokenError](err); err == nil || ok && e.Trouble != credentials.NeedsLogin {
			if _, release, err := p.link(ctx, upstream.Local()); err == nil {
				defer release()
			}
		}
	}
	tell.Change("") // nobody's first list waits for somebody to sign in
	tick := time.NewTicker(userLinkIdle / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case who := <-p.visits:
			p.visit(ctx, who)
		case <-tick.C:
			p.sweep(ctx)
		}
	}
}

// visit connects a user who has signed in, if nobody is connected over whose
// connection the lists could be read.
func (p *perUser) visit(ctx context.Context, who upstream.Principal) {
	if p.catalog.reading() != nil || !who.Valid() {
		return
	}
	s, done, err := p.use(ctx, who)
	if err != nil {
		return
	}
	_, err = s.sets[0].tokens.Token(ctx)
	done()
	if err != nil {
		return
	}
	if _, release, err := p.link(ctx, who); err == nil {
		release()
	}
}

// link returns the connection of a user, which is made if there is none.
func (p *perUser) link(ctx context.Context, who upstream.Principal) (*userLink, func(), error) {
	s, done, err := p.use(ctx, who)
	if err != nil {
		return nil, nil, err
	}
	l, release, err := p.links.Use(ctx, subjectOf(who), func() (*userLink, error) { //nolint:contextcheck // it outlives the call that makes it
		l, err := p.connect(s, done, who)
		if err == nil {
			done = nil // it is the link's now
		}
		return l, err
	})
	if done != nil {
		done()
	}
	return l, release, err
}

// connect makes a connection with the tokens of s. It waits for nothing.
func (p *perUser) connect(s *signIn, done func(), who upstream.Principal) (*userLink, error) {
	h, err := signedHTTP(p.base, p.u, s, transport(p.u), done)
	if err != nil {
		return nil, err
	}
	opt := p.opt
	opt.Log = opt.Log.With("principal", who.String())
	life, stop := context.WithCancel(p.base)
	l := &userLink{adapter: overHTTP(p.u, opt, h), operator: who == upstream.Local(), stop: stop}
	l.watching.Go(func() {
		defer p.catalog.gone(l)
		err := l.adapter.Watch(life, upstream.Events{
			Changed: func(list upstream.List) {
				if !p.catalog.changed(l, list) {
					p.w.users.forget(p.id(), who)
				}
			},
			Note: func(method string, params json.RawMessage) { p.catalog.note(l, method, params) },
		})
		if err != nil {
			opt.Log.Error("connection given up", "error", err)
		}
	})
	return l, nil
}

// Call implements upstream.Adapter. Without a token no connection is made.
func (p *perUser) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	if err := p.ready(ctx, c); err != nil {
		return nil, err
	}
	l, release, err := p.link(ctx, c.Principal)
	if err != nil {
		return nil, p.unlinked(c, err)
	}
	defer release()
	return l.adapter.Call(ctx, c)
}

// Tools implements upstream.Adapter: what the connection lists that the catalog
// is read over.
func (p *perUser) Tools(ctx context.Context) ([]upstream.Tool, error) {
	l := p.catalog.reading()
	if l == nil {
		return nil, p.nobody("tools/list")
	}
	return l.adapter.Tools(ctx)
}

// Items implements upstream.Lister. What is a user's own, resources and skills,
// is listed for all only if it is the operator's.
func (p *perUser) Items(ctx context.Context, list upstream.List) ([]upstream.Item, error) {
	l := p.catalog.reading()
	switch {
	case l == nil:
		return nil, p.nobody(string(list))
	case !l.operator && list != upstream.Prompts && list != upstream.Templates:
		return nil, nil
	}
	return l.adapter.Items(ctx, list)
}

func (p *perUser) nobody(op string) error {
	return &upstream.Error{Upstream: p.id(), Op: op, Kind: upstream.NeedsLogin, Public: "nobody is connected to it at the moment"}
}

// Health implements upstream.Reporter.
func (p *perUser) Health() upstream.Health { return p.catalog.health() }

// Held implements upstream.Holder.
func (p *perUser) Held() []upstream.Held {
	if l := p.catalog.reading(); l != nil {
		return l.adapter.Held()
	}
	return nil
}

// Extensions implements upstream.Extender.
func (p *perUser) Extensions() map[string]json.RawMessage {
	if l := p.catalog.reading(); l != nil {
		return l.adapter.Extensions()
	}
	return nil
}

// Fresh implements upstream.Dater. While nobody is connected nothing is read
// again.
func (p *perUser) Fresh(list upstream.List) time.Duration {
	if l := p.catalog.reading(); l != nil {
		return l.adapter.Fresh(list)
	}
	return upstream.Announced
}

// Close implements upstream.Adapter.
func (p *perUser) Close() error {
	p.end(p.base)
	return nil
}
