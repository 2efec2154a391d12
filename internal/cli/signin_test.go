package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	keys "filippo.io/age"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestSetOfACall(t *testing.T) {
	reads, writes := &upstream.Tool{Hints: upstream.Traits{ReadOnly: true}}, &upstream.Tool{}
	u := config.Upstream{Auth: config.Auth{WriteScopes: []string{"w"}}, Tools: config.ToolFilter{Override: map[string]*config.Override{
		"purge": {Scopes: []string{"admin"}}, "other": {Cost: 2}}}}
	plain := u
	plain.Auth.WriteScopes = nil
	shut, same := u, u // nothing writes; writes ask for what reads ask for
	shut.Writes, same.Auth.Scopes = "deny", []string{"w"}
	same.Tools.Override = map[string]*config.Override{"purge": {Scopes: []string{"w"}}}
	for _, c := range []struct {
		u    config.Upstream
		call upstream.Call
		want string
	}{
		{u, upstream.Call{Op: upstream.CallTool, Name: "get", Tool: reads}, readSet},
		{u, upstream.Call{Op: upstream.CallTool, Name: "put", Tool: writes}, writeSet},
		{u, upstream.Call{Op: upstream.CallTool, Name: "other", Tool: writes}, writeSet},
		{u, upstream.Call{Op: upstream.CallTool, Name: "purge", Tool: reads}, "tool:purge"},
		{u, upstream.Call{Op: upstream.ReadResource, Name: "purge"}, readSet},
		{plain, upstream.Call{Op: upstream.CallTool, Name: "put", Tool: writes}, readSet},
		{shut, upstream.Call{Op: upstream.CallTool, Name: "put", Tool: writes}, readSet},
		{same, upstream.Call{Op: upstream.CallTool, Name: "put", Tool: writes}, readSet},
		{same, upstream.Call{Op: upstream.CallTool, Name: "purge", Tool: writes}, readSet},
	} {
		if got := setOf(c.u, &c.call); got != c.want {
			t.Errorf("%s: %q, want %q", c.call.Name, got, c.want)
		}
		if _, there := scopeSets(c.u)[c.want]; !there {
			t.Errorf("nothing gets the tokens of %q", c.want)
		}
	}
	if sets := []int{len(scopeSets(u)), len(scopeSets(plain)), len(scopeSets(shut)), len(scopeSets(same))}; !slices.Equal(sets, []int{3, 2, 2, 1}) {
		t.Errorf("%v sets of scopes to sign in for", sets)
	}
}

// held is a source whose state is given.
type held struct{ state credentials.State }

func (held) Token(context.Context) (credentials.Token, error) { return credentials.Token{}, nil }
func (held) Invalidate(credentials.Token)                     {}
func (held) ID() string                                       { return "" }
func (h held) State() credentials.State                       { return h.state }
func (held) Close(context.Context)                            {}

func TestSignInStatus(t *testing.T) {
	failed := func(class credentials.Trouble) credentials.State {
		return credentials.State{Failure: &credentials.TokenError{Trouble: class}}
	}
	good := credentials.State{Expiry: noon.Add(43 * time.Minute), Scopes: []string{"b", "a"}}
	longer := credentials.State{Expiry: noon.Add(time.Hour), Scopes: []string{"a", "c"}, Unsaved: errors.New("full")}
	for _, c := range []struct {
		sets []credentials.State
		want aggregate.SignInState
		note string
	}{
		{[]credentials.State{{}}, aggregate.SignInUnused, ""},
		{[]credentials.State{{Expiry: noon.Add(-time.Second)}}, aggregate.SignInUnused, ""},
		{[]credentials.State{{Expiry: noon.Add(credentials.Lasting)}}, aggregate.SignedIn, "signed in"},
		{[]credentials.State{good, {}}, aggregate.SignedIn, "signed in for 43 min, scopes a b"},
		{[]credentials.State{longer, good}, aggregate.SignedIn, "signed in for 43 min, scopes a b c; the token could not be stored and is lost when the process ends"},
		{[]credentials.State{good, failed(credentials.NeedsLogin)}, aggregate.SignInRequired, "needs login: bulkhead login crm"},
		{[]credentials.State{failed(credentials.Misconfigured), failed(credentials.NeedsLogin)}, aggregate.SignInRefused, "the sign-in is refused; see auth in the configuration"},
		{[]credentials.State{good, failed(credentials.Transient)}, aggregate.SignInFailing, "no token at the moment"},
		{[]credentials.State{{Expiry: good.Expiry, Failure: &credentials.TokenError{}}}, aggregate.SignedIn, "signed in for 43 min"},
	} {
		s := &signIn{u: config.Upstream{Name: "crm", Auth: config.Auth{Type: "mcp"}}}
		for i, state := range c.sets {
			s.sets = append(s.sets, &scopeSet{name: fmt.Sprint(i), tokens: held{state}})
		}
		st := s.status(noon)
		if note := signInNote(st, noon); st.State != c.want || note != c.note {
			t.Errorf("%s %q, want %s %q", st.State, note, c.want, c.note)
		}
	}
}

// What goes on failing is logged once, and now and then again.
func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := &wiring{log: slog.New(slog.NewTextHandler(&log, nil))}
		complain := w.complain("crm")
		for _, err := range []string{"one", "one", "two", "two", "one"} {
			complain(errors.New(err))
		}
		time.Sleep(complaintAgain)
		complain(errors.New("one"))
		if n := strings.Count(log.String(), "upstream=crm problem="); n != 4 {
			t.Errorf("%d lines:\n%s", n, log.String())
		}
	})
}

func TestBrowsers(t *testing.T) {
	const page = "https://login.example/?a=b&c=d%20e;f"
	for _, c := range []struct {
		environ []string
		want    [][]string
		only    string // system
	}{
		{[]string{"BROWSER=firefox"}, [][]string{{"firefox", page}}, ""},
		{[]string{"BROWSER=firefox -new-tab %s -x:w3m"}, [][]string{{"firefox", "-new-tab", page, "-x"}, {"w3m", page}}, ""},
		{[]string{"BROWSER=:", "DISPLAY=:0"}, [][]string{{"xdg-open", page}}, "linux"},
		{nil, nil, "linux"},
		{nil, [][]string{{"open", page}}, "darwin"},
		{nil, [][]string{{"rundll32", "url.dll,FileProtocolHandler", page}}, "windows"},
	} {
		if c.only != "" && c.only != runtime.GOOS {
			continue
		}
		if got := (Env{Environ: c.environ}).browsers(page); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %q, want %q", c.environ, got, c.want)
		}
	}
}

func TestOnlyPagesAreOpened(t *testing.T) {
	opened := filepath.Join(t.TempDir(), "opened")
	e := Env{Environ: []string{"BROWSER=touch " + opened}}
	for _, page := range []string{"file:///etc/passwd", "javascript:alert(1)", "--version", "https:", "http://", "mailto:a@b.example", "ftp://a.example/"} {
		if err := e.browse(t.Context(), page); err == nil || !strings.Contains(err.Error(), "only addresses of http and https") {
			t.Errorf("%s: %v", page, err)
		}
	}
	if _, err := os.Stat(opened); err == nil {
		t.Error("a program was started")
	}
}

// A store that cannot be opened is no reason not to serve, and is told once.
func TestTokenShelf(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	state := t.TempDir()
	key := filepath.Join(state, "none")
	for name, shelf := range map[string]*tokenShelf{
		"nothing is kept": newTokenShelf("", nil, logger), "no key": newTokenShelf(state, &config.Ref{File: key}, logger),
	} {
		log.Reset()
		var first credentials.Store
		for range 2 {
			store, err := shelf.get(t.Context())
			if _, inMemory := store.(*credentials.MemoryStore); err != nil || !inMemory || first != nil && first != store {
				t.Errorf("%s: %T %v", name, store, err)
			}
			first = store
		}
		if strings.Count(log.String(), "no tokens are kept") != 1 {
			t.Errorf("%s: %s", name, log.String())
		}
		if _, _, err := shelf.open(t.Context()); err == nil {
			t.Errorf("%s: it can be opened", name)
		}
	}
	log.Reset()
	identity, err := keys.GenerateX25519Identity()
	if err == nil {
		err = os.WriteFile(key, []byte(identity.String()), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	shelf := newTokenShelf(filepath.Join(state, "deep"), &config.Ref{File: key}, logger)
	shelf.turn <- struct{}{} // somebody is asked for the key
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := shelf.get(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-shelf.turn
	if store, err := shelf.get(t.Context()); err != nil || !strings.Contains(log.String(), "key_in=") {
		t.Errorf("%T %v %s", store, err, log.String())
	}
}

// What the operator has to look at is a key of the configuration that is there,
// for each way to sign in that takes nobody.
func TestCredentialToLookAt(t *testing.T) {
	secret := &config.Ref{Env: "X"}
	for want, u := range map[string]config.Upstream{
		`upstream.crm.auth (auth.type = "none")`:                             {URL: "https://x", Auth: config.Auth{Type: "none"}},
		`upstream.crm.auth.token (auth.type = "bearer")`:                     {Auth: config.Auth{Type: "bearer"}},
		`upstream.crm.auth.value (auth.type = "header")`:                     {Auth: config.Auth{Type: "header"}},
		`upstream.crm.auth.password (auth.type = "basic")`:                   {Kind: "sql", Auth: config.Auth{Type: "basic"}},
		`upstream.crm.database`:                                              {Kind: "sql", Auth: config.Auth{Type: "none"}},
		`upstream.crm.auth.client_secret (auth.type = "client_credentials")`: {Auth: config.Auth{Type: "client_credentials", ClientSecret: secret}},
		`upstream.crm.auth.key (auth.type = "client_credentials")`:           {Auth: config.Auth{Type: "client_credentials", Key: secret}},
		`upstream.crm.auth.key (auth.type = "github_app")`:                   {Auth: config.Auth{Type: "github_app"}},
		`upstream.crm.auth.key (auth.type = "jwt_bearer")`:                   {Auth: config.Auth{Type: "jwt_bearer"}},
		`upstream.crm.auth.key (auth.type = "snowflake")`:                    {Auth: config.Auth{Type: "snowflake"}},
		`upstream.crm.auth.token (auth.type = "token_exchange")`:             {Auth: config.Auth{Type: "token_exchange"}},
	} {
		u.Name = "crm"
		if got := credential(u); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, u := range []config.Upstream{
		{Auth: config.Auth{Type: "mcp"}}, {Auth: config.Auth{Type: "authorization_code"}}, {Auth: config.Auth{Type: "device_code"}},
		{Command: []string{"x"}, Auth: config.Auth{Type: "none"}}, {Sandbox: "crm", Auth: config.Auth{Type: "none"}},
	} {
		if got := credential(u); got != "" {
			t.Errorf("%+v: %q", u.Auth, got)
		}
	}
}

// TestCloseWaitsForPeoplesTokensOnly: a request for a token that anybody could
// make again ends with the server, one that may have used up a refresh token is
// waited for. Who gives up waiting before ends neither.
func TestCloseWaitsForPeoplesTokensOnly(t *testing.T) {
	for name, c := range map[string]struct {
		ways ways
		want time.Duration
	}{
		"the server's own": {ways{}, 0},
		"a person's":       {ways{forget: func(context.Context) error { return nil }}, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var ended time.Time
			tokens := credentials.NewRefresher(credentials.SourceSpec{Name: "crm", ID: "x", Fetch: func(ctx context.Context, _ credentials.Token) (credentials.Token, error) {
				<-ctx.Done()
				ended = time.Now()
				return credentials.Token{}, ctx.Err()
			}})
			s := &signIn{sets: []*scopeSet{{tokens: tokens, ways: c.ways}}, release: func() {}}
			call, giveUp := context.WithTimeout(t.Context(), time.Second)
			defer giveUp()
			if _, err := tokens.Token(call); err == nil || !ended.IsZero() {
				t.Errorf("%s: %v, the request ended at %v", name, err, ended)
			}
			began := time.Now()
			s.close(t.Context())
			if took := time.Since(began); took != c.want || ended.IsZero() {
				t.Errorf("%s: took %v, want %v", name, took, c.want)
			}
		})
	}
}
