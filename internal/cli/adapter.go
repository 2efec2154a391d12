package cli

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// idleConns is how many connections to one HTTP upstream are kept for reuse at
// least: as many as a wide turn of a model may use at once, or each turn dials
// anew.
const idleConns = 256

// adapter builds what speaks to an upstream, or what will build it once its
// secrets are there. signedIn is told then how tokens are had, if any are.
func (w *wiring) adapter(ctx context.Context, u config.Upstream, signedIn *atomic.Pointer[signIn]) (upstream.Adapter, error) {
	opt := mcpserver.Options{
		ID: upstream.ID(u.Name), Era: mcpserver.Era(u.Era), MaxMessage: u.MaxMessage,
		Log: w.log, Keeper: w.guard, Version: Version(), DenyAsk: u.Ask == "deny",
	}
	if w.state != "" {
		memory := eraMemory{filepath.Join(w.state, u.Name+"."+identity(u)[:8]+".era")}
		opt.Remembered, opt.Remember = memory.load(), memory.save
	}
	// A credential may be long in coming; what is wrong with the rest is said at once.
	if check := checks[u.Kind]; check != nil && (needsSecrets(u) || signsIn(u)) {
		if err := check(u); err != nil {
			return nil, err
		}
	}
	build := func(ctx context.Context) (upstream.Adapter, error) {
		if build := kinds[u.Kind]; build != nil {
			return build(ctx, w, u, signedIn)
		}
		switch {
		case u.Sandbox == ticketSystem:
			return w.newDesk(ctx, u, opt, signedIn)
		case u.Auth.PerUser():
			return w.perUser(ctx, u, opt)
		case u.URL != "":
			h, err := w.http(ctx, u, signedIn)
			if err != nil {
				return nil, err
			}
			return overHTTP(u, opt, h), nil
		}
		grant, err := grant(ctx, u, nil)
		if err != nil {
			return nil, err
		}
		if u.Sandbox != "" {
			return mcpserver.NewStdio(opt, grant.Command, w.exe, "sandbox", u.Sandbox, "--latency", u.Latency.String()), nil
		}
		return mcpserver.NewStdio(opt, grant.Command, u.Command[0], u.Command[1:]...), nil
	}
	if !needsSecrets(u) && !signsIn(u) {
		return build(ctx)
	}
	return newDeferred(opt.ID, w.log, build), nil
}

// signsIn reports whether an upstream is asked with tokens that end.
func signsIn(u config.Upstream) bool {
	return u.Auth.Tokens() || u.Sandbox == ticketSystem || u.Sandbox != "" && u.Kind == "rest"
}

// overHTTP builds the adapter of an MCP server that is asked over HTTP.
func overHTTP(u config.Upstream, opt mcpserver.Options, h *httpSide) *closing {
	opt.ClientFor = h.clientFor
	return &closing{mcpserver.NewHTTP(opt, u.URL, h.client), h.release}
}

// complaintAgain is when a failure that lasts is worth another line in the log.
const complaintAgain = 10 * time.Minute

// complain returns a function that logs what fails beside the calls of an
// upstream, each failure once.
func (w *wiring) complain(name string) func(error) {
	var mu sync.Mutex
	var last string
	var at time.Time
	return func(err error) {
		text := err.Error()
		mu.Lock()
		known := text == last && time.Since(at) < complaintAgain
		if !known {
			last, at = text, time.Now()
		}
		mu.Unlock()
		if !known {
			w.log.Warn("sign-in", "upstream", name, "problem", text)
		}
	}
}

// closing is an HTTP adapter that lets go of its connections when it is closed.
type closing struct {
	*mcpserver.Adapter
	release func()
}

// Close implements upstream.Adapter.
func (c *closing) Close() error {
	err := c.Adapter.Close()
	c.release()
	return err
}

// grant fetches an upstream's secrets and seals them, with the tokens of s if it
// is not nil.
func grant(ctx context.Context, u config.Upstream, s *signIn) (*credentials.Grant, error) {
	spec := credentials.Spec{Name: u.Name, Dir: u.Dir, Env: make(map[string]credentials.Secret, len(u.Env))}
	for name, v := range u.Env {
		if v.Ref == nil {
			spec.Env[name] = credentials.NewSecret(v.Literal)
			continue
		}
		s, err := credentials.Resolve(ctx, ref(v.Ref))
		if err != nil {
			return nil, fmt.Errorf("env.%s: %w", name, err)
		}
		spec.Env[name] = s
	}
	if u.URL != "" {
		parsed, err := url.Parse(u.URL)
		if err != nil {
			return nil, err
		}
		spec.Origins = []string{parsed.Scheme + "://" + parsed.Host}
	}
	var err error
	if _, spec.Suffixes, err = fromToken(u); err != nil {
		return nil, err
	}
	if s != nil {
		spec.Attach, spec.Scopes = s.attach()
		return credentials.NewGrant(spec)
	}
	if spec.Attach, err = attachment(ctx, u.Auth); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return credentials.NewGrant(spec)
}

func attachment(ctx context.Context, a config.Auth) (credentials.Attachment, error) {
	secret := func(r *config.Ref) (credentials.Secret, error) { return credentials.Resolve(ctx, ref(r)) }
	switch a.Type {
	case "bearer":
		s, err := secret(a.Token)
		return credentials.Bearer(s), err
	case "header":
		s, err := secret(a.Value)
		return credentials.Header(a.Header, s), err
	case "basic":
		s, err := secret(a.Password)
		return credentials.Basic(a.User, s), err
	}
	return credentials.None(), nil
}

func ref(r *config.Ref) credentials.Ref {
	return credentials.Ref{Env: r.Env, File: r.File, Command: r.Command, Keyring: r.Keyring}
}

// needsSecrets reports whether secrets have to be fetched before the adapter of
// an upstream can be built, beside those of a sign-in.
func needsSecrets(u config.Upstream) bool {
	for _, v := range u.Env {
		if v.Ref != nil {
			return true
		}
	}
	return u.SQL.Database.Ref != nil || u.Auth.Token != nil || u.Auth.Value != nil || u.Auth.Password != nil
}

// trial builds an adapter of its own for an upstream, as a server would.
func (w *wiring) trial(ctx context.Context, u config.Upstream) (upstream.Adapter, error) {
	return w.adapter(ctx, u, &atomic.Pointer[signIn]{})
}
