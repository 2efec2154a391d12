package credentials

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"sync/atomic"
)

// CodeFlow is the signing in of a person with a browser: the authorization code
// grant with PKCE (RFC 6749, section 4.1; RFC 7636, S256 always).
type CodeFlow struct {
	Endpoint     *Endpoint
	AuthorizeURL string
	// Issuer is what the answer's iss must equal (RFC 9207); "" if it is not
	// known. With IssuerSent, an answer without iss is refused, as it must be if
	// the server's metadata say that it sends one.
	Issuer     string
	IssuerSent bool
	Scopes     []string
	Params     url.Values // of the authorization request, beside the endpoint's
}

// Check tells what is wrong with it before anybody is asked.
func (c *CodeFlow) Check() error {
	if err := c.Endpoint.Check(); err != nil {
		return err
	}
	if c.Endpoint.ClientID == "" {
		return errors.New("the client id is empty")
	}
	if c.IssuerSent && c.Issuer == "" {
		return errors.New("the issuer to compare with is not known")
	}
	if err := CheckURL(c.AuthorizeURL); err != nil {
		return fmt.Errorf("the authorization URL %w", err)
	}
	return nil
}

// Pending is a signing in that has begun. It ends once.
type Pending struct {
	// URL is where the person's browser goes.
	URL      string
	flow     *CodeFlow
	redirect string
	state    Secret
	verifier Secret
	done     atomic.Bool
}

// Begin makes what one signing in needs. redirect is where the browser comes
// back to; the server may have to know it beforehand.
func (c *CodeFlow) Begin(redirect string) (*Pending, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.AuthorizeURL)
	if err != nil {
		return nil, errors.New("the authorization URL cannot be read")
	}
	p := &Pending{flow: c, redirect: redirect, state: NewSecret(rand.Text()), verifier: NewSecret(rand.Text() + rand.Text())} // RFC 7636: 43 characters at least
	sum := sha256.Sum256([]byte(p.verifier.reveal()))
	q := u.Query()
	for _, params := range []url.Values{c.Endpoint.Params, c.Params} {
		maps.Copy(q, params)
	}
	for name, v := range map[string]string{
		"response_type": "code", "client_id": c.Endpoint.ClientID, "redirect_uri": redirect, "state": p.state.reveal(),
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
	} {
		q.Set(name, v)
	}
	u.RawQuery = scoped(q, c.Scopes).Encode()
	p.URL = u.String()
	return p, nil
}

// Format implements fmt.Formatter for every verb and flag: the URL holds the
// state.
func (p *Pending) Format(f fmt.State, verb rune) { p.state.Format(f, verb) }

// Mine reports whether query is an answer to this signing in, and not some
// other's or a forged one.
func (p *Pending) Mine(query url.Values) bool {
	return len(query["state"]) == 1 && subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(p.state.reveal())) == 1
}

// Finish takes the query with which the browser came back and gets the token. A
// query that is not [Pending.Mine] changes nothing; any other ends it.
func (p *Pending) Finish(ctx context.Context, query url.Values) (Token, error) {
	e := p.flow.Endpoint
	refuse := func(reason string) (Token, error) {
		return Token{}, &TokenError{Name: e.Name, Trouble: NeedsLogin, Err: errors.New(reason)}
	}
	if !p.Mine(query) {
		return refuse("the answer is not to this signing in")
	}
	if !p.done.CompareAndSwap(false, true) {
		return refuse("the answer came twice")
	}
	iss := query["iss"]
	switch { // before anything else in the answer is believed (RFC 9207, section 2.4)
	case len(iss) == 0 && p.flow.IssuerSent:
		return refuse("the answer does not say which server it is from")
	case len(iss) > 1, len(iss) == 1 && p.flow.Issuer != "" && iss[0] != p.flow.Issuer:
		return refuse("the answer is from another authorization server")
	}
	if code := query.Get("error"); code != "" {
		return Token{}, refused(e.Name, reply{}, code)
	}
	if len(query["code"]) != 1 || query.Get("code") == "" {
		return refuse("the answer has no code")
	}
	t, err := e.grant(ctx, url.Values{
		"grant_type": {"authorization_code"}, "code": {query.Get("code")},
		"redirect_uri": {p.redirect}, "code_verifier": {p.verifier.reveal()},
	}, p.flow.Scopes)
	return lasting(t), err
}
