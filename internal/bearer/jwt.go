package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

// Options say whose tokens are taken.
type Options struct {
	Issuer string // exactly as the authorization server and its tokens have it
	// Audience is what tokens must be for; "" is the address at which the request
	// came, or one that stands for more (RFC 8707).
	Audience string
	Scopes   []string // that every token needs
	Subject  string   // the claim that says who it is; "" is "sub"
	// AnyType takes tokens that do not say that they are access tokens (RFC 9068,
	// section 2.1), for authorization servers that call every token a JWT.
	AnyType bool
	// Client asks the authorization server. It must know which addresses may be
	// asked, and bound the time.
	Client *http.Client
}

// JWT takes JSON Web Tokens of one authorization server as access tokens (RFC
// 9068). Make one with [NewJWT]; it asks for nothing before the first token comes.
// Close must follow.
type JWT struct {
	opt   Options
	keys  keys
	known known
}

// NewJWT checks o.
func NewJWT(o Options) (*JWT, error) {
	switch {
	case o.Issuer == "":
		return nil, errors.New("bearer: no issuer")
	case o.Client == nil:
		return nil, errors.New("bearer: nothing to ask the issuer with")
	}
	if o.Subject == "" {
		o.Subject = "sub"
	}
	return &JWT{opt: o, keys: keys{fetch: (&source{o.Issuer, o.Client}).keys}}, nil
}

// Ready asks the issuer for its keys, if it has not just been asked, and returns
// why there are none.
func (j *JWT) Ready(ctx context.Context) error { return j.keys.ready(ctx) }

// Close ends what is asked of the authorization server, and lets go of its
// connections.
func (j *JWT) Close() {
	j.keys.close()
	j.opt.Client.CloseIdleConnections()
}

// Authenticate is for [inbound.Auth].
func (j *JWT) Authenticate(ctx context.Context, r *http.Request, resources []string) (inbound.Caller, error) {
	token, err := tokenOf(r)
	if err != nil {
		return inbound.Caller{}, err
	}
	now, sum := time.Now(), sha256.Sum256([]byte(token))
	g := j.known.get(sum, now)
	if g == nil {
		if g, err = j.verify(ctx, token, now); err != nil {
			return inbound.Caller{}, err
		}
		j.known.put(sum, g)
	}
	if j.opt.Audience != "" {
		resources = []string{j.opt.Audience}
	}
	switch {
	case !slices.ContainsFunc(g.audience, func(a string) bool { return slices.Contains(resources, a) }):
		return inbound.Caller{}, invalid("the token is not for this server")
	case g.lacks != "":
		return inbound.Caller{}, &inbound.Refusal{Code: inbound.InsufficientScope, Why: "the token lacks the scope " + g.lacks}
	}
	return inbound.Caller{Principal: g.by, Until: g.until}, nil
}

// algorithms are those with a public key, so that what verifies a token cannot
// make one (RFC 9068, section 4; RFC 8725, section 3.1).
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
}

// verify finds out what a token says, and that its issuer says so.
func (j *JWT) verify(ctx context.Context, token string, now time.Time) (*good, error) {
	jws, err := jose.ParseSignedCompact(token, algorithms())
	if wrong, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return nil, invalid(fmt.Sprintf("the token is signed by an algorithm that is not taken (%.10q)", plain(string(wrong.Got))))
	}
	if err != nil || len(jws.Signatures) != 1 {
		return nil, invalid("the token is no signed JSON Web Token")
	}
	header := jws.Signatures[0].Protected
	if !j.isAccessToken(header.ExtraHeaders[jose.HeaderType]) {
		return nil, invalid("the token does not say that it is an access token (typ at+jwt)")
	}
	// Before the signature: what cannot be good is not worth asking for keys.
	g, err := j.read(jws.UnsafePayloadWithoutVerification(), now)
	if err != nil {
		return nil, err
	}
	candidates, err := j.keys.find(ctx, header.KeyID, header.Algorithm)
	if err != nil {
		return nil, err
	}
	for i := range candidates {
		if _, err := jws.Verify(&candidates[i]); err == nil {
			return g, nil
		}
	}
	return nil, invalid("the signature of the token is wrong")
}

// isAccessToken looks at the type in a token's header, with or without
// "application/" (RFC 7515, section 4.1.9).
func (j *JWT) isAccessToken(typ any) bool {
	name, is := typ.(string)
	name = strings.TrimPrefix(strings.ToLower(name), "application/")
	return name == "at+jwt" || j.opt.AnyType && (typ == nil || is && name == "jwt")
}

// plain makes text that a stranger has sent fit to be quoted in a header.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '!' || r > '~' || r == '"' || r == '\\' {
			return '.'
		}
		return r
	}, s)
}
