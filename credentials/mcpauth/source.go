package mcpauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// Source is the [credentials.Source] of one MCP server and one person. Its token
// belongs to the issuer, the client and the place of the token endpoint that it
// was got with: if the server or its metadata name others when it is to be
// refreshed, nothing is sent there, and somebody has to sign in again.
type Source struct {
	find  *discovery
	id    string
	token *credentials.Refresher

	mu    sync.Mutex
	heard Challenge // the last 401's, and where the metadata are
	held  held
	want  []string       // scopes to ask for beside, next time
	vain  map[string]int // sets of scopes: how many tokens with them were not enough
	known bool           // that held is not enough

	logins atomic.Uint32 // so far
}

// held is what the newest token was asked for.
type held struct {
	issuer   string
	redirect string // see registration
	scopes   []string
}

// vainTries is how often a person is sent to sign in for the same scopes.
const vainTries = 2

// NewSource checks opt. The source has done nothing yet.
func NewSource(opt Options) (*Source, error) {
	find, err := newDiscovery(&opt)
	if err != nil {
		return nil, err
	}
	s := &Source{find: find, vain: map[string]int{}}
	s.id = credentials.Identity{
		Upstream: opt.Name, Subject: opt.Subject, Issuer: opt.Issuer, ClientID: opt.ClientID, Scopes: opt.Scopes, Resource: opt.resource(find.server),
	}.ID()
	s.token = credentials.NewRefresher(credentials.SourceSpec{Name: opt.Name, ID: s.id, Fetch: s.refresh, Store: opt.Store, Report: opt.Report})
	return s, nil
}

// ID returns the credential's.
func (s *Source) ID() string { return s.id }

// Token implements [credentials.Source].
func (s *Source) Token(ctx context.Context) (credentials.Token, error) { return s.token.Token(ctx) }

// Invalidate implements [credentials.Source].
func (s *Source) Invalidate(used credentials.Token) { s.token.Invalidate(used) }

// State tells what is known without asking anybody.
func (s *Source) State() credentials.State { return s.token.State() }

// Close ends the source; see [credentials.Refresher.Close].
func (s *Source) Close(ctx context.Context) { s.token.Close(ctx) }

// Require has the next signing in ask for these scopes beside.
func (s *Source) Require(scopes []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := union(s.want, scopes)
	if !sound(want) {
		return fmt.Errorf("%s: scopes must be words of printable ASCII, %d at most", s.find.name, maxScopes)
	}
	s.want = want
	return nil
}

// Forget deletes the token, and what we have registered to get it, unless other
// users get theirs with it.
func (s *Source) Forget(ctx context.Context) error {
	last, err := s.newest(ctx)
	s.mu.Lock()
	s.heard, s.held, s.want, s.known = Challenge{}, held{}, nil, false
	clear(s.vain)
	s.mu.Unlock()
	err = errors.Join(err, s.token.Forget(ctx))
	if last.issuer != "" && s.find.opt.Subject == "" {
		err = errors.Join(err, s.find.notes.drop(ctx, s.find.registrationID(last.issuer, last.redirect)))
	}
	return err
}

// newest returns what the token that we or another process have got last was
// asked for.
func (s *Source) newest(ctx context.Context) (held, error) {
	s.mu.Lock()
	h := s.held
	s.mu.Unlock()
	if s.find.opt.Store == nil {
		return h, nil
	}
	t, err := s.find.opt.Store.Load(ctx, s.id)
	if err != nil && !errors.Is(err, credentials.ErrNoToken) {
		return h, s.find.trouble(credentials.Misconfigured, fmt.Errorf("the token store: %w", err))
	}
	switch h.issuer {
	case "":
		h = held{t.Values[keyIssuer], t.Values[keyRedirect], t.Scopes}
	case t.Values[keyIssuer]: // somebody may have signed in elsewhere, for more
		h.scopes = union(h.scopes, t.Scopes)
	}
	return h, nil
}

// plan finds the way to a token: by what the server has said when it refused, or
// else by what it says to one who asks.
func (s *Source) plan(ctx context.Context, prefer string) (Plan, Challenge, error) {
	s.mu.Lock()
	challenge := s.heard
	s.mu.Unlock()
	if challenge.Metadata == "" && challenge.Scopes == nil {
		var err error
		if challenge, err = s.find.probe(ctx); err != nil {
			return Plan{}, challenge, err
		}
	}
	plan, err := s.find.plan(ctx, challenge, prefer)
	if err != nil {
		s.mu.Lock()
		s.heard = Challenge{} // may be out of date
		s.mu.Unlock()
	}
	return plan, challenge, err
}

// refresh gets a new token for the refresh token of the last, where that is from.
func (s *Source) refresh(ctx context.Context, last credentials.Token) (credentials.Token, error) {
	fail := func(reason string) (credentials.Token, error) {
		return credentials.Token{}, s.find.trouble(credentials.NeedsLogin, errors.New(reason))
	}
	if last.Refresh.IsZero() {
		return fail("nobody has signed in, or the signing in has ended")
	}
	plan, _, err := s.plan(ctx, last.Values[keyIssuer])
	if err != nil {
		return credentials.Token{}, err
	}
	server := plan.Server
	who, there, err := s.find.configured(server)
	if err != nil {
		return credentials.Token{}, s.find.misconfigured(err)
	}
	if !there || who.clientID != last.Values[keyClient] {
		if who, there, err = s.find.kept(ctx, server, last.Values[keyRedirect]); err != nil {
			return credentials.Token{}, err
		}
	}
	switch {
	case server.Issuer != last.Values[keyIssuer]:
		return fail("the server takes tokens of another authorization server now, " + server.Issuer)
	case server.tokenOrigin() != last.Values[keyToken]:
		return fail("the authorization server has its token endpoint elsewhere now, at " + server.tokenOrigin())
	case !there || who.clientID != last.Values[keyClient]:
		return fail("the client that has signed in is not ours any more")
	}
	t, err := credentials.RefreshToken(s.find.endpoint(plan, who), last.Scopes)(ctx, last)
	if s.unknown(ctx, plan, who, err) {
		return fail("the authorization server does not know the client any more that it had registered")
	}
	return t, err
}

// unknown reports whether err says that a client of our own making is none, and
// forgets it then.
func (s *Source) unknown(ctx context.Context, plan Plan, who registration, err error) bool {
	e, ok := errors.AsType[*credentials.TokenError](err)
	if !ok || !who.dynamic || e.Code != "invalid_client" && e.Code != "unauthorized_client" {
		return false
	}
	_ = s.find.notes.drop(ctx, s.find.registrationID(plan.Server.Issuer, who.wanted)) // else it is found out again
	return true
}

func (d *discovery) endpoint(plan Plan, who registration) *credentials.Endpoint {
	return &credentials.Endpoint{
		Name: d.name, URL: plan.Server.TokenURL, Client: d.client, ClientID: who.clientID, Auth: who.auth(),
		Params: url.Values{"resource": {plan.Resource}}, Accept: d.opt.Accept,
	}
}

// key is a set of scopes as one string.
func key(scopes []string) string {
	return strings.Join(slices.Sorted(slices.Values(scopes)), " ")
}

// stamp marks a token with what it belongs to.
func stamp(t credentials.Token, plan Plan, who registration) credentials.Token {
	t.Values = maps.Clone(t.Values)
	if t.Values == nil {
		t.Values = map[string]string{}
	}
	t.Values[keyIssuer], t.Values[keyClient] = plan.Server.Issuer, who.clientID
	t.Values[keyToken], t.Values[keyRedirect] = plan.Server.tokenOrigin(), who.wanted
	return t
}
