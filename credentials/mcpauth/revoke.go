package mcpauth

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// ErrNoRevocation is an authorization server that takes no tokens back.
var ErrNoRevocation = errors.New("the authorization server has no way to give tokens back")

// Revoke tells the authorization server that t came from that it is to be of no
// use any more (RFC 7009). Nobody else is told: the server must be the one that
// the token was got from, and take it at the origin that has given it. The token
// is kept; [Source.Forget] is for that.
func (s *Source) Revoke(ctx context.Context, t credentials.Token) error {
	plan, _, err := s.plan(ctx, t.Values[keyIssuer])
	if err != nil {
		return err
	}
	who, there, err := s.find.configured(plan.Server)
	if err != nil {
		return s.find.misconfigured(err)
	}
	if !there || who.clientID != t.Values[keyClient] {
		if who, _, err = s.find.kept(ctx, plan.Server, t.Values[keyRedirect]); err != nil {
			return err
		}
	}
	switch {
	case plan.Server.Issuer != t.Values[keyIssuer], plan.Server.tokenOrigin() != t.Values[keyToken], who.clientID != t.Values[keyClient]:
		return s.find.misconfigured(errors.New("the server names another authorization server or client than the token is from"))
	case plan.Server.RevokeURL == "":
		return ErrNoRevocation
	}
	if at, err := url.Parse(plan.Server.RevokeURL); err != nil || originOf(at) != t.Values[keyToken] {
		return s.find.misconfigured(errors.New("the authorization server wants tokens back at another origin than it gives them at"))
	}
	return s.find.endpoint(plan, who).Revoke(ctx, plan.Server.RevokeURL, t)
}

// Missing returns the scopes that the server has asked for since somebody has
// signed in; see [Source.Require].
func (s *Source) Missing() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.want)
}
