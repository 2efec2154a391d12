package credentials

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/url"
	"time"
)

// ClientAuth is how a client says who it is at a token endpoint. It is never
// tried out: a second try would present a code or a refresh token twice. The
// zero value is a public client, which only names itself.
type ClientAuth struct {
	kind     string
	secret   Secret
	key      *Key
	audience string
}

// PublicClient has no secret; PKCE stands in for one.
func PublicClient() ClientAuth { return ClientAuth{} }

// BasicClient sends id and secret as RFC 6749, section 2.3.1, says.
func BasicClient(secret Secret) ClientAuth { return ClientAuth{kind: "basic", secret: secret} }

// PostClient sends id and secret in the body of the request.
func PostClient(secret Secret) ClientAuth { return ClientAuth{kind: "post", secret: secret} }

// KeyClient signs an assertion for each request (private_key_jwt; RFC 7523,
// section 2.2). audience is "" for the token URL; some servers want their
// issuer.
func KeyClient(key *Key, audience string) ClientAuth {
	return ClientAuth{kind: "key", key: key, audience: audience}
}

func (a ClientAuth) check(id string) error {
	switch {
	case id == "" && a.kind != "": // without one, a grant speaks for itself
		return errors.New("the client id is empty")
	case a.kind == "key" && a.key == nil:
		return errors.New("the client has no key to sign with")
	case (a.kind == "basic" || a.kind == "post") && a.secret.IsZero():
		return errors.New("the client secret is empty")
	}
	return nil
}

// apply puts the authentication into form, or returns it as the value of the
// Authorization field.
func (a ClientAuth) apply(id, tokenURL string, form url.Values) (header string, err error) {
	switch a.kind {
	case "basic":
		pair := url.QueryEscape(id) + ":" + url.QueryEscape(a.secret.reveal())
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)), nil
	case "post":
		form.Set("client_secret", a.secret.reveal())
	case "key":
		audience := a.audience
		if audience == "" {
			audience = tokenURL
		}
		now := time.Now()
		assertion, err := a.key.sign(map[string]any{
			"iss": id, "sub": id, "aud": audience, "jti": rand.Text(),
			"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		})
		if err != nil {
			return "", err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	}
	if id != "" {
		form.Set("client_id", id)
	}
	return "", nil
}
