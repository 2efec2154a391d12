package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/restapi"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/web"
	"github.com/bulkhead-mcp/bulkhead/internal/telemetry"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// hosted is a sample source that is served in this process behind its own
// authorization server, for one adapter, which signs in to it as it would to one
// elsewhere, and with a secret that nobody else knows.
type hosted struct {
	server sampleServer
	signIn *signIn
	stop   func() // ends the server
}

// sampleServer is a sample source as a web service.
type sampleServer interface {
	run(context.Context, net.Listener) error // until the context ends
	Issued() int                             // access tokens so far
}

// host starts a sample source on a free port. u gets its address; scopes are
// those to read and to write.
func (w *wiring) host(ctx context.Context, u *config.Upstream, path, read, write string, serve func(origin, secret string) (sampleServer, error)) (*hosted, *httpSide, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("the sample source: %w", err)
	}
	s, secret := &hosted{}, rand.Text()
	origin := "http://" + ln.Addr().String()
	var h *httpSide
	s.server, err = serve(origin, secret)
	if err == nil {
		u.URL, u.Auth = origin+path, config.Auth{
			Type: "client_credentials", TokenURL: origin + "/token", ClientID: web.ClientID, Resource: origin + path,
			Scopes: []string{read}, WriteScopes: []string{read, write},
		}
		s.signIn, err = sampleSignIn(ctx, *u, credentials.NewSecret(secret), w.complain(u.Name))
	}
	if err == nil {
		h, err = signedHTTP(ctx, *u, s.signIn, transport(*u), s.signIn.closing(ctx))
	}
	if err != nil {
		return nil, nil, errors.Join(err, ln.Close())
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // calls may outlast the watching
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.server.run(life, ln); err != nil {
			w.log.Error("a sample source cannot be served any more", "upstream", u.Name, "error", err)
		}
	})
	s.stop = func() { end(); serving.Wait() }
	return s, h, nil
}

// expiry returns when the token that calls read with ends; zero if there is
// none.
func (s *hosted) expiry() time.Time { return s.signIn.sets[0].tokens.State().Expiry }

// sampleSignIn builds the sign-in with a secret that no configuration names.
func sampleSignIn(ctx context.Context, u config.Upstream, secret credentials.Secret, report func(error)) (*signIn, error) {
	i := &issuer{u: u, client: &http.Client{Transport: egress.New(tokenConns), Timeout: tokenTimeout}}
	if err := i.endpoint(ctx); err != nil {
		return nil, err
	}
	i.end.Auth = credentials.BasicClient(secret)
	return i.signIn(ctx, "", nil, report)
}

// desk is the ticket system as an upstream.
type desk struct {
	*closing
	*hosted
}

// newDesk starts the ticket system; closing the adapter ends it.
func (w *wiring) newDesk(ctx context.Context, u config.Upstream, opt mcpserver.Options, signedIn *atomic.Pointer[signIn]) (upstream.Adapter, error) {
	log, err := telemetry.NewLogger(w.env.Err, "error", w.cfg.Server.LogFormat) // its calls are in our log already
	if err != nil {
		return nil, err
	}
	lifetime := u.Auth.Lifetime
	s, h, err := w.host(ctx, &u, web.MCPPath, ticketsRead, ticketsWrite, func(origin, secret string) (sampleServer, error) {
		return newTicketServer(ctx, origin, secret, u.Latency, lifetime, log)
	})
	if err != nil {
		return nil, err
	}
	signedIn.Store(s.signIn)
	return &desk{overHTTP(u, opt, h), s}, nil
}

// Close implements upstream.Adapter.
func (d *desk) Close() error {
	err := d.closing.Close()
	d.stop()
	return err
}

// The scopes of the CRM.
const (
	crmRead  = "crm.read"
	crmWrite = "crm.write"
)

// crm is the sample CRM on HTTP.
type crm struct {
	*web.Server
	source upstream.Adapter
}

func (c *crm) run(ctx context.Context, ln net.Listener) error {
	return errors.Join(c.Serve(ctx, ln), c.source.Close())
}

// newCRM starts the sample CRM and asks it as any other REST service.
func newCRM(ctx context.Context, w *wiring, u config.Upstream, signedIn *atomic.Pointer[signIn]) (upstream.Adapter, error) {
	source, err := sandbox.New(u.Sandbox, sandbox.Options{Latency: u.Latency})
	if err != nil {
		return nil, err
	}
	d, err := rest.Parse(restapi.Definition, "the sample CRM")
	if err != nil {
		return nil, err
	}
	s, h, err := w.host(ctx, &u, restapi.Path, crmRead, crmWrite, func(origin, secret string) (sampleServer, error) {
		return &crm{source: source, Server: web.New(web.Options{
			Origin: origin, Secret: secret, Path: restapi.Path, Handler: restapi.New(source), Writes: restapi.Writes, Read: crmRead, Write: crmWrite,
		})}, nil
	})
	if err != nil {
		return nil, err
	}
	signedIn.Store(s.signIn)
	u.REST.Values = map[string]string{"origin": strings.TrimSuffix(u.URL, restapi.Path)}
	own := h.release
	h.release = func() { own(); s.stop() }
	return w.overREST(u, d, h)
}
