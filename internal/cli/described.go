package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/connect"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

const (
	tokenConns   = 2 // to an authorization server; a refresh is one request
	tokenTimeout = 30 * time.Second
)

// issuer is what the credentials of one upstream have in common whose
// authorization server is described in the configuration.
type issuer struct {
	u      config.Upstream
	client *http.Client
	key    *credentials.Key
	end    *credentials.Endpoint // nil where there is no token endpoint
}

// described builds the sign-in of an upstream that says itself where tokens are
// had.
func described(ctx context.Context, u config.Upstream, store credentials.Store) (signer, error) {
	// Nothing of it is shared with the upstream itself, nor with another one.
	i := &issuer{u: u, client: &http.Client{Transport: egress.New(tokenConns), Timeout: tokenTimeout}}
	if u.Auth.Key != nil {
		text, err := credentials.Resolve(ctx, ref(u.Auth.Key))
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		if i.key, err = credentials.ParseKey(text, u.Auth.KeyID); err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
	}
	if err := i.endpoint(ctx); err != nil {
		return nil, err
	}
	return func(ctx context.Context, subject string, report func(error)) (*signIn, error) {
		return i.signIn(ctx, subject, store, report)
	}, nil
}

// signIn builds what gets the tokens of each set of scopes for one subject.
func (i *issuer) signIn(ctx context.Context, subject string, store credentials.Store, report func(error)) (*signIn, error) {
	s := &signIn{u: i.u, release: i.client.CloseIdleConnections}
	sets := scopeSets(i.u)
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		set, err := i.set(ctx, subject, sets[name], store, report)
		if err != nil {
			return nil, err
		}
		set.name = name
		s.sets = append(s.sets, set)
	}
	return s, nil
}

// set builds what gets the tokens of one set of scopes.
func (i *issuer) set(ctx context.Context, subject string, scopes []string, store credentials.Store, report func(error)) (*scopeSet, error) {
	a := i.u.Auth
	fetch, err := i.fetch(ctx, scopes)
	if err != nil {
		return nil, err
	}
	spec := credentials.SourceSpec{Name: i.u.Name, ID: i.identity(subject, scopes).ID(), Fetch: fetch, TTL: a.Lifetime, Report: report}
	if !a.Interactive() {
		return &scopeSet{tokens: credentials.NewRefresher(spec)}, nil
	}
	spec.Store = store
	source := credentials.NewRefresher(spec)
	w := ways{forget: source.Forget}
	if a.Type == "authorization_code" {
		if err := i.byPage(&w, scopes, source.Put); err != nil {
			return nil, err
		}
	}
	if a.DeviceURL != "" {
		if err := i.byCode(&w, scopes, source.Put); err != nil {
			return nil, err
		}
	}
	if a.RevocationURL != "" {
		w.revoke = func(ctx context.Context, t credentials.Token) error { return i.end.Revoke(ctx, a.RevocationURL, t) }
	}
	return &scopeSet{tokens: source, ways: w}, nil
}

// byPage adds the ways in which a person signs in with a browser: at ours, and
// on this machine. put keeps the token that comes of it.
func (i *issuer) byPage(w *ways, scopes []string, put func(context.Context, credentials.Token) error) error {
	flow := &credentials.CodeFlow{Endpoint: i.end, AuthorizeURL: i.u.Auth.AuthorizationURL, Issuer: i.u.Auth.Issuer, Scopes: scopes}
	w.page = func(_ context.Context, redirect string) (connect.Pending, error) {
		p, err := flow.Begin(redirect)
		if err != nil {
			return connect.Pending{}, err
		}
		finish := func(ctx context.Context, query url.Values) error {
			t, err := p.Finish(ctx, query)
			return keepToken(ctx, put, t, err)
		}
		return connect.Pending{URL: p.URL, Mine: p.Mine, Finish: finish}, nil
	}
	w.browser = func(ctx context.Context, open func(string) error) error {
		t, err := flow.Login(ctx, credentials.Loopback{Port: i.u.Auth.RedirectPort}, open)
		return keepToken(ctx, put, t, err)
	}
	return flow.Check()
}

// byCode adds the way in which a person enters a code on another machine.
func (i *issuer) byCode(w *ways, scopes []string, put func(context.Context, credentials.Token) error) error {
	flow := &credentials.DeviceFlow{Endpoint: i.end, DeviceURL: i.u.Auth.DeviceURL, Scopes: scopes}
	w.device = func(ctx context.Context, show func(credentials.Prompt) error) error {
		t, err := flow.Login(ctx, show)
		return keepToken(ctx, put, t, err)
	}
	return flow.Check()
}

// keepToken keeps the token of a sign-in that has not failed.
func keepToken(ctx context.Context, put func(context.Context, credentials.Token) error, t credentials.Token, err error) error {
	if err != nil {
		return err
	}
	return put(ctx, t)
}

func (i *issuer) identity(subject string, scopes []string) credentials.Identity {
	a := i.u.Auth
	who := credentials.Identity{Upstream: i.u.Name, Subject: subject, Issuer: a.Issuer, ClientID: a.ClientID, Scopes: scopes, Resource: a.Resource}
	if who.Issuer == "" {
		who.Issuer = a.TokenURL
	}
	if who.Resource == "" {
		who.Resource = a.Audience
	}
	return who
}

// endpoint prepares the token endpoint, where there is one.
func (i *issuer) endpoint(ctx context.Context) error {
	a := i.u.Auth
	if a.TokenURL == "" {
		return nil
	}
	e := &credentials.Endpoint{Name: i.u.Name, URL: a.TokenURL, Client: i.client, ClientID: a.ClientID, Params: url.Values{}, JSON: a.TokenRequest == "json", Member: a.TokenMember}
	var err error
	if e.Values, _, err = fromToken(i.u); err != nil {
		return err
	}
	switch a.ClientAuth {
	case "basic", "post":
		secret, err := credentials.Resolve(ctx, ref(a.ClientSecret))
		if err != nil {
			return fmt.Errorf("client_secret: %w", err)
		}
		e.Auth = credentials.BasicClient(secret)
		if a.ClientAuth == "post" {
			e.Auth = credentials.PostClient(secret)
		}
	case "private_key_jwt":
		e.Auth = credentials.KeyClient(i.key, "")
	}
	for name, v := range a.Params {
		if v.Ref == nil {
			e.Params.Set(name, v.Literal)
			continue
		}
		secret, err := credentials.Resolve(ctx, ref(v.Ref))
		if err != nil {
			return fmt.Errorf("params.%s: %w", name, err)
		}
		if e.Secrets == nil {
			e.Secrets = map[string]credentials.Secret{}
		}
		e.Secrets[name] = secret
	}
	for name, v := range map[string]string{"audience": a.Audience, "resource": a.Resource} {
		if v != "" && !(name == "audience" && a.Type == "jwt_bearer") {
			e.Params.Set(name, v)
		}
	}
	i.end = e
	return e.Check()
}

// fetch returns how the tokens of one set of scopes are had.
func (i *issuer) fetch(ctx context.Context, scopes []string) (credentials.Fetch, error) {
	a := i.u.Auth
	switch a.Type {
	case "client_credentials":
		return credentials.ClientCredentials(i.end, scopes), nil
	case "jwt_bearer":
		claim := credentials.Assertion{Key: i.key, Issuer: a.Issuer, Subject: a.Subject, Audience: a.Audience, ScopeClaim: a.ScopeClaim}
		return credentials.JWTBearer(i.end, claim, scopes), claim.Check()
	case "token_exchange":
		subject, err := credentials.Resolve(ctx, ref(a.Token))
		if err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		return credentials.TokenExchange(i.end, credentials.Exchange{Subject: credentials.Fixed(subject)}, scopes), nil
	case "snowflake":
		return credentials.SnowflakeKeyPair(a.Account, a.User, i.key)
	case "github_app":
		app := credentials.GitHubApp{Name: i.u.Name, URL: a.APIURL, Client: i.client, App: a.ClientID, Installation: int64(a.Installation), Key: i.key}
		return app.Fetch, app.Check()
	case "authorization_code", "device_code":
		return credentials.RefreshToken(i.end, scopes), nil
	}
	return nil, fmt.Errorf("auth type %q gets no tokens", a.Type)
}
