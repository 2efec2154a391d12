// Command authclient is an MCP client that is to be judged: it connects to the
// server at the URL that is its last argument, signs in when the server wants
// that, lists its tools and calls the first. The official conformance runner
// starts it. Its job is to put the packages together as Bulkhead does, with a
// person who says yes to everything in the place of a browser. It must not decide
// anything that they decide.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second) //nolint:forbidigo // a main of its own
	defer cancel()
	if err := run(ctx, os.Args[len(os.Args)-1], os.Getenv); err != nil { //nolint:forbidigo // how the runner tells things
		fmt.Fprintln(os.Stderr, "authclient:", err)
		os.Exit(1)
	}
}

// run is one conversation. The runner says in the environment which revision it
// speaks, and which client it has registered.
func run(ctx context.Context, server string, env func(string) string) error {
	opt := mcpauth.Options{
		Name: "server", Server: server, Client: &http.Client{Transport: egress.New(2)},
		DocumentURL: "https://conformance-test.local/client-metadata.json", // of the runner's choice
	}
	var given struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"` //nolint:gosec // the runner's own
		Issuer string `json:"issuer"`
	}
	if text := env("MCP_CONFORMANCE_CONTEXT"); text != "" {
		if err := json.Unmarshal([]byte(text), &given); err != nil {
			return fmt.Errorf("MCP_CONFORMANCE_CONTEXT: %w", err)
		}
	}
	if opt.ClientID, opt.Issuer = given.ID, given.Issuer; given.Secret != "" {
		opt.ClientSecret = credentials.NewSecret(given.Secret)
	}
	source, err := mcpauth.NewSource(opt)
	if err != nil {
		return err
	}
	u, err := url.Parse(server)
	if err != nil {
		return err
	}
	grant, err := credentials.NewGrant(credentials.Spec{Name: opt.Name, Origins: []string{u.Scheme + "://" + u.Host}, Attach: credentials.BearerFrom(source)})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	hc := grant.Client(source.Transport(egress.New(2)))
	hc.Transport = &person{base: hc.Transport, source: source, browser: egress.New(2), end: end}
	era := mcpserver.Legacy
	if env("MCP_CONFORMANCE_PROTOCOL_VERSION") >= "2026-07-28" {
		era = mcpserver.Modern
	}
	if err := converse(ctx, mcpserver.NewHTTP(mcpserver.Options{ID: "server", Era: era}, server, hc)); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return nil
}

// converse lists the server's tools and calls the first.
func converse(ctx context.Context, a *mcpserver.Adapter) error {
	watch, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		_ = a.Watch(watch, upstream.Events{}) // the calls tell what goes wrong
	}()
	defer func() {
		stop()
		<-watched
		_ = a.Close() // the server need not hear of it
	}()
	tools, err := a.Tools(ctx)
	if err != nil || len(tools) == 0 {
		return errors.Join(err, ctx.Err())
	}
	tool := &tools[0]
	params, err := json.Marshal(map[string]any{"name": tool.Name, "arguments": struct{}{}})
	if err != nil {
		return err
	}
	_, err = a.Call(ctx, &upstream.Call{
		ID: "1", Principal: upstream.Local(), Op: upstream.CallTool, Upstream: "server", Name: tool.Name, Tool: tool, Exposed: tool.Name,
		Params: params, Arguments: json.RawMessage("{}"), Timing: &upstream.Timing{},
	})
	return err
}

// person sends requests, and when somebody has to sign in, does that and sends
// them again. Who cannot sign in gives up.
type person struct {
	base    http.RoundTripper
	source  *mcpauth.Source
	browser http.RoundTripper
	end     context.CancelCauseFunc
	mu      sync.Mutex
}

// RoundTrip implements http.RoundTripper.
func (p *person) RoundTrip(req *http.Request) (*http.Response, error) {
	for {
		resp, err := p.base.RoundTrip(req)
		e, ok := errors.AsType[*credentials.TokenError](err)
		switch {
		case !ok || e.Trouble == credentials.Transient:
			return resp, err
		case e.Trouble == credentials.Misconfigured || req.Body != nil && req.GetBody == nil:
			p.end(err)
			return nil, err
		}
		if err := p.signIn(req.Context()); err != nil {
			p.end(err)
			return nil, err
		}
		req = req.Clone(req.Context())
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

func (p *person) signIn(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.source.Login(ctx, func(at string) error {
		back, err := p.visit(ctx, at)
		if err != nil {
			return err
		}
		go p.visit(ctx, back) //nolint:errcheck // whoever waits for it sees that it does not come
		return nil
	})
}

// visit returns where a page sends the browser.
func (p *person) visit(ctx context.Context, at string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", err
	}
	resp, err := p.browser.RoundTrip(req) //nolint:gosec // where the runner's server sends it
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return "", err
	}
	if to, err := resp.Location(); err == nil {
		return to.String(), nil
	}
	return "", fmt.Errorf("HTTP %d: %s", resp.StatusCode, text)
}
