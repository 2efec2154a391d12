package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/web"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// ticketSystem is the sample source that is served over HTTP and demands a
// token.
const ticketSystem = "tickets"

// The scopes of the ticket system.
const (
	ticketsRead  = "tickets.read"
	ticketsWrite = "tickets.write"
)

// edge makes a sample source and the edge that its clients meet.
func edge(name string, opt sandbox.Options, log *slog.Logger) (upstream.Adapter, *aggregate.Aggregate, *inbound.Server, error) {
	adapter, err := sandbox.New(name, opt)
	if err != nil {
		return nil, nil, nil, err
	}
	a, err := aggregate.New([]aggregate.Member{{ID: upstream.ID(name), Adapter: adapter}}, aggregate.Options{Log: log, Plain: true})
	if err != nil {
		return nil, nil, nil, err
	}
	srv, err := inbound.New(lookup(a), inbound.Options{
		Name: "bulkhead-sandbox-" + name, Title: "Bulkhead sample " + name, Version: Version(), Log: log,
	})
	return adapter, a, srv, err
}

// ticketServer is the ticket system on HTTP.
type ticketServer struct {
	*web.Server
	behind *aggregate.Aggregate
	origin string
}

// newTicketServer makes one for an address, whose client has a secret. lifetime
// is that of its tokens; 0 is two minutes.
func newTicketServer(ctx context.Context, origin, secret string, latency, lifetime time.Duration, log *slog.Logger) (*ticketServer, error) {
	adapter, a, srv, err := edge(ticketSystem, sandbox.Options{Latency: latency}, log)
	if err != nil {
		return nil, err
	}
	tools, err := adapter.Tools(ctx)
	if err != nil {
		return nil, err
	}
	writes := make(map[string]bool, len(tools))
	for _, t := range tools {
		writes[t.Name] = !t.Hints.ReadOnly
	}
	return &ticketServer{behind: a, origin: origin, Server: web.New(web.Options{
		Origin: origin, Secret: secret, Lifetime: lifetime, Path: web.MCPPath, Handler: srv.Handler(),
		Writes: web.CallsThatWrite(func(tool string) bool { return writes[tool] }), Read: ticketsRead, Write: ticketsWrite,
	})}, nil
}

// run serves ln until ctx ends.
func (s *ticketServer) run(ctx context.Context, ln net.Listener) error {
	return beside(ctx, s.behind, func() error { return s.Serve(ctx, ln) })
}

// secretOf returns the secret of a ticket system that is served on its own, and
// whether it was made up.
func secretOf(env Env) (secret string, made bool) {
	if secret = env.variable(secretVariable); secret != "" {
		return secret, false
	}
	return rand.Text(), true
}

const secretVariable = "BULKHEAD_SANDBOX_SECRET" //nolint:gosec // a name

// serveTickets serves the ticket system over HTTP, with its authorization
// server.
func serveTickets(ctx context.Context, inv *invocation, latency time.Duration, log *slog.Logger) error {
	host, _, err := net.SplitHostPort(inv.opt.listen)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return &usageError{fmt.Sprintf("--listen %q is no address on this machine", inv.opt.listen), "write it like 127.0.0.1:8899; port 0 takes a free one"}
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", inv.opt.listen)
	if err != nil {
		return &hintError{err, "choose another address with --listen; port 0 takes a free one"}
	}
	secret, made := secretOf(inv.Env)
	server, err := newTicketServer(ctx, "http://"+ln.Addr().String(), secret, latency, 0, log)
	if err != nil {
		_ = ln.Close() // nothing was served
		return err
	}
	if made {
		_, _ = fmt.Fprintf(inv.Err, "bulkhead: the client secret of this run is %s; to choose one, set %s\n", secret, secretVariable)
	}
	if _, err := fmt.Fprintf(inv.Out, ticketSource, server.origin, web.ClientID, secretVariable); err != nil {
		_ = ln.Close()
		return err
	}
	return server.run(ctx, ln)
}

// ticketSource is how Bulkhead is told of the server.
const ticketSource = `# The sample ticket system is served until it is interrupted. As a source:

[upstream.tickets]
url = "%[1]s/mcp"

[upstream.tickets.auth]
type = "client_credentials"
token_url = "%[1]s/token"
client_id = "%[2]s"
client_secret = { env = "%[3]s" }
resource = "%[1]s/mcp"
scopes = ["tickets.read"]
write_scopes = ["tickets.read", "tickets.write"]
# To sign in as a person, with bulkhead login tickets:
# type = "authorization_code"
# authorization_url = "%[1]s/authorize"
# issuer = "%[1]s"
# revocation_url = "%[1]s/revoke"
`
