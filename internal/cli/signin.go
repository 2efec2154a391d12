package cli

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/connect"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// The names of sets of scopes. That of the tools without a set of their own is
// "".
const (
	readSet    = ""
	writeSet   = "write"
	toolPrefix = "tool:"
)

// signIn gets tokens for one upstream, for each set of scopes apart.
type signIn struct {
	u    config.Upstream
	sets []*scopeSet // by name, that of [readSet] first
	// release lets go of connections to the authorization server.
	release func()
}

// scopeSet is one credential of an upstream: the tokens for one set of scopes.
type scopeSet struct {
	name   string
	tokens tokens
	ways   ways
	// below returns a transport that has to stand below the grant's client.
	below func(http.RoundTripper) http.RoundTripper
}

// tokens is a source of tokens with what there is to tell of it.
type tokens interface {
	credentials.Source
	ID() string
	State() credentials.State
	Close(context.Context)
}

// ways are how a person signs in and out; nil where there is none.
type ways struct {
	browser func(ctx context.Context, open func(url string) error) error
	page    func(ctx context.Context, redirect string) (connect.Pending, error) // by way of a page of ours
	device  func(ctx context.Context, show func(credentials.Prompt) error) error
	revoke  func(context.Context, credentials.Token) error
	forget  func(context.Context) error
	require func(scopes []string) error
	missing func() []string
}

// scopeSets returns the sets of scopes that calls of an upstream are made with.
// What asks for the same as the others has no set of its own, and nothing that is
// never called has one: a person would have to sign in for each.
func scopeSets(u config.Upstream) map[string][]string {
	sets := map[string][]string{readSet: u.Auth.Scopes}
	if writesApart(u) {
		sets[writeSet] = u.Auth.WriteScopes
	}
	for tool, o := range u.Tools.Override {
		if o.Scopes != nil && !slices.Equal(o.Scopes, u.Auth.Scopes) {
			sets[toolPrefix+tool] = o.Scopes
		}
	}
	return sets
}

func writesApart(u config.Upstream) bool {
	return u.Auth.WriteScopes != nil && u.Writes != "deny" && !slices.Equal(u.Auth.WriteScopes, u.Auth.Scopes)
}

// setOf returns the set of scopes that a call is made with.
func setOf(u config.Upstream, c *upstream.Call) string {
	if c.Op != upstream.CallTool || c.Tool == nil {
		return readSet
	}
	o := u.Tools.Override[c.Name]
	switch {
	case o != nil && o.Scopes != nil && !slices.Equal(o.Scopes, u.Auth.Scopes):
		return toolPrefix + c.Name
	case o != nil && o.Scopes != nil, c.Tool.Hints.ReadOnly, !writesApart(u):
		return readSet
	}
	return writeSet
}

// signer builds what gets the tokens of one upstream for one subject: a
// principal's key, or "" for the operator. report is told of what fails beside
// calls.
type signer func(ctx context.Context, subject string, report func(error)) (*signIn, error)

// newSigner fetches the secrets that signing in to an upstream takes, but asks no
// authorization server yet.
func newSigner(ctx context.Context, u config.Upstream, store credentials.Store) (signer, error) {
	if u.Auth.Type == "mcp" {
		return discovered(ctx, u, store)
	}
	return described(ctx, u, store)
}

// newSignIn builds what gets the tokens of an upstream for the operator.
func newSignIn(ctx context.Context, u config.Upstream, store credentials.Store, report func(error)) (*signIn, error) {
	return signInOf(ctx, u, store, "", report)
}

// signInOf is newSignIn for one subject.
func signInOf(ctx context.Context, u config.Upstream, store credentials.Store, subject string, report func(error)) (*signIn, error) {
	sign, err := newSigner(ctx, u, store)
	if err != nil {
		return nil, err
	}
	return sign(ctx, subject, report)
}

// attach returns how the tokens of each set are put into requests: those of the
// calls without a set of their own, and the others by name.
func (s *signIn) attach() (main credentials.Attachment, others map[string]credentials.Attachment) {
	a := s.u.Auth
	field, prefix := "Authorization", "Bearer "
	if a.Header != "" {
		field = a.Header
	}
	if a.Prefix != nil {
		prefix = *a.Prefix
	}
	others = map[string]credentials.Attachment{}
	for _, set := range s.sets {
		attach := credentials.HeaderFrom(field, prefix, set.tokens)
		if set.name == readSet {
			main = attach
		} else {
			others[set.name] = attach
		}
	}
	return main, others
}

// clients returns the client for the requests of each set.
func (s *signIn) clients(grant *credentials.Grant, base http.RoundTripper) map[string]*http.Client {
	clients := make(map[string]*http.Client, len(s.sets))
	for _, set := range s.sets {
		below, own := base, grant
		if set.below != nil {
			below = set.below(base)
		}
		if set.name != readSet {
			own = grant.Scoped(set.name)
		}
		clients[set.name] = own.Client(below)
	}
	return clients
}

// closing returns what closes s, also when ctx has ended.
func (s *signIn) closing(ctx context.Context) func() {
	ctx = context.WithoutCancel(ctx)
	return func() { s.close(ctx) }
}

// close waits for refreshes of what a person has signed in for: a rotated token
// that nobody has heard of is lost. Any other token is had again for the asking,
// so its request ends at once.
func (s *signIn) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	now, end := context.WithCancel(ctx)
	end()
	for _, set := range s.sets {
		if set.ways.forget == nil {
			set.tokens.Close(now)
			continue
		}
		set.tokens.Close(ctx)
	}
	s.release()
}

// Busy implements credentials.Held: closing it now would lose a token.
func (s *signIn) Busy() bool {
	return slices.ContainsFunc(s.sets, func(set *scopeSet) bool {
		held := set.tokens.State()
		return held.Busy || held.Unsaved != nil
	})
}

// Close implements credentials.Held.
func (s *signIn) Close(ctx context.Context) { s.close(ctx) }

// allows says what a set of scopes is for.
func allows(set string) string {
	switch tool, ok := strings.CutPrefix(set, toolPrefix); {
	case ok:
		return "its tool " + tool
	case set == writeSet:
		return "calls that change something"
	}
	return "calls that only read"
}

// loginCommand is how a person signs in.
func loginCommand(u config.Upstream) string {
	if !u.Auth.Interactive() {
		return ""
	}
	return "bulkhead login " + u.Name
}

// credential names what the operator has to look at where a source refuses what
// it is asked with; "" if a person signs in, or the source is no service.
func credential(u config.Upstream) string {
	key := map[string]string{ //nolint:gosec // names of keys
		"none": "auth", "bearer": "auth.token", "header": "auth.value", "basic": "auth.password", "token_exchange": "auth.token",
		"client_credentials": "auth.client_secret", "jwt_bearer": "auth.key", "snowflake": "auth.key", "github_app": "auth.key",
	}[u.Auth.Type]
	switch {
	case u.Auth.Interactive() || u.Sandbox != "" || len(u.Command) > 0:
		return ""
	case u.Kind == "sql" && u.Auth.Type == "none":
		return "upstream." + u.Name + ".database"
	case u.Auth.Type == "client_credentials" && u.Auth.ClientSecret == nil:
		key = "auth.key"
	}
	return fmt.Sprintf("upstream.%s.%s (auth.type = %q)", u.Name, key, u.Auth.Type)
}

// status says how the sign-in stands, without asking anybody: the worst of the
// sets that have been of use.
func (s *signIn) status(now time.Time) *aggregate.SignInStatus {
	st := &aggregate.SignInStatus{State: aggregate.SignInUnused, Command: loginCommand(s.u)}
	var until time.Time
	for _, set := range s.sets {
		held := set.tokens.State()
		state := stateOf(held, now)
		if rank(state) > rank(st.State) {
			st.State = state
		}
		if state == aggregate.SignedIn && (until.IsZero() || held.Expiry.Before(until)) {
			until = held.Expiry
		}
		for _, scope := range held.Scopes {
			if !slices.Contains(st.Scopes, scope) {
				st.Scopes = append(st.Scopes, scope)
			}
		}
		st.Unsaved = st.Unsaved || held.Unsaved != nil
		if set.ways.missing != nil && len(s.sets) == 1 { // else it is not clear which is to have them
			st.Missing = set.ways.missing()
		}
	}
	slices.Sort(st.Scopes)
	if !until.IsZero() && until.Sub(now) < credentials.Lasting/2 {
		st.Until = until.UTC().Format(time.RFC3339)
	}
	return st
}

func stateOf(held credentials.State, now time.Time) aggregate.SignInState {
	switch {
	case held.Expiry.After(now):
		return aggregate.SignedIn
	case held.Failure == nil:
		return aggregate.SignInUnused
	case held.Failure.Trouble == credentials.NeedsLogin:
		return aggregate.SignInRequired
	case held.Failure.Trouble == credentials.Misconfigured:
		return aggregate.SignInRefused
	}
	return aggregate.SignInFailing
}

func rank(s aggregate.SignInState) int {
	return slices.Index([]aggregate.SignInState{aggregate.SignInUnused, aggregate.SignedIn, aggregate.SignInFailing, aggregate.SignInRequired, aggregate.SignInRefused}, s)
}

// signInNote says how a sign-in stands, to a person.
func signInNote(s *aggregate.SignInStatus, now time.Time) string {
	text := ""
	switch s.State {
	case aggregate.SignedIn:
		text = "signed in"
		if t, err := time.Parse(time.RFC3339, s.Until); err == nil {
			text += " for " + age(t.Sub(now))
		}
		if len(s.Scopes) > 0 {
			text += ", scopes " + strings.Join(s.Scopes, " ")
		}
	case aggregate.SignInRequired:
		text = "needs login"
	case aggregate.SignInRefused:
		text = "the sign-in is refused; see auth in the configuration"
	case aggregate.SignInFailing:
		text = "no token at the moment"
	case aggregate.SignInUnused:
		return ""
	}
	if s.Command != "" && (s.State == aggregate.SignInRequired || len(s.Missing) > 0) {
		if len(s.Missing) > 0 {
			text += ", more scopes are asked for (" + strings.Join(s.Missing, " ") + ")"
		}
		text += ": " + s.Command
	}
	if s.Unsaved {
		text += "; the token could not be stored and is lost when the process ends"
	}
	return text
}
