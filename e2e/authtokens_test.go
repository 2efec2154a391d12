package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tokenDesk gives a token to everybody who asks, and notes how they have asked.
type tokenDesk struct {
	*httptest.Server

	mu      sync.Mutex
	expires string // member of the answer that says when the token ends
	asked   []asked
}

// asked is one request for a token.
type asked struct {
	path, auth string
	form       url.Values
}

func newTokenDesk(t *testing.T, expires string) *tokenDesk {
	t.Helper()
	d := &tokenDesk{expires: expires}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *tokenDesk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // what is no form has none
	if r.Header.Get("Content-Type") == "application/json" {
		var members map[string]string
		_ = json.NewDecoder(r.Body).Decode(&members)
		r.PostForm = url.Values{"written in": {"JSON"}}
		for name, v := range members {
			r.PostForm.Set(name, v)
		}
	}
	d.mu.Lock()
	d.asked = append(d.asked, asked{r.URL.Path, r.Header.Get("Authorization"), r.PostForm})
	n, expires := len(d.asked), d.expires
	d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if strings.HasPrefix(r.URL.Path, "/app/") {
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"token":"canary-%d","expires_at":"2999-01-01T00:00:00Z"}`, n)
		return
	}
	_, _ = fmt.Fprintf(w, `{"access_token":"canary-%d","token_type":"Bearer"%s}`, n, expires)
}

func (d *tokenDesk) requests() []asked {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked)
}

// keyFile writes a private key and returns its path.
func keyFile(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	path := filepath.Join(t.TempDir(), "key.pem")
	if err == nil {
		err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// What the configuration says of a sign-in is what the authorization server is
// asked, and what it gives is what the source is asked with.
func TestTokenRequests(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaFile, ecFile := keyFile(t, rsaKey), keyFile(t, ecKey)
	const desk = "TOKENS" // stands for the address of the token desk
	machine := []string{"type = 'client_credentials'", "token_url = '" + desk + "/token'", "client_id = 'me'"}
	with := func(common []string, more ...string) []string { return slices.Concat(common, more) }
	for name, c := range map[string]struct {
		auth []string
		path string            // of the request, "" for none at all
		own  string            // Authorization of the token request
		form map[string]string // members of the form; of "assertion.x", claims of the assertion
		sent string            // how the request to the source begins
	}{
		"basic": {with(machine, "client_secret = { env = 'SECRET' }", "scopes = ['a', 'b']", "audience = 'https://api'", "resource = 'https://res/mcp'",
			"params = { tenant = 'acme', pass = { env = 'SECRET' } }"), "/token", "Basic bWU6Y2FuYXJ5LXMlMkI=",
			map[string]string{"grant_type": "client_credentials", "scope": "a b", "audience": "https://api", "resource": "https://res/mcp", "tenant": "acme", "pass": "canary-s+"}, "Bearer canary-1"},
		"post": {with(machine, "client_secret = { env = 'SECRET' }", "client_auth = 'post'", "header = 'X-Token'", "prefix = ''"), "/token", "",
			map[string]string{"client_id": "me", "client_secret": "canary-s+", "scope": ""}, "canary-1"},
		"json": {with(machine, "client_secret = { env = 'SECRET' }", "token_request = 'json'", "scopes = ['a', 'b']"), "/token", "Basic bWU6Y2FuYXJ5LXMlMkI=",
			map[string]string{"written in": "JSON", "grant_type": "client_credentials", "scope": "a b"}, "Bearer canary-1"},
		"prefix": {with(machine, "client_secret = { env = 'SECRET' }", "prefix = 'token '"), "/token", "Basic bWU6Y2FuYXJ5LXMlMkI=", nil, "token canary-1"},
		"key": {with(machine, "key = { file = '"+ecFile+"' }", "key_id = 'k7'"), "/token", "",
			map[string]string{"client_assertion.iss": "me", "client_assertion.sub": "me", "client_assertion.kid": "k7", "client_assertion.alg": "ES256"}, "Bearer canary-1"},
		"jwt": {[]string{"type = 'jwt_bearer'", "token_url = '" + desk + "/token'", "issuer = 'robot@example.com'", "subject = 'ann@example.com'", "audience = 'https://aud'", "key = { file = '" + rsaFile + "' }", "scopes = ['a']"},
			"/token", "", map[string]string{"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion.iss": "robot@example.com", "assertion.sub": "ann@example.com", "assertion.aud": "https://aud", "assertion.alg": "RS256", "scope": "a", "audience": ""}, "Bearer canary-1"},
		"scopes inside": {[]string{"type = 'jwt_bearer'", "token_url = '" + desk + "/token'", "issuer = 'robot@example.com'", "key = { file = '" + rsaFile + "' }", "scopes = ['a', 'b']", "scope_claim = true"},
			"/token", "", map[string]string{"assertion.scope": "a b", "scope": ""}, "Bearer canary-1"},
		"exchange": {[]string{"type = 'token_exchange'", "token_url = '" + desk + "/token'", "token = { env = 'SUBJECT' }", "audience = 'https://api'"},
			"/token", "", map[string]string{"subject_token": "canary-subject", "subject_token_type": "urn:ietf:params:oauth:token-type:access_token", "audience": "https://api"}, "Bearer canary-1"},
		"github": {[]string{"type = 'github_app'", "client_id = 'Iv1.x'", "installation = 42", "key = { file = '" + rsaFile + "' }", "api_url = '" + desk + "'"},
			"/app/installations/42/access_tokens", "Bearer ey", map[string]string{}, "Bearer canary-1"},
		"snowflake": {[]string{"type = 'snowflake'", "account = 'org-acct.eu'", "user = 'reports'", "key = { file = '" + rsaFile + "' }"}, "", "", nil, "Bearer ey"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens, server := newTokenDesk(t, `,"expires_in":3600`), newGuarded(t, nil, "X-Token")
			config := strings.ReplaceAll(signing("crm", server, c.auth...), desk, tokens.URL)
			p := start(t, config, []string{"SECRET=canary-s+", "SUBJECT=canary-subject"})
			client := p.stdio(false)
			client.ready()
			if r := client.mustCall("crm_read", nil); r.text() != "did read" {
				t.Fatalf("%+v", r)
			}
			if got := server.uses("read"); len(got) != 1 || !strings.HasPrefix(got[0], c.sent) {
				t.Errorf("the source was asked with %q", got)
			}
			requests := tokens.requests()
			if c.path == "" {
				claim := claims(strings.TrimPrefix(server.uses("read")[0], "Bearer "))
				if len(requests) != 0 || claim["sub"] != "ORG-ACCT.REPORTS" {
					t.Errorf("%v %v", requests, claim)
				}
				return
			}
			if len(requests) != 1 || requests[0].path != c.path || !strings.HasPrefix(requests[0].auth, c.own) || c.own == "" && requests[0].auth != "" {
				t.Fatalf("%+v", requests)
			}
			if c.path != "/token" && claims(strings.TrimPrefix(requests[0].auth, "Bearer "))["iss"] != "Iv1.x" {
				t.Errorf("%+v", requests)
			}
			for field, want := range c.form {
				if got := formValue(requests[0].form, field); got != want {
					t.Errorf("%s is %q, want %q", field, got, want)
				}
			}
			if log := p.log.String(); strings.Contains(log, "canary") {
				t.Errorf("a secret is in the log:\n%s", log)
			}
		})
	}
}

// formValue returns a member of a form, or what the token in it says of itself.
func formValue(form url.Values, field string) string {
	name, claim, inside := strings.Cut(field, ".")
	if !inside {
		return form.Get(name)
	}
	token := form.Get(name)
	if claim == "kid" || claim == "alg" { // of the head, which comes first
		head, _, _ := strings.Cut(token, ".")
		token = "." + head + "."
	}
	return fmt.Sprint(claims(token)[claim])
}

// A token whose server does not say when it ends is taken to last for lifetime.
func TestTokenLifetime(t *testing.T) {
	t.Parallel()
	short, long, server := newTokenDesk(t, ""), newTokenDesk(t, ""), newGuarded(t, nil)
	table := func(name string, tokens *tokenDesk, lifetime string) string {
		return signing(name, server, "type = 'client_credentials'", "token_url = '"+tokens.URL+"/token'", "client_id = 'me'",
			"client_secret = { env = 'SECRET' }", "lifetime = '"+lifetime+"'")
	}
	p := start(t, table("short", short, "2s")+table("long", long, "1h"), []string{"SECRET=canary"})
	c := p.stdio(false)
	c.ready()
	time.Sleep(2100 * time.Millisecond)
	for _, name := range []string{"short", "long"} {
		if r := c.mustCall(name+"_read", nil); r.IsError {
			t.Errorf("%s: %s", name, r.text())
		}
	}
	if ended, lasts := len(short.requests()), len(long.requests()); ended < 2 || lasts != 1 {
		t.Errorf("%d tokens of 2 s, %d of an hour", ended, lasts)
	}
}

// Each call has a token with the scopes that it needs, and no more.
func TestScopesPerCall(t *testing.T) {
	t.Parallel()
	server, as := newTickets(t, time.Minute)
	config := signing("crm", server, machine(server, "scopes = ['read']", "write_scopes = ['read', 'write']")...) +
		"[upstream.crm.tools.override.purge]\nscopes = ['admin']\n" +
		signing("low", server, machine(server, "scopes = ['read']")...)
	p := start(t, config, []string{"SECRET=canary-secret"})
	c := p.stdio(false)
	c.ready()
	for range 2 {
		for _, tool := range []string{"read", "put", "purge"} {
			if r := c.mustCall("crm_"+tool, nil); r.text() != "did "+tool {
				t.Errorf("%s: %+v", tool, r)
			}
		}
	}
	if r := c.mustCall("low_put", nil); r.Meta.Error.Code != "denied" {
		t.Errorf("a token of another upstream was used: %+v", r)
	}
	if n := as.Issued(); n != 4 {
		t.Errorf("%d tokens for four sets of scopes", n)
	}
	var all []string
	for _, tool := range []string{"read", "put", "purge"} {
		all = append(all, slices.Compact(server.uses(tool))...)
	}
	if len(all) != 3 || len(slices.Compact(slices.Sorted(slices.Values(all)))) != 3 {
		t.Errorf("%d tokens were used", len(all))
	}
	if text := says(p, "sources"); !strings.Contains(text, "signed in for ") || !strings.Contains(text, "scopes admin read write") {
		t.Error(text)
	}
}

// However many calls find a token that has ended, or that is refused, there is
// one new one, and none of them notices.
func TestOneTokenForManyCalls(t *testing.T) {
	t.Parallel()
	tokens, server := newTokenDesk(t, `,"expires_in":5`), newGuarded(t, nil)
	p := start(t, signing("crm", server, "type = 'client_credentials'", "token_url = '"+tokens.URL+"/token'", "client_id = 'me'", "client_secret = { env = 'SECRET' }"),
		[]string{"SECRET=canary"})
	c := p.stdio(false)
	c.ready()
	storm := func(what string) {
		t.Helper()
		before := len(tokens.requests())
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				if r, err := c.call("crm_put", nil); err != nil || r.text() != "did put" {
					t.Errorf("%s: %v %+v", what, err, r)
				}
			})
		}
		calls.Wait()
		if n := len(tokens.requests()) - before; n != 1 {
			t.Errorf("%s: %d new tokens", what, n)
		}
	}
	tokens.mu.Lock()
	tokens.expires = `,"expires_in":3600` // a storm may last for longer than the first does
	tokens.mu.Unlock()
	time.Sleep(5100 * time.Millisecond)
	storm("ended")
	server.refuse()
	storm("refused")
}

// An authorization server that gives nothing costs its own upstream, which says
// whose trouble it is.
func TestNoToken(t *testing.T) {
	t.Parallel()
	answers := map[string]string{"/wrong": `{"error":"invalid_client","error_description":"canary"}`, "/down": "down"}
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusBadRequest
		if r.URL.Path == "/down" {
			status = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answers[r.URL.Path])
	}))
	t.Cleanup(as.Close)
	server := newGuarded(t, nil)
	auth := func(path, secret string) []string {
		return []string{"type = 'client_credentials'", "token_url = '" + as.URL + path + "'", "client_id = 'me'", "client_secret = { env = '" + secret + "' }"}
	}
	p := start(t, fakeUpstream(t, "good", "healthy")+signing("wrong", server, auth("/wrong", "SECRET")...)+
		signing("down", server, auth("/down", "SECRET")...)+signing("lost", server, auth("/wrong", "NOT_THERE")...), []string{"SECRET=canary"})
	c := p.stdio(false)
	c.ready()
	alive(t, c, "good")
	for name, want := range map[string]string{"wrong": "its sign-in is refused; the operator has to see to the configuration",
		"down": "its authorization server gives no token at the moment", "lost": "its credential could not be fetched"} {
		if s := c.source(name); s.State != "down" || !strings.Contains(s.Error, want) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	text := says(p, "sources")
	for _, want := range []string{"invalid_client (HTTP 400)", "transient (HTTP 503)", "NOT_THERE", "the sign-in is refused; see auth in the configuration"} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text+p.log.String(), "canary") {
		t.Errorf("%s\n%s", text, p.log)
	}
}
