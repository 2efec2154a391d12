package mcpauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"syscall"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// Login is a person's signing in that has begun.
type Login struct {
	// URL is where the person's browser goes: https, or http on this machine.
	URL string
	// Plan is what was found, to be shown.
	Plan    Plan
	Scopes  []string // that are asked for; nil leaves it to the server
	source  *Source
	who     registration
	flow    *credentials.CodeFlow
	pending *credentials.Pending
}

// Login has a person sign in with a browser on this machine; open is given the
// URL to show. It returns when that is done or ctx ends. The error is a
// *[credentials.TokenError], unless the token could not be saved; then it is
// used all the same.
func (s *Source) Login(ctx context.Context, open func(url string) error) error {
	for tries := 1; ; tries++ {
		l, err := s.prepare(ctx, "")
		if err != nil {
			return err
		}
		at, err := loopback(l.who.redirect)
		if err != nil {
			return s.find.misconfigured(err)
		}
		t, err := l.flow.Login(ctx, at, open)
		if l.who.dynamic && l.who.wanted == "" && tries < portTries && errors.Is(err, syscall.EADDRINUSE) {
			continue // somebody took the port while it was being registered; another one is, then
		}
		return l.finish(ctx, t, err)
	}
}

// portTries is how many ports are tried that were free when they were chosen.
const portTries = 3

// Begin begins a signing in whose browser comes back to redirect, a page of our
// own. What that gets goes to [Login.Finish].
func (s *Source) Begin(ctx context.Context, redirect string) (*Login, error) {
	l, err := s.prepare(ctx, redirect)
	if err != nil {
		return nil, err
	}
	if l.pending, err = l.flow.Begin(redirect); err != nil {
		return nil, s.find.misconfigured(err)
	}
	l.URL = l.pending.URL
	return l, nil
}

// Mine reports whether query is an answer to this signing in.
func (l *Login) Mine(query url.Values) bool { return l.pending.Mine(query) }

// Finish takes the query with which the browser came back; see
// [credentials.Pending.Finish] and, for errors, [Source.Login].
func (l *Login) Finish(ctx context.Context, query url.Values) error {
	t, err := l.pending.Finish(ctx, query)
	return l.finish(ctx, t, err)
}

// loopback is a redirect as something to listen at.
func loopback(redirect string) (credentials.Loopback, error) {
	u, err := url.Parse(redirect)
	if err != nil {
		return credentials.Loopback{}, errors.New("the redirect is no URL")
	}
	at := credentials.Loopback{Host: u.Hostname(), Path: u.Path}
	if u.Port() != "" {
		at.Port, err = strconv.Atoi(u.Port())
	}
	return at, err
}

// prepare finds out everything that a signing in needs.
func (s *Source) prepare(ctx context.Context, redirect string) (*Login, error) {
	last, err := s.newest(ctx)
	if err != nil {
		return nil, err
	}
	plan, challenge, err := s.plan(ctx, last.issuer)
	if err != nil {
		return nil, err
	}
	scopes, err := s.scopes(plan, challenge, last)
	if err != nil {
		return nil, err
	}
	who, err := s.find.enroll(ctx, plan.Server, redirect)
	if err != nil {
		return nil, err
	}
	flow := &credentials.CodeFlow{
		Endpoint: s.find.endpoint(plan, who), AuthorizeURL: plan.Server.AuthorizeURL,
		Issuer: plan.Server.Issuer, IssuerSent: plan.Server.IssuerSent, Scopes: scopes,
	}
	if slices.Contains(scopes, offline) {
		flow.Params = url.Values{"prompt": {"consent"}} // OpenID Connect Core, section 11
	}
	return &Login{Plan: plan, Scopes: scopes, source: s, who: who, flow: flow}, nil
}

// finish hands the token to the source.
func (l *Login) finish(ctx context.Context, t credentials.Token, err error) error {
	s := l.source
	if err != nil {
		s.unknown(ctx, l.Plan, l.who, err)
		return err
	}
	if l.who.instead {
		s.find.keep(ctx, l.Plan.Server, l.who)
	}
	err = s.token.Put(ctx, stamp(t, l.Plan, l.who))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held{l.Plan.Server.Issuer, l.who.wanted, l.Scopes}
	s.want, s.known = nil, false
	s.logins.Add(1) // what was sent until now had another token
	return err
}

// offline is the scope that some servers want for a refresh token (OpenID Connect
// Core, section 11; MCP 2026-07-28, refresh tokens).
const offline = "offline_access"

// scopes chooses what to ask for: what the operator says, or what the server
// says that the request needs, or all that it has; always with what we have
// asked for before, and what was missing since.
func (s *Source) scopes(plan Plan, challenge Challenge, last held) ([]string, error) {
	if last.issuer != plan.Server.Issuer {
		last = held{} // another server's scopes mean nothing here
	}
	base := s.find.opt.Scopes
	if base == nil {
		base = challenge.Scopes
	}
	if base == nil && last.scopes == nil {
		base = plan.Supported
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := union(last.scopes, base, s.want)
	if len(all) > 0 && slices.Contains(plan.Server.Scopes, offline) {
		all = union(all, []string{offline})
	}
	switch {
	case !sound(all):
		return nil, s.find.trouble(credentials.Misconfigured, fmt.Errorf("the server wants more than %d scopes; set those to ask for", maxScopes))
	case s.vain[key(all)] >= vainTries:
		return nil, s.find.trouble(credentials.NeedsLogin, inVain(all))
	}
	return all, nil
}

// inVain says why nobody is sent to sign in once more.
func inVain(scopes []string) error {
	return fmt.Errorf("the server has refused %d tokens for lack of scopes that were asked for (%.200s): signing in again is of no use, ask who runs it", vainTries, key(scopes))
}
