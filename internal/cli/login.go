package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
	"github.com/bulkhead-mcp/bulkhead/internal/bearer"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	loginLimit  = 10 * time.Minute // for a person to sign in once
	trialLimit  = 15 * time.Second // for the source to answer afterwards
	revokeLimit = 15 * time.Second
)

var errNobodyCame = errors.New("nobody has signed in within " + loginLimit.String())

// signing is one run of login or logout.
type signing struct {
	inv   *invocation
	w     *wiring
	u     config.Upstream
	store credentials.Store
	in    *signIn
}

// begin finds the upstream that a command names, and opens the store.
func (inv *invocation) begin(ctx context.Context, verb string) (*signing, error) {
	cfg, err := inv.load()
	if err != nil {
		return nil, err
	}
	u, err := interactive(cfg, verb, inv.args)
	if err != nil {
		return nil, err
	}
	w, err := wire(inv.Env, cfg, !inv.opt.verbose)
	if err != nil {
		return nil, err
	}
	store, kept, err := w.shelf.open(ctx)
	if errors.Is(err, errKeepsNothing) {
		err = &hintError{err, "a sign-in is handed to the server through the state directory: set server.state"}
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.shelf.store = store
	if verb == "login" {
		inv.say("tokens are kept sealed in %s, the key in %v", w.shelf.dir, kept)
	}
	subject, err := userOf(inv.opt.user, cfg, u)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	in, err := signInOf(ctx, u, store, subject, func(err error) { inv.say("warning: %v", err) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("upstream %s: auth: %w", u.Name, err), w.close())
	}
	return &signing{inv, w, u, store, in}, nil
}

// userOf returns the subject of a user's tokens; "" is the operator's.
func userOf(name string, cfg *config.Config, u config.Upstream) (string, error) {
	issuer := ""
	switch auth := cfg.Server.Auth; {
	case name == "":
		return "", nil
	case !u.Auth.PerUser():
		return "", &usageError{"users have no sign-ins of their own at " + u.Name, `that is so where auth.per is "user"; leave --user out`}
	case auth.Type == "tokens":
		issuer = bearer.Issuer
	case auth.Type == "oidc":
		issuer = auth.Issuer
	default:
		return "", &usageError{"no users are told from each other", "add [server.auth], or leave --user out"}
	}
	return subjectOf(upstream.NewPrincipal(issuer, name)), nil
}

func (s *signing) end(ctx context.Context) error {
	s.in.close(context.WithoutCancel(ctx))
	return s.w.close()
}

// say tells the person something beside the answer.
func (inv *invocation) say(format string, args ...any) {
	_, _ = fmt.Fprintf(inv.Err, "bulkhead: "+format+"\n", args...)
}

// interactive returns the upstream that args name, if somebody can sign in there.
func interactive(cfg *config.Config, verb string, args []string) (config.Upstream, error) {
	var all []string
	for _, u := range cfg.Upstreams {
		if u.Auth.Interactive() {
			all = append(all, u.Name)
		}
	}
	hint := "those that a person signs in to: " + strings.Join(all, ", ")
	if len(all) == 0 {
		hint = `a person signs in where auth.type is "authorization_code", "device_code" or "mcp"; no upstream has one of these`
	}
	if len(args) != 1 {
		return config.Upstream{}, &usageError{verb + " takes the name of one upstream", hint}
	}
	i := slices.IndexFunc(cfg.Upstreams, func(u config.Upstream) bool { return u.Name == args[0] })
	if i < 0 {
		return config.Upstream{}, &usageError{fmt.Sprintf("there is no upstream %q", args[0]), hint}
	}
	u := cfg.Upstreams[i]
	if !u.Auth.Interactive() {
		return u, &usageError{fmt.Sprintf("nobody signs in to %s: its auth.type is %q", u.Name, u.Auth.Type), hint}
	}
	return u, nil
}

// login has a person sign in to an upstream, once for each set of scopes.
func login(ctx context.Context, inv *invocation) error {
	s, err := inv.begin(ctx, "login")
	if err != nil {
		return err
	}
	return errors.Join(s.login(ctx), s.end(ctx))
}

func (s *signing) login(ctx context.Context) error {
	first := s.in.sets[0].ways
	byCode := s.inv.opt.device || first.browser == nil
	if byCode && first.device == nil {
		hint := "set auth.device_url, if the authorization server has device authorization"
		if s.u.Auth.Type == "mcp" {
			hint = "leave --device out: an MCP server is signed in to with a browser on this machine"
		}
		return &usageError{fmt.Sprintf("there is no way to sign in to %s with a code", s.u.Name), hint}
	}
	for _, set := range s.in.sets {
		if len(s.in.sets) > 1 {
			s.inv.say("%s", s.purpose(set.name))
		}
		if err := s.loginOnce(ctx, set, byCode); err != nil {
			return err
		}
	}
	if err := s.w.ring(s.u.Name); err != nil {
		s.inv.say("warning: servers that run cannot be told, start them again: %v", err)
	}
	st := s.in.status(time.Now())
	_, _ = fmt.Fprintf(s.inv.Out, "%s: %s\n", s.u.Name, signInNote(st, time.Now()))
	return s.try(ctx)
}

// purpose says what a set of scopes is for.
func (s *signing) purpose(set string) string {
	switch tool, ok := strings.CutPrefix(set, toolPrefix); {
	case ok:
		return fmt.Sprintf("signing in to %s for its tool %s", s.u.Name, tool)
	case set == writeSet:
		return fmt.Sprintf("signing in to %s for calls that change something", s.u.Name)
	}
	return "signing in to " + s.u.Name
}

func (s *signing) loginOnce(ctx context.Context, set *scopeSet, byCode bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, loginLimit, errNobodyCame)
	defer cancel()
	if set.ways.require != nil && len(s.in.sets) == 1 {
		if err := set.ways.require(s.missing(ctx)); err != nil {
			return err
		}
	}
	if byCode {
		return set.ways.device(ctx, func(p credentials.Prompt) error {
			s.inv.say("open %s in a browser on any machine and enter the code %s", p.URL, p.Code)
			if p.Full != "" {
				s.inv.say("or open %s", p.Full)
			}
			s.inv.say("waiting until %s", p.Expires.Local().Format(time.TimeOnly)) //nolint:gosmopolitan // for who is sitting here
			return nil
		})
	}
	return set.ways.browser(ctx, func(page string) error {
		err := s.inv.browse(ctx, page)
		if err != nil {
			s.inv.say("no browser was opened: %v", err)
		}
		s.inv.say("sign in at\n\n  %s\n", page)
		return nil
	})
}

// missing returns the scopes that the upstream has asked the servers for that run.
func (s *signing) missing(ctx context.Context) (scopes []string) {
	p, ok := s.inv.place(s.w.state)
	if !ok {
		return nil
	}
	for _, r := range p.Find(ctx) {
		for _, source := range r.Sources {
			if source.Name == s.u.Name && source.SignIn != nil {
				scopes = append(scopes, source.SignIn.Missing...)
			}
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// try finds out whether the upstream takes the token, by listing its tools.
func (s *signing) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	a, err := s.w.trial(ctx, s.u)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() {
		w, ok := a.(upstream.Watcher)
		if !ok {
			watched <- nil
			return
		}
		watched <- w.Watch(watching, upstream.Events{})
	}()
	tools, err := a.Tools(ctx)
	stop()
	failed := errors.Join(<-watched, a.Close())
	if e := upstream.AsError(upstream.ID(s.u.Name), "", err); err != nil {
		s.inv.say("warning: you are signed in, but %s does not answer: %v", s.u.Name, e)
		if e.Kind == upstream.NeedsLogin || e.Kind == upstream.Denied {
			return failedError{}
		}
		return nil
	}
	_, _ = fmt.Fprintf(s.inv.Out, "%s answers, %d %s\n", s.u.Name, len(tools), plural(len(tools), "tool"))
	return failed
}

// logout signs out of an upstream.
func logout(ctx context.Context, inv *invocation) error {
	s, err := inv.begin(ctx, "logout")
	if err != nil {
		return err
	}
	return errors.Join(s.logout(ctx), s.end(ctx))
}

// logout gives the tokens of all sets back and deletes them. What cannot be read
// is left as it is.
func (s *signing) logout(ctx context.Context) error {
	held := make(map[*scopeSet]credentials.Token)
	for _, set := range s.in.sets {
		t, err := s.store.Load(ctx, set.tokens.ID())
		if err != nil && !errors.Is(err, credentials.ErrNoToken) {
			return &hintError{err, "nothing was deleted: a token that cannot be read may be another's"}
		}
		if err == nil {
			held[set] = t
		}
	}
	left := false // at the authorization server
	var failed error
	for _, set := range s.in.sets {
		t, there := held[set]
		if there && !s.revoke(ctx, set, t) {
			left = true
		}
		failed = errors.Join(failed, set.ways.forget(ctx))
	}
	if err := s.w.ring(s.u.Name); err != nil {
		s.inv.say("warning: servers that run cannot be told, end them: %v", err)
	}
	switch {
	case failed != nil:
		return failed
	case len(held) == 0:
		_, _ = fmt.Fprintf(s.inv.Out, "%s: nobody was signed in\n", s.u.Name)
	default:
		_, _ = fmt.Fprintf(s.inv.Out, "%s: signed out\n", s.u.Name)
	}
	if left {
		return failedError{}
	}
	return nil
}

// revoke gives a token back, and reports whether it is of no use any more or
// nothing can be done about it.
func (s *signing) revoke(ctx context.Context, set *scopeSet, t credentials.Token) bool {
	if set.ways.revoke == nil {
		s.inv.say("the token is forgotten here; nothing says where it could be given back (auth.revocation_url)")
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, revokeLimit)
	defer cancel()
	err := set.ways.revoke(ctx, t)
	switch {
	case err == nil:
		return true
	case errors.Is(err, mcpauth.ErrNoRevocation):
		s.inv.say("the token is forgotten here; %v", err)
		return true
	}
	s.inv.say("warning: the token is forgotten here, but it could not be given back and may be good until it ends: %v", err)
	return false
}
