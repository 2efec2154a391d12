package mcpauth

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// registration is who we are at one authorization server.
type registration struct {
	clientID string
	secret   credentials.Secret // zero for a public client
	method   string             // none, client_secret_basic or client_secret_post
	redirect string             // where the browser comes back to; without a port any will do
	// wanted is the redirect that we were made for, "" for our own choice; made by
	// us, not by the operator, if dynamic.
	wanted  string
	dynamic bool
	expiry  time.Time // of the secret; zero is never
	// instead of one that is kept and may be in use, until somebody has signed in
	instead bool
}

func (r registration) auth() credentials.ClientAuth {
	switch r.method {
	case "client_secret_basic":
		return credentials.BasicClient(r.secret)
	case "client_secret_post":
		return credentials.PostClient(r.secret)
	}
	return credentials.PublicClient()
}

// secretLeft is how long a client's secret must be good for at least: a person
// needs time to sign in.
const secretLeft = 10 * time.Minute

// The members of what is stored for a registration, beside the secret and when
// it ends.
const (
	keyClient, keyIssuer, keyMethod, keyRedirect, keyToken = "client_id", "issuer", "method", "redirect_uri", "token_origin"
)

// configured returns the client that the operator has given us at this server:
// one that is registered there, or a document.
func (d *discovery) configured(s Server) (registration, bool, error) {
	redirect := d.opt.Redirect
	if redirect == "" {
		redirect = defaultRedirect
	}
	switch {
	case d.opt.ClientID != "":
		r := registration{clientID: d.opt.ClientID, secret: d.opt.ClientSecret, method: "none", redirect: redirect}
		if r.secret.IsZero() {
			return r, true, nil
		}
		for _, method := range []string{"client_secret_basic", "client_secret_post"} {
			if slices.Contains(s.Methods, method) {
				r.method = method
				return r, true, nil
			}
		}
		return r, true, fmt.Errorf("the authorization server takes no client secret, only %.200q; leave it out", s.Methods)
	case d.opt.DocumentURL != "" && s.Documents:
		return registration{clientID: d.opt.DocumentURL, method: "none", redirect: redirect}, true, nil
	}
	return registration{}, false, nil
}

// registrationID is where what we have registered at an issuer is kept. No other
// registration is used: not another upstream's, not another issuer's.
func (d *discovery) registrationID(issuer, redirect string) string {
	return credentials.Identity{Upstream: d.opt.Name, Subject: "registration", Issuer: issuer, Resource: redirect}.ID()
}

// pinID is where the issuer is kept that the operator's client belongs to.
func (d *discovery) pinID() string {
	return credentials.Identity{Upstream: d.opt.Name, Subject: "client", ClientID: d.opt.ClientID}.ID()
}

// kept returns what we have registered at a server before, if it is still of use.
func (d *discovery) kept(ctx context.Context, s Server, redirect string) (registration, bool, error) {
	t, err := d.notes.load(ctx, d.registrationID(s.Issuer, redirect))
	if err != nil {
		return registration{}, false, d.trouble(credentials.Misconfigured, fmt.Errorf("the store: %w", err))
	}
	r := registration{clientID: t.Values[keyClient], secret: t.Access, method: t.Values[keyMethod], redirect: t.Values[keyRedirect], wanted: redirect, dynamic: true}
	if r.method == "none" {
		r.secret = credentials.Secret{} // a store may insist on some token
	}
	usable := r.clientID != "" && t.Values[keyIssuer] == s.Issuer && t.Values[keyToken] == s.tokenOrigin() &&
		(t.Expiry.IsZero() || time.Until(t.Expiry) > secretLeft)
	return r, usable, nil
}

// enroll returns who we are at a server, for signing in: the operator's client,
// a document, what we have registered, or what we register now (MCP 2026-07-28,
// client registration). redirect is where the browser comes back to; "" leaves
// it to the options.
func (d *discovery) enroll(ctx context.Context, s Server, redirect string) (registration, error) {
	r, there, err := d.configured(s)
	if err == nil && there && d.opt.ClientID != "" {
		err = d.pin(ctx, s)
	}
	if err != nil {
		return r, d.misconfigured(err)
	}
	if there {
		if redirect != "" {
			r.redirect = redirect
		}
		return r, nil
	}
	if redirect == "" {
		redirect = d.opt.Redirect
	}
	unlock, err := d.notes.lock(ctx, d.registrationID(s.Issuer, redirect)) // or two at once would each make their own
	if err != nil {
		return r, d.trouble(credentials.Transient, fmt.Errorf("the store: %w", err))
	}
	defer unlock()
	r, usable, err := d.kept(ctx, s, redirect)
	switch {
	case err != nil:
		return r, err
	case usable && (redirect != "" || free(ctx, r.redirect)):
		return r, nil
	case s.RegisterURL == "":
		return r, d.trouble(credentials.Misconfigured, fmt.Errorf(
			"%s registers nobody by itself: register a client there, with the redirect %s, and set its client id", s.Issuer, defaultRedirect))
	}
	r = registration{redirect: redirect, wanted: redirect, dynamic: true}
	if redirect == "" {
		if r.redirect, err = freeRedirect(ctx); err != nil {
			return r, d.trouble(credentials.Transient, fmt.Errorf("a port for the redirect: %w", err))
		}
	}
	r.instead = usable
	return d.register(ctx, s, r)
}

// pin holds the operator's client to the issuer that it was first used with: a
// server that names another one would be given the client's secret.
func (d *discovery) pin(ctx context.Context, s Server) error {
	if d.opt.Issuer != "" {
		return nil
	}
	t, err := d.notes.load(ctx, d.pinID())
	switch issuer := t.Values[keyIssuer]; {
	case err != nil:
		return fmt.Errorf("the store: %w", err)
	case issuer == "":
		d.notes.save(ctx, d.pinID(), credentials.Token{
			Access: credentials.NewSecret("none"), Values: map[string]string{keyClient: d.opt.ClientID, keyIssuer: s.Issuer},
		})
	case issuer != s.Issuer:
		return fmt.Errorf("the client id belongs to %s, but the server now takes tokens of %s; set the issuer and a client id of it if that is right", issuer, s.Issuer)
	}
	return nil
}

// register makes a client at a server (RFC 7591, section 3) and keeps it, unless
// it is one instead.
func (d *discovery) register(ctx context.Context, s Server, r registration) (registration, error) {
	for _, method := range []string{"none", "client_secret_basic", "client_secret_post"} {
		if slices.Contains(s.Methods, method) {
			r.method = method
			break
		}
	}
	if r.method == "" {
		return r, d.trouble(credentials.Misconfigured, fmt.Errorf("the authorization server wants clients to authenticate by one of %.200q, of which we have none", s.Methods))
	}
	back, err := address(r.redirect, true)
	if err != nil {
		return r, d.trouble(credentials.Misconfigured, fmt.Errorf("the redirect: %w", err))
	}
	kind := "web" // OpenID Connect Dynamic Client registration, section 2
	if onThisMachine(back.Hostname()) {
		kind = "native"
	}
	question, err := json.Marshal(map[string]any{
		"client_name": "Bulkhead", "redirect_uris": []string{r.redirect}, "application_type": kind,
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"token_endpoint_auth_method": r.method,
	})
	if err != nil {
		return r, d.misconfigured(err)
	}
	got, err := d.post(ctx, s.RegisterURL, question)
	if err != nil {
		return r, err
	}
	if got.status != http.StatusCreated && got.status != http.StatusOK || got.object == nil || text(got.object, "client_id") == "" {
		return r, d.refused(got, s)
	}
	if err := r.read(got.object, s); err != nil {
		return r, d.misconfigured(err)
	}
	if !r.instead {
		d.keep(ctx, s, r)
	}
	return r, nil
}

// refused says that nobody can be registered, and what to do instead.
func (d *discovery) refused(got reply, s Server) error {
	e := d.trouble(credentials.Misconfigured, fmt.Errorf("%s registers no client for us: register one there, and set its client id", s.Issuer))
	e.Status = got.status
	switch code := text(got.object, "error"); code {
	case "invalid_redirect_uri", "invalid_client_metadata", "invalid_software_statement", "unapproved_software_statement", "invalid_request", "access_denied":
		e.Code = code
	}
	return e
}

// read takes over what the server has made of our wishes (RFC 7591, section
// 3.2.1).
func (r *registration) read(object []byte, s Server) error {
	r.clientID = text(object, "client_id")
	if secret := text(object, "client_secret"); secret != "" {
		r.secret = credentials.NewSecret(secret)
	}
	if method := text(object, "token_endpoint_auth_method"); method != "" {
		r.method = method
	}
	switch {
	case r.method != "none" && r.method != "client_secret_basic" && r.method != "client_secret_post":
		return fmt.Errorf("%s has registered us for another way to authenticate than we asked for, %.100q", s.Issuer, r.method)
	case r.method != "none" && r.secret.IsZero():
		r.method = "none"
	case r.method == "none":
		r.secret = credentials.Secret{}
	}
	if back, there := list(object, "redirect_uris", maxListed); there && len(back) > 0 && !slices.Contains(back, r.redirect) {
		return fmt.Errorf("%s has registered us without our redirect", s.Issuer)
	}
	v, _ := rawjson.Get(object, "client_secret_expires_at")
	if at, err := strconv.ParseInt(string(v), 10, 64); err == nil && at > 0 && !r.secret.IsZero() {
		r.expiry = time.Unix(at, 0)
	}
	return nil
}

func (d *discovery) keep(ctx context.Context, s Server, r registration) {
	t := credentials.Token{Access: r.secret, Expiry: r.expiry, Values: map[string]string{
		keyClient: r.clientID, keyIssuer: s.Issuer, keyMethod: r.method, keyRedirect: r.redirect, keyToken: s.tokenOrigin(),
	}}
	if t.Access.IsZero() {
		t.Access = credentials.NewSecret("none")
	}
	d.notes.save(ctx, d.registrationID(s.Issuer, r.wanted), t)
}

// tokenOrigin is where secrets are sent to.
func (s Server) tokenOrigin() string {
	u, err := url.Parse(s.TokenURL)
	if err != nil {
		return ""
	}
	return originOf(u)
}

// free reports whether the browser could come back to a redirect now: somebody
// else may have its port.
func free(ctx context.Context, redirect string) bool {
	u, err := url.Parse(redirect)
	if err != nil || !onThisMachine(u.Hostname()) {
		return false
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", u.Port()))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// freeRedirect is one at a port that is free now. Many servers compare the whole
// URI, though RFC 8252, section 7.3, has them ignore the port.
func freeRedirect(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	u := url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/callback"}
	return u.String(), l.Close()
}
