package cli

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/web"
	"github.com/bulkhead-mcp/bulkhead/internal/telemetry"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// desk is the ticket system as an upstream: a server in this process, and the
// adapter that signs in to it as it would to one elsewhere.
type desk struct {
	*mcpserver.Adapter
	server  *ticketServer
	sources map[string]*credentials.Refresher // by set of scopes
	pools   []*http.Transport
	stop    func() // ends the server
}

// newDesk starts a server on a free port, for one adapter and with a secret that
// nobody else knows; closing the adapter ends it.
func (w *wiring) newDesk(ctx context.Context, u config.Upstream, opt mcpserver.Options) (upstream.Adapter, error) {
	log, err := telemetry.NewLogger(w.env.Err, "error", w.cfg.Server.LogFormat) // its calls are in our log already
	if err != nil {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d, err := w.connect(ctx, u, opt, ln, log)
	if err != nil {
		_ = ln.Close() // nothing was served
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // calls may outlast the watching
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := d.server.run(life, ln); err != nil {
			w.log.Error("the sample ticket system cannot be served any more", "upstream", u.Name, "error", err)
		}
	})
	d.stop = func() {
		for _, source := range d.sources {
			source.Close(life)
		}
		for _, pool := range d.pools { // or the server would wait for what they have open
			pool.CloseIdleConnections()
		}
		end()
		serving.Wait()
	}
	return d, nil
}

// connect makes the server for ln and the adapter that calls it.
func (w *wiring) connect(ctx context.Context, u config.Upstream, opt mcpserver.Options, ln net.Listener, log *slog.Logger) (*desk, error) {
	secret, origin := rand.Text(), "http://"+ln.Addr().String()
	server, err := newTicketServer(ctx, origin, secret, u.Latency, u.Auth.Lifetime, log)
	if err != nil {
		return nil, err
	}
	tokens := egress.New(tokenConns)
	end := &credentials.Endpoint{
		Name: u.Name, URL: origin + "/token", ClientID: web.ClientID, Auth: credentials.BasicClient(credentials.NewSecret(secret)),
		Params: url.Values{"resource": {web.Endpoint(origin)}}, Client: &http.Client{Transport: tokens, Timeout: tokenTimeout},
	}
	if err := end.Check(); err != nil {
		return nil, err
	}
	spec := credentials.Spec{Name: u.Name, Origins: []string{origin}, Scopes: map[string]credentials.Attachment{}}
	sources := map[string]*credentials.Refresher{}
	for set, scopes := range ticketScopes() {
		who := credentials.Identity{Upstream: u.Name, Issuer: origin, ClientID: web.ClientID, Scopes: scopes, Resource: web.Endpoint(origin)}
		sources[set] = credentials.NewRefresher(credentials.SourceSpec{
			Name: u.Name, ID: who.ID(), Fetch: credentials.ClientCredentials(end, scopes),
			Report: func(err error) { w.log.Warn("token not renewed", "upstream", u.Name, "error", err) },
		})
		if set == readSet {
			spec.Attach = credentials.BearerFrom(sources[set])
		} else {
			spec.Scopes[set] = credentials.BearerFrom(sources[set])
		}
	}
	grant, err := credentials.NewGrant(spec)
	if err != nil {
		return nil, err
	}
	base := egress.New(max(idleConns, u.Limit.Concurrency))
	writing := grant.Scoped(writeSet).Client(base)
	u.Auth.WriteScopes = ticketScopes()[writeSet]
	opt.ClientFor = func(c *upstream.Call) *http.Client {
		if setOf(u, c) == writeSet {
			return writing
		}
		return nil
	}
	return &desk{
		Adapter: mcpserver.NewHTTP(opt, web.Endpoint(origin), grant.Client(base)), server: server, sources: sources, pools: []*http.Transport{base, tokens},
	}, nil
}

// Close implements upstream.Adapter.
func (d *desk) Close() error {
	err := d.Adapter.Close()
	d.stop()
	return err
}

// expiry returns when the token that calls read with ends; zero if there is
// none.
func (d *desk) expiry() time.Time { return d.sources[readSet].State().Expiry }
