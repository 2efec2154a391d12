package mcpauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// Transport returns base with an ear for what the server says about tokens; it
// goes below the client of the grant that has this source. A refusal for lack of
// scopes (403 with insufficient_scope) becomes a *[credentials.TokenError]: the
// token is as good as before, but this request needs somebody to sign in for
// more. Everything else passes as it is.
func (s *Source) Transport(base http.RoundTripper) http.RoundTripper {
	return &listener{base: base, source: s, origin: originOf(s.find.server)}
}

type listener struct {
	base   http.RoundTripper
	source *Source
	origin string
}

// RoundTrip implements http.RoundTripper.
func (l *listener) RoundTrip(req *http.Request) (*http.Response, error) {
	logins := l.source.logins.Load()
	resp, err := l.base.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden || originOf(req.URL) != l.origin {
		return resp, err
	}
	if _, token, _ := strings.Cut(req.Header.Get("Authorization"), " "); token != "" { // what the server says is kept, and shown
		resp = credentials.Scrub(resp, credentials.NewSecret(token))
	}
	challenge, ok := ParseChallenge(resp.Header.Values("WWW-Authenticate"))
	switch {
	case ok && resp.StatusCode == http.StatusUnauthorized:
		l.source.hear(challenge)
	case ok && challenge.Error == "insufficient_scope":
		_ = resp.Body.Close() // says no more than the field
		return nil, l.source.missing(challenge, logins)
	}
	return resp, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the base.
func (l *listener) CloseIdleConnections() {
	if c, ok := l.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (s *Source) hear(challenge Challenge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = challenge
}

// missing takes note of a token with too few scopes. If the scopes that are
// missing were asked for, another signing in will hardly help; it is tried once.
// logins are those before the token was sent.
func (s *Source) missing(challenge Challenge, logins uint32) error {
	state := s.State()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins.Load() != logins {
		return s.find.trouble(credentials.Transient, errors.New("the token had too few scopes; there is another one now"))
	}
	if challenge.Metadata != "" {
		s.heard.Metadata = challenge.Metadata
	}
	asked := s.held.scopes
	if s.held.issuer == "" {
		asked = state.Scopes // somebody signed in elsewhere
	}
	lacks := func(scope string) bool { return !slices.Contains(asked, scope) }
	if slices.ContainsFunc(challenge.Scopes, lacks) {
		if want := union(s.want, challenge.Scopes); sound(union(asked, want)) {
			s.want = want
		}
		return s.find.trouble(credentials.NeedsLogin, fmt.Errorf("the server wants more scopes for this: %.300q; sign in again to allow them", key(challenge.Scopes)))
	}
	if !s.known { // once for each token, however many calls it has failed
		s.known = true
		s.vain[key(asked)]++
	}
	if s.vain[key(asked)] >= vainTries {
		return s.find.trouble(credentials.NeedsLogin, inVain(asked))
	}
	return s.find.trouble(credentials.NeedsLogin, fmt.Errorf("the server says that scopes are missing, though they were asked for: %.300q; sign in again", key(asked)))
}
