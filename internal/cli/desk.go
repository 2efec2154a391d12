package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
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
	*closing
	server *ticketServer
	signIn *signIn
	stop   func() // ends the server
}

// newDesk starts a server on a free port, for one adapter and with a secret that
// nobody else knows; closing the adapter ends it.
func (w *wiring) newDesk(ctx context.Context, u config.Upstream, opt mcpserver.Options, signedIn *atomic.Pointer[signIn]) (upstream.Adapter, error) {
	log, err := telemetry.NewLogger(w.env.Err, "error", w.cfg.Server.LogFormat) // its calls are in our log already
	if err != nil {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the sample ticket system: %w", err)
	}
	d, secret := &desk{}, rand.Text()
	origin := "http://" + ln.Addr().String()
	d.server, err = newTicketServer(ctx, origin, secret, u.Latency, u.Auth.Lifetime, log)
	if err == nil {
		u.URL, u.Auth = web.Endpoint(origin), ticketAuth(origin)
		d.signIn, err = ticketSignIn(ctx, u, credentials.NewSecret(secret), w.complain(u.Name))
	}
	if err == nil {
		var h *httpSide
		if h, err = signedHTTP(ctx, u, d.signIn); err == nil {
			d.closing = overHTTP(u, opt, h)
		}
	}
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	signedIn.Store(d.signIn)
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // calls may outlast the watching
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := d.server.run(life, ln); err != nil {
			w.log.Error("the sample ticket system cannot be served any more", "upstream", u.Name, "error", err)
		}
	})
	d.stop = func() { end(); serving.Wait() }
	return d, nil
}

// Close implements upstream.Adapter.
func (d *desk) Close() error {
	err := d.closing.Close()
	d.stop()
	return err
}

// expiry returns when the token that calls read with ends; zero if there is
// none.
func (d *desk) expiry() time.Time { return d.signIn.sets[0].tokens.State().Expiry }

// ticketAuth is the sign-in at the ticket system, but for the secret.
func ticketAuth(origin string) config.Auth {
	return config.Auth{
		Type: "client_credentials", TokenURL: origin + "/token", ClientID: web.ClientID, Resource: web.Endpoint(origin),
		Scopes: []string{ticketsRead}, WriteScopes: []string{ticketsRead, ticketsWrite},
	}
}

// ticketSignIn builds the sign-in with a secret that no configuration names.
func ticketSignIn(ctx context.Context, u config.Upstream, secret credentials.Secret, report func(error)) (*signIn, error) {
	i := &issuer{u: u, client: &http.Client{Transport: egress.New(tokenConns), Timeout: tokenTimeout}}
	if err := i.endpoint(ctx); err != nil {
		return nil, err
	}
	i.end.Auth = credentials.BasicClient(secret)
	return i.signIn(ctx, "", nil, report)
}
