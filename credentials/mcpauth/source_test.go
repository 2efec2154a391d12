package mcpauth_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
)

// Before anybody has signed in, nobody is asked anything.
func TestNobodySignedIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	_, err := w.call()
	trouble(t, err, credentials.NeedsLogin)
	if got := w.net.requests(); len(got) != 0 {
		t.Errorf("asked %q", got)
	}
}

// A token is refreshed where it is from, by whoever asks first, and after a
// restart too.
func TestRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login(w.one)
	w.expire()
	w.mustCall("200 Bearer token-2-of-https://auth.example")
	form, _ := w.one.last()
	if form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != "refresh-1-of-https://auth.example" || form.Get("resource") != mcpURL ||
		form.Get("client_id") != "client-1-of-https://auth.example" {
		t.Errorf("%v", form)
	}
	w.expire()
	w.mustCall("200 Bearer token-3-of-https://auth.example")
	if len(w.one.registered) != 1 {
		t.Error("registered again")
	}
}

// expire has all stored tokens end, and restarts.
func (w *world) expire() {
	w.shelf.mu.Lock()
	for id, t := range w.shelf.tokens {
		if !t.Refresh.IsZero() {
			t.Expiry = time.Now().Add(-time.Minute)
			w.shelf.tokens[id] = t
		}
	}
	w.shelf.mu.Unlock()
	w.net.clear()
	w.restart()
}

// What a token belongs to has changed: nothing is sent, and somebody has to sign
// in again.
func TestTokenStaysWhereItBelongs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*world)
		want   string
	}{
		"another issuer":               {func(w *world) { w.server.issuers = []string{w.other.name} }, "another authorization server now, https://other.example"},
		"the token endpoint elsewhere": {func(w *world) { w.one.doc["token_endpoint"] = "https://other.example/token" }, "its token endpoint elsewhere now, at https://other.example"},
		"the registration lost":        {func(w *world) { w.lose() }, "the client that has signed in is not ours any more"},
		"the client deleted":           {func(w *world) { w.one.refuse = "invalid_client" }, "does not know the client any more"},
		"the token revoked":            {func(w *world) { w.one.refuse = "invalid_grant" }, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.login(w.one)
			sent := len(w.one.asked)
			c.change(w)
			w.expire()
			_, err := w.call()
			if e := trouble(t, err, credentials.NeedsLogin); !strings.Contains(e.Error(), c.want) {
				t.Error(e)
			}
			if len(w.other.asked) > 0 || w.one.refuse == "" && len(w.one.asked) > sent {
				t.Error("the refresh token was sent")
			}
		})
	}
}

// lose takes the registration out of the store.
func (w *world) lose() {
	for id, t := range w.shelf.tokens {
		if t.Refresh.IsZero() {
			delete(w.shelf.tokens, id)
		}
	}
}

// The server goes over to another authorization server in the middle of it all:
// a token that it refuses is not refreshed there, and not here; who signs in again
// is registered anew.
func TestMigration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.server.challenge = `Bearer scope="a b"` })
	if asked := w.login(w.one); asked.Get("scope") != "a b" {
		t.Errorf("%v", asked)
	}
	w.mustCall("200 Bearer token-1-of-https://auth.example")
	sent := len(w.one.asked)
	w.net.set("mcp.example", refusing{w.server, "token-1-of-https://auth.example", `Bearer error="invalid_token", scope="c"`})
	w.server.now(func() { w.server.issuers = []string{w.other.name} })
	_, err := w.call()
	trouble(t, err, credentials.NeedsLogin)
	if len(w.one.asked) > sent || len(w.other.asked) > 0 {
		t.Error("the refresh token was sent")
	}
	if asked := w.login(w.other); asked.Get("scope") != "c" || asked.Get("client_id") != "client-1-of-https://other.example" {
		t.Errorf("%v", asked) // scopes of the one mean nothing at the other
	}
	w.mustCall("200 Bearer token-1-of-https://other.example")
}

// refusing refuses one token.
type refusing struct {
	http.Handler
	token, challenge string
}

func (r refusing) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") == "Bearer "+r.token {
		w.Header().Set("WWW-Authenticate", r.challenge)
		w.WriteHeader(401)
		return
	}
	r.Handler.ServeHTTP(w, req)
}

// An answer from another server ends the signing in before the code goes
// anywhere (RFC 9207).
func TestMixUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		iss  []string
		sent bool // the server says that it sends one
		fine bool
	}{
		"right":             {iss: []string{"https://auth.example"}, sent: true, fine: true},
		"right, unexpected": {iss: []string{"https://auth.example"}, fine: true},
		"none":              {sent: true},
		"none, unexpected":  {fine: true},
		"another":           {iss: []string{"https://evil.example"}, sent: true},
		"another, although": {iss: []string{"https://evil.example"}},
		"a slash more":      {iss: []string{"https://auth.example/"}, sent: true},
		"twice":             {iss: []string{"https://auth.example", "https://auth.example"}, sent: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(w *world) { w.one.doc["authorization_response_iss_parameter_supported"] = c.sent })
			l, back := w.begin(w.one)
			if back["iss"] = c.iss; c.iss == nil {
				back.Del("iss")
			}
			err := l.Finish(t.Context(), back)
			if (err == nil) != c.fine || (len(w.one.asked) > 0) != c.fine {
				t.Errorf("%v, %d token requests", err, len(w.one.asked))
			}
			if !l.Mine(back) {
				t.Error("not mine")
			}
		})
	}
}

// Scopes: what the operator says, what the server says that the request needs,
// all that it has; and for a refresh token what the authorization server wants.
func TestScopes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opt       []string
		challenge string
		supported []string
		issuer    []string
		want      string
		none      bool
		consent   bool
	}{
		"of the challenge":      {challenge: `Bearer scope="a b"`, supported: []string{"c"}, want: "a b"},
		"all":                   {challenge: `Bearer`, supported: []string{"c", "d"}, want: "c d"},
		"none":                  {challenge: `Bearer`, none: true},
		"without a challenge":   {supported: []string{"c"}, want: "c"},
		"of the operator":       {opt: []string{"o"}, challenge: `Bearer scope="a b"`, supported: []string{"c"}, want: "o"},
		"for a refresh token":   {challenge: `Bearer scope="a"`, issuer: []string{"x", "offline_access"}, want: "a offline_access", consent: true},
		"not for nothing":       {challenge: `Bearer`, issuer: []string{"offline_access"}, none: true},
		"as many as are listed": {challenge: `Bearer`, supported: strings.Fields(manyScopes(65)), none: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(w *world) {
				w.opt.Scopes, w.server.challenge, w.server.supported = c.opt, c.challenge, c.supported
				if c.issuer != nil {
					w.one.doc["scopes_supported"] = c.issuer
				}
			})
			asked := w.login(w.one)
			if asked.Get("scope") != c.want || asked.Has("scope") == c.none || (asked.Get("prompt") == "consent") != c.consent {
				t.Errorf("%v", asked)
			}
			if again := w.login(w.one); again.Get("scope") != c.want {
				t.Errorf("the second time %v", again)
			}
		})
	}
}

// A request that needs more scopes fails, others go on; who signs in again is
// asked for these and those.
func TestStepUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.server.challenge = `Bearer scope="read"` })
	w.login(w.one)
	for _, restart := range []bool{false, true} {
		if restart {
			w.restart()
			w.mustCall("200 Bearer token-1-of-https://auth.example")
		}
		w.server.now(func() {
			w.server.lacking = `Bearer error="insufficient_scope", scope="write", resource_metadata="https://mcp.example` + prmPath + `/public/mcp"`
		})
		_, err := w.call()
		if e := trouble(t, err, credentials.NeedsLogin); !strings.Contains(e.Error(), `the server wants more scopes for this: "write"`) {
			t.Error(e)
		}
		w.server.now(func() { w.server.lacking = "" })
		w.mustCall("200 Bearer token-1-of-https://auth.example")
	}
	if asked := w.login(w.one); asked.Get("scope") != "read write" {
		t.Errorf("%v", asked)
	}
	w.mustCall("200 Bearer token-2-of-https://auth.example")
	if err := w.source.Require([]string{"admin"}); err != nil {
		t.Fatal(err)
	}
	if asked := w.login(w.one); asked.Get("scope") != "read write admin" {
		t.Errorf("%v", asked)
	}
	if err := w.source.Require([]string{"a b"}); err == nil {
		t.Error("a scope with a space")
	}
}

// A server that is never content sends nobody round in circles.
func TestStepUpEnds(t *testing.T) {
	t.Parallel()
	const lacking = `Bearer error="insufficient_scope"`
	for name, challenge := range map[string]string{"the same": lacking + `, scope="read"`, "fewer": lacking, "more at first": lacking + `, scope="read write"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(w *world) { w.server.challenge, w.server.lacking = `Bearer scope="read"`, challenge })
			logins := 0
			for {
				l, err := w.source.Begin(t.Context(), page)
				if err != nil {
					if e := trouble(t, err, credentials.NeedsLogin); !strings.Contains(e.Error(), "signing in again is of no use") {
						t.Error(e)
					}
					break
				}
				if logins++; logins > 10 {
					t.Fatal("no end")
				}
				if err := l.Finish(t.Context(), w.one.browser(t, l.URL)); err != nil {
					t.Fatal(err)
				}
				var calls sync.WaitGroup
				for range 8 { // however many fail, it is one token
					calls.Go(func() {
						_, err := w.call()
						if e, ok := err.(*credentials.TokenError); !ok || e.Trouble != credentials.NeedsLogin { //nolint:errorlint // as promised
							t.Error(err)
						}
					})
				}
				calls.Wait()
			}
			if want := map[bool]int{false: 2, true: 3}[name == "more at first"]; logins != want {
				t.Errorf("%d logins", logins)
			}
			w.server.now(func() { w.server.lacking = "" })
			w.mustCall(fmt.Sprintf("200 Bearer token-%d-of-https://auth.example", logins)) // for what it is good for
			if err := w.source.Forget(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.login(w.one) // who signs out begins anew
		})
	}
}

// Ever more scopes come to an end too.
func TestEverMoreScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.server.challenge = `Bearer scope="read"` })
	w.login(w.one)
	for i := range 100 {
		w.server.now(func() { w.server.lacking = fmt.Sprintf(`Bearer error="insufficient_scope", scope="s%d"`, i) })
		_, err := w.call()
		trouble(t, err, credentials.NeedsLogin)
	}
	if asked := w.login(w.one); len(strings.Fields(asked.Get("scope"))) != 64 {
		t.Errorf("%v", asked)
	}
}

// What is no word about scopes passes; what is said at other places is not heard.
func TestTransportPasses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login(w.one)
	for _, lacking := range []string{`Basic realm="x"`, `Bearer error="invalid_token"`, "rubbish\x01"} {
		w.server.now(func() { w.server.lacking = lacking })
		w.mustCall("403 ")
	}
	base := answer(`Bearer error="insufficient_scope", scope="x", resource_metadata="https://mcp.example/evil"`)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://mcp.example:8443/public/mcp", nil)
	if resp, err := w.source.Transport(base).RoundTrip(req); err != nil || resp.StatusCode != 403 {
		t.Errorf("%v %v", resp, err)
	}
	w.net.clear()
	w.begin(w.one)
	if got := w.net.requests(); slices.Contains(got, "GET https://mcp.example/evil") {
		t.Errorf("%q", got)
	}
}

type answer string

func (a answer) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 403, Header: http.Header{"Www-Authenticate": {string(a)}}, Body: http.NoBody, Request: req}, nil
}

// With a browser on this machine: a port is registered, and used again.
func TestLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	browser := func(raw string) error {
		go func() { // as a browser would: beside
			back := w.one.browser(t, raw)
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			resp, err := (&http.Client{Transport: tr}).Get(queryOf(t, raw).Get("redirect_uri") + "?" + back.Encode())
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		}()
		return nil
	}
	for range 2 {
		if err := w.source.Login(t.Context(), browser); err != nil {
			t.Fatal(err)
		}
		w.restart()
	}
	w.mustCall("200 Bearer token-2-of-https://auth.example")
	if len(w.one.registered) != 1 || w.one.registered[0]["application_type"] != "native" {
		t.Errorf("%v", w.one.registered)
	}
	back := w.one.registered[0]["redirect_uris"].([]any)[0].(string)
	if !strings.HasPrefix(back, "http://127.0.0.1:") || !strings.HasSuffix(back, "/callback") {
		t.Error(back)
	}
	taken, err := net.Listen("tcp", strings.TrimSuffix(strings.TrimPrefix(back, "http://"), "/callback"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := w.source.Login(t.Context(), func(string) error { return io.ErrClosedPipe }); err == nil {
		t.Error("a browser that does not open")
	}
	w.expire()
	w.mustCall("200 Bearer token-3-of-https://auth.example") // the client that was there before is not lost
	if err := w.source.Login(t.Context(), browser); err != nil {
		t.Fatal(err)
	}
	if len(w.one.registered) != 3 {
		t.Errorf("%v", w.one.registered)
	}
}

// Between the choice of a port and its use somebody else may take it: another one
// is registered then.
func TestPortIsTakenWhileItIsRegistered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.net.hosts["auth.example"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.one.ServeHTTP(rw, r)
		if r.URL.Path != "/register" || len(w.one.registered) != 1 {
			return
		}
		back, err := url.Parse(w.one.registered[0]["redirect_uris"].([]any)[0].(string))
		if err != nil {
			t.Error(err)
			return
		}
		taken, err := net.Listen("tcp", back.Host)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { taken.Close() })
	})
	opened := errors.New("opened")
	err := w.source.Login(t.Context(), func(string) error { return opened })
	if !errors.Is(err, opened) || len(w.one.registered) != 2 {
		t.Errorf("%v; registered %v", err, w.one.registered)
	}
}

// One person's source is not another's.
func TestIDs(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for i, change := range []func(*mcpauth.Options){
		func(*mcpauth.Options) {},
		func(o *mcpauth.Options) { o.Subject = "ada" },
		func(o *mcpauth.Options) { o.Subject = "bob" },
		func(o *mcpauth.Options) { o.Name = "other" },
		func(o *mcpauth.Options) { o.Server = "https://mcp.example/private/mcp" },
		func(o *mcpauth.Options) { o.Issuer = "https://auth.example" },
		func(o *mcpauth.Options) { o.ClientID = "ours" },
		func(o *mcpauth.Options) { o.Scopes = []string{"a"} },
		func(o *mcpauth.Options) { o.Resource = "https://mcp.example" },
	} {
		opt := options(&strangers{})
		change(&opt)
		s, err := mcpauth.NewSource(opt)
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[s.ID()]; twice {
			t.Errorf("%d and %d have the id %s", other, i, s.ID())
		}
		seen[s.ID()] = i
	}
}
