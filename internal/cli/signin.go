package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// The names of sets of scopes. That of the tools without a set of their own is
// "".
const (
	readSet    = ""
	writeSet   = "write"
	toolPrefix = "tool:"
)

// signIn gets tokens for one upstream, for each set of scopes apart.
type signIn struct {
	u       config.Upstream
	sets    map[string][]string // scopes by name of the set
	sources map[string]*credentials.Refresher
	code    map[string]*credentials.CodeFlow   // by set; nil if there is no browser sign-in
	device  map[string]*credentials.DeviceFlow // by set; nil if there is no sign-in by code
	end     *credentials.Endpoint
}

// scopeSets returns the sets of scopes that calls of an upstream are made with.
func scopeSets(u config.Upstream) map[string][]string {
	sets := map[string][]string{readSet: u.Auth.Scopes}
	if u.Auth.WriteScopes != nil {
		sets[writeSet] = u.Auth.WriteScopes
	}
	for tool, o := range u.Tools.Override {
		if o.Scopes != nil {
			sets[toolPrefix+tool] = o.Scopes
		}
	}
	return sets
}

// setOf returns the set of scopes that a call is made with.
func setOf(u config.Upstream, c *upstream.Call) string {
	if c.Op != upstream.CallTool || c.Tool == nil {
		return readSet
	}
	if o := u.Tools.Override[c.Name]; o != nil && o.Scopes != nil {
		return toolPrefix + c.Name
	}
	if u.Auth.WriteScopes != nil && !c.Tool.Hints.ReadOnly {
		return writeSet
	}
	return readSet
}

// newSignIn builds what gets the tokens of an upstream. It fetches secrets, but
// asks no authorization server yet. report is told of what fails beside calls.
func newSignIn(ctx context.Context, u config.Upstream, store credentials.Store, report func(error)) (*signIn, error) {
	s := &signIn{
		u: u, sets: scopeSets(u), sources: map[string]*credentials.Refresher{},
		code: map[string]*credentials.CodeFlow{}, device: map[string]*credentials.DeviceFlow{},
	}
	// Nothing of it is shared with the upstream itself, nor with another one.
	client := &http.Client{Transport: egress.New(tokenConns), Timeout: tokenTimeout}
	var key *credentials.Key
	if u.Auth.Key != nil {
		text, err := credentials.Resolve(ctx, ref(u.Auth.Key))
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		if key, err = credentials.ParseKey(text, u.Auth.KeyID); err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
	}
	if err := s.endpoint(ctx, client, key); err != nil {
		return nil, err
	}
	for set, scopes := range s.sets {
		fetch, err := s.fetch(ctx, set, scopes, client, key)
		if err != nil {
			return nil, err
		}
		spec := credentials.SourceSpec{Name: u.Name, ID: s.identity(scopes).ID(), Fetch: fetch, TTL: u.Auth.Lifetime, Report: report}
		if u.Auth.Interactive() {
			spec.Store = store
		}
		s.sources[set] = credentials.NewRefresher(spec)
	}
	return s, nil
}

const (
	tokenConns   = 2 // to an authorization server; a refresh is one request
	tokenTimeout = 30 * time.Second
)

func (s *signIn) identity(scopes []string) credentials.Identity {
	a := s.u.Auth
	issuer := a.Issuer
	if issuer == "" {
		issuer = a.TokenURL
	}
	resource := a.Resource
	if resource == "" {
		resource = a.Audience
	}
	return credentials.Identity{Upstream: s.u.Name, Issuer: issuer, ClientID: a.ClientID, Scopes: scopes, Resource: resource}
}

// endpoint prepares the token endpoint, where there is one.
func (s *signIn) endpoint(ctx context.Context, client *http.Client, key *credentials.Key) error {
	a := s.u.Auth
	if a.TokenURL == "" {
		return nil
	}
	e := &credentials.Endpoint{Name: s.u.Name, URL: a.TokenURL, Client: client, ClientID: a.ClientID, Params: url.Values{}}
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
		e.Auth = credentials.KeyClient(key, "")
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
	s.end = e
	return e.Check()
}

// fetch returns how the tokens of one set of scopes are had.
func (s *signIn) fetch(ctx context.Context, set string, scopes []string, client *http.Client, key *credentials.Key) (credentials.Fetch, error) {
	a := s.u.Auth
	switch a.Type {
	case "client_credentials":
		return credentials.ClientCredentials(s.end, scopes), nil
	case "jwt_bearer":
		return credentials.JWTBearer(s.end, credentials.Assertion{Key: key, Issuer: a.Issuer, Subject: a.Subject, Audience: a.Audience}, scopes), nil
	case "token_exchange":
		subject, err := credentials.Resolve(ctx, ref(a.Token))
		if err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		return credentials.TokenExchange(s.end, credentials.Exchange{Subject: credentials.Fixed(subject)}, scopes), nil
	case "snowflake":
		return credentials.SnowflakeKeyPair(a.Account, a.User, key)
	case "github_app":
		app := credentials.GitHubApp{Name: s.u.Name, URL: a.APIURL, Client: client, App: a.ClientID, Installation: int64(a.Installation), Key: key}
		return app.Fetch, app.Check()
	case "authorization_code":
		s.code[set] = &credentials.CodeFlow{Endpoint: s.end, AuthorizeURL: a.AuthorizationURL, Issuer: a.Issuer, Scopes: scopes}
		if a.DeviceURL != "" {
			s.device[set] = &credentials.DeviceFlow{Endpoint: s.end, DeviceURL: a.DeviceURL, Scopes: scopes}
		}
		return credentials.RefreshToken(s.end, scopes), s.code[set].Check()
	case "device_code":
		s.device[set] = &credentials.DeviceFlow{Endpoint: s.end, DeviceURL: a.DeviceURL, Scopes: scopes}
		return credentials.RefreshToken(s.end, scopes), s.device[set].Check()
	}
	return nil, fmt.Errorf("auth type %q gets no tokens", a.Type)
}

// attach returns how the tokens of each set are put into requests: those of the
// calls without a set of their own, and the others by name.
func (s *signIn) attach() (credentials.Attachment, map[string]credentials.Attachment) {
	a := s.u.Auth
	field, prefix := "Authorization", "Bearer "
	if a.Header != "" {
		field = a.Header
	}
	if a.Prefix != nil {
		prefix = *a.Prefix
	}
	others := map[string]credentials.Attachment{}
	for set, source := range s.sources {
		if set != readSet {
			others[set] = credentials.HeaderFrom(field, prefix, source)
		}
	}
	return credentials.HeaderFrom(field, prefix, s.sources[readSet]), others
}

// names returns the names of the sets in a fixed order.
func (s *signIn) names() []string { return slices.Sorted(maps.Keys(s.sets)) }

// close waits for refreshes that are under way: a rotated token that nobody has
// heard of is lost.
func (s *signIn) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, source := range s.sources {
		source.Close(ctx)
	}
}

// errNoLogin is a login where nobody needs one.
var errNoLogin = errors.New("nobody needs to sign in there")
