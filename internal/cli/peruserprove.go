package cli

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/connect"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// openPages returns the pages where users connect their own accounts, and has
// calls lead there; nil if clients are not told from each other, or no browser
// could show whose it is.
func openPages(ctx context.Context, w *wiring, s config.Server, d door, agg *aggregate.Aggregate) (http.Handler, error) {
	w.users.serve(agg, nil)
	if d.auth == nil || s.Auth.Type == "oidc" && s.Auth.ClientID == "" {
		return nil, nil
	}
	key := w.key()
	if key == nil {
		key = []byte(rand.Text() + rand.Text())
	}
	opt := connect.Options{Base: d.auth.URL, Key: key, Find: w.users.find, Log: w.log}
	if s.Auth.Type == "tokens" {
		opt.Prover.Token = typedToken(d.auth)
	} else {
		login, err := newBrowserLogin(ctx, s.Auth, d.auth)
		if err != nil {
			return nil, err
		}
		opt.Prover.SignIn = login.begin
	}
	site, err := connect.New(opt)
	if err != nil {
		return nil, err
	}
	w.users.serve(agg, site)
	return site, nil
}

// typedToken tells whose a token is, as it would be told if a client sent it.
func typedToken(auth *inbound.Auth) func(context.Context, string) (upstream.Principal, error) {
	return func(ctx context.Context, token string) (upstream.Principal, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, auth.URL, nil)
		if err != nil {
			return upstream.Principal{}, err
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
		caller, err := auth.Authenticate(ctx, r, []string{auth.URL})
		return caller.Principal, err
	}
}

// browserLogin finds out whose a browser is by having its user sign in at the
// issuer that clients have their tokens from (OpenID Connect Core, section 3.1):
// it gets a token for us there, and that token says who it is by the same rules
// as a client's does.
type browserLogin struct {
	issuer, clientID string
	secret           credentials.Secret // zero for a public client
	scopes           []string
	resource         string
	client           *http.Client
	auth             *inbound.Auth
}

func newBrowserLogin(ctx context.Context, a config.Clients, auth *inbound.Auth) (*browserLogin, error) {
	guard, err := guardOf(a)
	if err != nil {
		return nil, err
	}
	b := &browserLogin{issuer: a.Issuer, clientID: a.ClientID, scopes: a.Scopes, client: &http.Client{Transport: guard, Timeout: tokenTimeout}, auth: auth}
	if a.Audience == "" { // else the issuer may know no resources
		b.resource = auth.URL + "/mcp"
	}
	if a.ClientSecret != nil {
		if b.secret, err = credentials.Resolve(ctx, ref(a.ClientSecret)); err != nil {
			return nil, fmt.Errorf("server.auth.client_secret: %w", err)
		}
	}
	return b, nil
}

// browserClient is the name of that sign-in, in errors.
const browserClient = "server.auth"

// begin begins a signing in whose browser comes back to redirect.
func (b *browserLogin) begin(ctx context.Context, redirect string) (connect.Login, error) {
	server, err := mcpauth.FindServer(ctx, b.client, browserClient, b.issuer)
	if err != nil {
		return connect.Login{}, err
	}
	end := &credentials.Endpoint{Name: browserClient, URL: server.TokenURL, Client: b.client, ClientID: b.clientID,
		Auth: b.clientAuth(server.Methods), Params: url.Values{}, Values: []string{"id_token"}, Accept: []string{"*"}}
	if b.resource != "" {
		end.Params.Set("resource", b.resource)
	}
	nonce := rand.Text()
	flow := &credentials.CodeFlow{Endpoint: end, AuthorizeURL: server.AuthorizeURL, Issuer: server.Issuer, IssuerSent: server.IssuerSent,
		Scopes: append([]string{"openid"}, b.scopes...), Params: url.Values{"nonce": {nonce}}}
	p, err := flow.Begin(redirect)
	if err != nil {
		return connect.Login{}, err
	}
	return connect.Login{URL: p.URL, Mine: p.Mine, Finish: func(ctx context.Context, query url.Values) (upstream.Principal, error) {
		t, err := p.Finish(ctx, query)
		if err != nil {
			return upstream.Principal{}, err
		}
		if err := b.ours(t.Values["id_token"], nonce); err != nil {
			return upstream.Principal{}, err
		}
		return b.whose(ctx, t)
	}}, nil
}

func (b *browserLogin) clientAuth(methods []string) credentials.ClientAuth {
	switch {
	case b.secret.IsZero():
		return credentials.PublicClient()
	case slices.Contains(methods, "client_secret_basic") || !slices.Contains(methods, "client_secret_post"):
		return credentials.BasicClient(b.secret)
	}
	return credentials.PostClient(b.secret)
}

// ours checks that an id token belongs to this signing in (OpenID Connect Core,
// section 3.1.3.7). It came from the token endpoint itself, so that its signature
// need not be looked at (item 6 there); who it is says the access token, whose is.
func (b *browserLogin) ours(token, nonce string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("the answer has no id token")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return errors.New("the id token cannot be read")
	}
	var c struct {
		Issuer   string          `json:"iss"`
		Audience json.RawMessage `json:"aud"`
		Party    string          `json:"azp"`
		Nonce    string          `json:"nonce"`
	}
	var several []string
	if err := json.Unmarshal(text, &c); err != nil {
		return errors.New("the id token cannot be read")
	}
	if json.Unmarshal(c.Audience, &several) != nil {
		one := ""
		if json.Unmarshal(c.Audience, &one) != nil {
			return errors.New("the id token cannot be read")
		}
		several = []string{one}
	}
	if c.Issuer != b.issuer || c.Nonce != nonce || !slices.Contains(several, b.clientID) || c.Party != "" && c.Party != b.clientID {
		return errors.New("the id token is not for this signing in")
	}
	return nil
}

// whose asks the same who that client requests are asked. The token is put into a
// request as for a source, so that it is nowhere else; the request goes no
// further.
func (b *browserLogin) whose(ctx context.Context, t credentials.Token) (upstream.Principal, error) {
	grant, err := credentials.NewGrant(credentials.Spec{Name: browserClient, Origins: []string{b.auth.URL}, Attach: credentials.Bearer(t.Access)})
	if err != nil {
		return upstream.Principal{}, err
	}
	at := &doorkeeper{auth: b.auth, resources: []string{b.auth.URL, b.auth.URL + "/mcp"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.auth.URL, nil)
	if err != nil {
		return upstream.Principal{}, err
	}
	resp, err := grant.Client(at).Do(r)
	if err != nil {
		return upstream.Principal{}, err
	}
	_ = resp.Body.Close()
	return at.who, nil
}

// doorkeeper is a transport that asks who a request is from.
type doorkeeper struct {
	auth      *inbound.Auth
	resources []string
	who       upstream.Principal
}

// RoundTrip implements http.RoundTripper.
func (d *doorkeeper) RoundTrip(r *http.Request) (*http.Response, error) {
	caller, err := d.auth.Authenticate(r.Context(), r, d.resources)
	if err != nil {
		return nil, fmt.Errorf("the token that the issuer gave for this page: %w", err)
	}
	d.who = caller.Principal
	return &http.Response{StatusCode: http.StatusNoContent, ProtoMajor: 1, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}
