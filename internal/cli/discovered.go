package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/connect"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

// discovered builds the sign-in of an MCP server that says itself where tokens
// are had. What it says is asked through a guard.
func discovered(ctx context.Context, u config.Upstream, store credentials.Store) (signer, error) {
	a := u.Auth
	at, err := url.Parse(u.URL)
	if err != nil {
		return nil, errors.New("url cannot be read")
	}
	guard, err := egress.NewGuard(egress.Options{Allow: append([]string{at.Host}, a.AllowHosts...)})
	if err != nil {
		return nil, fmt.Errorf("allow_hosts: %w", err)
	}
	opt := mcpauth.Options{
		Name: u.Name, Server: u.URL, Client: &http.Client{Transport: guard}, Store: store,
		Issuer: a.Issuer, Resource: a.Resource, ClientID: a.ClientID,
	}
	if strings.HasPrefix(a.ClientID, "https://") && a.ClientSecret == nil {
		opt.ClientID, opt.DocumentURL = "", a.ClientID
	}
	if a.ClientSecret != nil {
		if opt.ClientSecret, err = credentials.Resolve(ctx, ref(a.ClientSecret)); err != nil {
			return nil, fmt.Errorf("client_secret: %w", err)
		}
	}
	if a.RedirectPort != 0 {
		opt.Redirect = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(a.RedirectPort)) + "/callback"
	}
	return func(_ context.Context, subject string, report func(error)) (*signIn, error) {
		own := opt
		own.Subject, own.Report = subject, report
		return discoveredFor(u, own, guard.CloseIdleConnections)
	}, nil
}

// discoveredFor builds the sign-in of one subject.
func discoveredFor(u config.Upstream, opt mcpauth.Options, release func()) (*signIn, error) {
	s := &signIn{u: u, release: release}
	sets := scopeSets(u)
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		own := opt
		own.Scopes = sets[name]
		source, err := mcpauth.NewSource(own)
		if err != nil {
			return nil, err
		}
		page := func(ctx context.Context, redirect string) (connect.Pending, error) {
			l, err := source.Begin(ctx, redirect)
			if err != nil {
				return connect.Pending{}, err
			}
			return connect.Pending{URL: l.URL, Mine: l.Mine, Finish: l.Finish}, nil
		}
		s.sets = append(s.sets, &scopeSet{name: name, tokens: source, below: source.Transport, ways: ways{
			browser: source.Login, page: page, revoke: source.Revoke, forget: source.Forget, require: source.Require, missing: source.Missing,
		}})
	}
	return s, nil
}
