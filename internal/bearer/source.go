package bearer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	maxDocument = 512 << 10 // bytes
	maxKeys     = 100
	leastRSA    = 2048 // bits (RFC 7518, section 3.3)
	mostRSA     = 8192 // a larger one costs too much with each token
)

// source is where an issuer's keys are.
type source struct {
	issuer string
	client *http.Client
}

var errAbsent = errors.New("there is no such document")

// keys asks the issuer for its metadata (RFC 8414, section 3; OpenID Connect
// Discovery, section 4), and for the keys that these name.
func (s *source) keys(ctx context.Context) ([]jose.JSONWebKey, error) {
	issuer, err := url.Parse(s.issuer)
	if err != nil {
		return nil, errors.New("the issuer is no URL")
	}
	fault := errAbsent
	for _, from := range wellKnown(issuer) {
		document, err := s.get(ctx, from)
		if errors.Is(err, errAbsent) {
			fault = err
			continue
		}
		if err != nil {
			return nil, err
		}
		if name, _ := rawjson.GetString(document, "issuer"); name != s.issuer { // RFC 8414, section 3.3
			return nil, fmt.Errorf("%s is about another issuer, %.200q", from, name)
		}
		at, _ := rawjson.GetString(document, "jwks_uri")
		u, err := url.Parse(at)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != issuer.Scheme {
			return nil, fmt.Errorf("%s names no place for keys that could be asked (jwks_uri %.200q)", from, at)
		}
		set, err := s.get(ctx, at)
		if err != nil {
			return nil, err
		}
		return readKeys(set)
	}
	return nil, fault
}

// wellKnown returns where an issuer's metadata may be.
func wellKnown(issuer *url.URL) []string {
	origin, path := issuer.Scheme+"://"+issuer.Host, strings.TrimSuffix(issuer.EscapedPath(), "/")
	const oauth, oidc = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	if path == "" {
		return []string{origin + oidc, origin + oauth}
	}
	return []string{origin + path + oidc, origin + oauth + path, origin + oidc + path}
}

// get returns a JSON object.
func (s *source) get(ctx context.Context, from string) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	// No redirect is followed: what is asked is what was named.
	own := &http.Client{Transport: s.client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := own.Do(req) //nolint:gosec // which addresses may be asked is for the client to know
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%s answers with HTTP status %d", from, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %w (HTTP status %d)", from, errAbsent, resp.StatusCode)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", from, err)
	case len(body) > maxDocument:
		return nil, fmt.Errorf("%s has more than %d bytes", from, maxDocument)
	case rawjson.Kind(body) != '{' || rawjson.Check(body, rawjson.Limits{Depth: maxDepth}) != nil:
		return nil, fmt.Errorf("%s: %w (no plain JSON object)", from, errAbsent)
	}
	return body, nil
}

// readKeys reads a set of keys (RFC 7517, section 5) as far as it is of use: a
// key of another kind is no fault.
func readKeys(set json.RawMessage) (all []jose.JSONWebKey, err error) {
	list, _ := rawjson.Get(set, "keys")
	if rawjson.Kind(list) != '[' {
		return nil, errors.New("the issuer's set of keys has no list of keys")
	}
	for text := range rawjson.Elements(list) {
		var key jose.JSONWebKey
		if len(all) == maxKeys {
			break
		}
		if json.Unmarshal(text, &key) == nil && key.Use != "enc" && len(signs(&key)) > 0 {
			all = append(all, jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID, Algorithm: key.Algorithm})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the issuer has no public key that can be used")
	}
	return all, nil
}

// signs returns the algorithms that a key is for; none if it is not public, or
// too weak, or too large.
func signs(key *jose.JSONWebKey) []string {
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < leastRSA || bits > mostRSA {
			return nil
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize { // RFC 7518, section 3.4
		case 256:
			return []string{"ES256"}
		case 384:
			return []string{"ES384"}
		case 521:
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}
