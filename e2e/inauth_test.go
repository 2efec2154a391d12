package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// carrying sends a token with every request.
type carrying struct {
	base  *http.Transport
	token string
}

func (c *carrying) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.Header.Set("Authorization", "Bearer "+c.token)
	return c.base.RoundTrip(out)
}

func carry(t *testing.T, token string) *carrying {
	t.Helper()
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	return &carrying{base, token}
}

// knock sends a request by hand and returns the status, the challenge, and the
// id of the session, if any.
func knock(t *testing.T, method, to, token, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

const greeting = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}}`

// tokenFor gets an access token of a certified authorization server for a
// resource, as a client of its own.
func tokenFor(t *testing.T, issuer, client, resource string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {"s-" + client}, "scope": {"read"}, "resource": {resource}}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).PostForm(issuer+"/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Token == "" {
		t.Fatal(err, got.Error)
	}
	return got.Token
}

// A certified authorization server, and clients of two principals over every
// transport.
func TestClientsSignIn(t *testing.T) {
	t.Parallel()
	machine := func(id string) map[string]any {
		return map[string]any{"client_id": id, "client_secret": "s-" + id, "token_endpoint_auth_method": "client_secret_post", "grant_types": []string{"client_credentials"}, "redirect_uris": []string{}, "response_types": []string{}}
	}
	issuer := newProvider(t, 600, machine("ann"), machine("bob"))
	_, mcp := serveHTTP(t, "[server.auth]\ntype = 'oidc'\nissuer = '"+issuer+"'\nscopes = ['read']\n"+sandboxUpstream("crm", "crm", 0)+sandboxUpstream("tickets", "tickets", 0))
	base := strings.TrimSuffix(mcp, "/mcp")
	ann, bob, part := tokenFor(t, issuer, "ann", mcp), tokenFor(t, issuer, "bob", mcp), tokenFor(t, issuer, "ann", base+"/u/crm/mcp")

	for _, modern := range []bool{false, true} {
		c := joinHTTP(t, carry(t, ann), mcp, modern).hello()
		c.ready()
		if r := c.mustCall("crm_find_customers", map[string]string{"query": "a"}); r.IsError {
			t.Errorf("%+v", r)
		}
	}
	for _, c := range []struct {
		path, token string
		status      int
	}{
		{"/mcp", "", 401}, {"/mcp", "x", 401}, {"/mcp", ann[:len(ann)-4] + "AAAA", 401}, {"/mcp", ann, 200}, {"/mcp", bob, 200},
		{"/mcp", part, 401}, {"/u/crm/mcp", part, 200}, {"/u/crm/mcp", ann, 200}, {"/u/none/mcp", part, 401}, {"/u/none/mcp", ann, 404},
		{"/mcp", tokenFor(t, issuer, "ann", "https://crm.example.com/mcp"), 401},
	} {
		resp, _ := knock(t, "POST", base+c.path, c.token, greeting)
		challenge := resp.Header.Get("WWW-Authenticate")
		if resp.StatusCode != c.status || c.status == 401 && !strings.Contains(challenge, `resource_metadata="`+base+`/.well-known/oauth-protected-resource`+c.path+`"`) {
			t.Errorf("%s with %.20s: %d %s", c.path, c.token, resp.StatusCode, challenge)
		}
	}

	// A token for one source opens no other, in a plan neither.
	one := joinHTTP(t, carry(t, part), base+"/u/crm/mcp", true).hello()
	for tool, refused := range map[string]bool{"find_customers": false, "tickets_search_tickets": true, "search_tickets": true} {
		r := one.mustCall("bulkhead_batch", map[string]any{"calls": []any{map[string]any{"id": "a", "tool": tool, "arguments": map[string]string{"query": "a"}}}})
		if r.IsError != refused {
			t.Errorf("%s: %+v", tool, r)
		}
	}
	if r := one.mustCall("bulkhead_sources", map[string]string{}); strings.Contains(string(r.Structured), "tickets") || !strings.Contains(string(r.Structured), `"crm"`) {
		t.Errorf("%s", r.Structured)
	}

	// What is ann's is not bob's.
	resp, _ := knock(t, "POST", mcp, ann, greeting)
	session := "Mcp-Session-Id: " + resp.Header.Get("Mcp-Session-Id")
	for token, status := range map[string]int{ann: 200, bob: 404} {
		if resp, _ := knock(t, "POST", mcp, token, `{"jsonrpc":"2.0","id":2,"method":"ping"}`, session); resp.StatusCode != status {
			t.Errorf("ann's session: %d instead of %d", resp.StatusCode, status)
		}
	}
	older(t, base, ann, bob)
	signedInAt(t, mcp, issuer)
}

// older opens a connection of the older transport, which is its owner's only.
func older(t *testing.T, base, owner, other string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, base+"/sse", nil)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := (&http.Client{Transport: carry(t, owner)}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stop := io.EOF
	err = events(resp.Body, func(name string, data []byte) {
		if name != "endpoint" {
			return
		}
		for token, status := range map[string]int{"": 401, other: 404, owner: 202} {
			if resp, text := knock(t, "POST", base+string(data), token, greeting); resp.StatusCode != status {
				t.Errorf("a message on the connection: %d instead of %d, %s", resp.StatusCode, status, text)
			}
		}
		cancel()
	})
	if err == nil || err == stop { //nolint:errorlint // it was cut off by us
		t.Error("the stream ended by itself")
	}
}

// signedInAt has another Bulkhead sign in at this one, as any client that knows
// nothing but its address, and call a tool.
func signedInAt(t *testing.T, mcp, issuer string) {
	t.Helper()
	home := shortHome(t)
	config := upstreamTable("inner", "url = '"+mcp+"'", "prefix = ''") + "[upstream.inner.auth]\ntype = 'mcp'\nallow_hosts = ['" + strings.TrimPrefix(issuer, "http://") + "']\n"
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := command(t, home, []string{browserIn(t, home)}, "login", "inner"); code != 0 || !strings.Contains(out, "inner answers") {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	c := startIn(t, home, config, nil).stdio(false)
	c.ready()
	if r := c.mustCall("crm_find_customers", map[string]string{"query": "a"}); r.IsError {
		t.Errorf("%+v", r)
	}
}

// Users with tokens of their own, of which nothing reaches a source.
func TestUserTokens(t *testing.T) {
	t.Parallel()
	seen := &buffer{}
	server := newGuarded(t, func(mcp http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text, _ := httputil.DumpRequest(r, true)
			_, _ = seen.Write(text)
			mcp.ServeHTTP(w, r)
		})
	})
	ann, bob := "canary-ann-0123456789abcdef", "canary-bob-0123456789abcdef"
	p, mcp := serveHTTP(t, "[server]\nlog_level = 'debug'\npublic_url = 'https://mcp.example.com'\n[server.auth]\ntype = 'tokens'\n[server.auth.users.ann]\ntoken = { env = 'ANN' }\n[server.auth.users.'bob@example.com']\ntoken = { env = 'BOB' }\n"+
		upstreamTable("crm", "url = '"+server.URL+"/mcp'"), "ANN="+ann, "BOB="+bob)
	for _, token := range []string{ann, bob} {
		for _, modern := range []bool{false, true} {
			c := joinHTTP(t, carry(t, token), mcp, modern).hello()
			c.ready()
			if r := c.mustCall("crm_read", nil); r.text() != "did read" {
				t.Errorf("%+v", r)
			}
		}
	}
	for token, status := range map[string]int{"": 401, ann + "x": 401, ann[1:]: 401, ann: 200} {
		resp, _ := knock(t, "POST", mcp, token, greeting, "Host: mcp.example.com", "Origin: https://mcp.example.com")
		if challenge := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != status || strings.Contains(challenge, "resource_metadata") {
			t.Errorf("%q: %d %s", token, resp.StatusCode, challenge)
		}
	}
	if resp, _ := knock(t, "POST", mcp, ann, greeting, "Host: evil.example.com"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another host: %d", resp.StatusCode)
	}
	text := seen.String()
	if !strings.Contains(text, "tools/call") || strings.Contains(text, "canary-") {
		t.Errorf("the source was sent:\n%s", text)
	}
	if log := p.log.String(); strings.Contains(log, "canary-") || !strings.Contains(log, "bob@example.com") {
		t.Error("the log has a token, or does not say who called")
	}
}

// minter is an authorization server whose tokens say whatever a test wants.
type minter struct {
	*httptest.Server
	key  *ecdsa.PrivateKey
	keys string // where they are
}

func newMinter(t *testing.T) *minter {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &minter{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, m.URL, m.keys)
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
	})
	m.Server = httptest.NewServer(mux)
	t.Cleanup(m.Close)
	m.keys = m.URL + "/jwks"
	return m
}

func (m *minter) token(t *testing.T, typ string, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": m.URL, "sub": "u1", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: m.key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", "k"))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// What tokens must be, and where their keys may be.
func TestWhichTokensAreTaken(t *testing.T) {
	t.Parallel()
	m := newMinter(t)
	elsewhere := newMinter(t)
	for name, c := range map[string]struct {
		keys  []string // of the configuration
		away  bool     // the keys are at another host
		typ   string
		token map[string]any
		want  int
		who   string
	}{
		"audience":         {[]string{"audience = 'api://bulkhead'"}, false, "at+jwt", map[string]any{"aud": "api://bulkhead"}, 200, m.URL + "/u1"},
		"another audience": {nil, false, "at+jwt", map[string]any{"aud": "api://bulkhead"}, 401, ""},
		"scopes":           {[]string{"audience = 'a'", "scopes = ['mcp']"}, false, "at+jwt", map[string]any{"aud": "a", "scope": "x mcp"}, 200, ""},
		"no scope":         {[]string{"audience = 'a'", "scopes = ['mcp']"}, false, "at+jwt", map[string]any{"aud": "a", "scope": "x"}, 403, ""},
		"subject":          {[]string{"audience = 'a'", "subject = 'email'"}, false, "at+jwt", map[string]any{"aud": "a", "email": "ann@example.com"}, 200, "ann@example.com"},
		"type":             {[]string{"audience = 'a'", "token_type = 'jwt'"}, false, "JWT", map[string]any{"aud": "a"}, 200, ""},
		"another type":     {[]string{"audience = 'a'"}, false, "JWT", map[string]any{"aud": "a"}, 401, ""},
		"allowed host":     {[]string{"audience = 'a'", "allow_hosts = ['" + strings.TrimPrefix(elsewhere.URL, "http://") + "']"}, true, "at+jwt", map[string]any{"aud": "a"}, 200, ""},
		"another host":     {[]string{"audience = 'a'"}, true, "at+jwt", map[string]any{"aud": "a"}, 503, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := m
			if c.away {
				m = newMinter(t)
				m.key, m.keys = elsewhere.key, elsewhere.URL+"/jwks"
			}
			p, mcp := serveHTTP(t, "[server]\nlog_level = 'debug'\n[server.auth]\ntype = 'oidc'\nissuer = '"+m.URL+"'\n"+strings.Join(c.keys, "\n")+"\n"+sandboxUpstream("crm", "crm", 0))
			token := m.token(t, c.typ, c.token)
			resp, text := knock(t, "POST", mcp, token, greeting)
			if resp.StatusCode != c.want {
				t.Errorf("%d %s %s", resp.StatusCode, resp.Header.Get("WWW-Authenticate"), text)
			}
			if c.who == "" {
				return
			}
			client := joinHTTP(t, carry(t, token), mcp, true).hello()
			client.ready()
			client.mustCall("crm_find_customers", map[string]string{"query": "a"})
			if !eventually(func() bool { return strings.Contains(p.log.String(), c.who) }) {
				t.Errorf("the log does not name %s", c.who)
			}
		})
	}
}

// What could not work is said before anything is served.
func TestClientsThatCannotSignIn(t *testing.T) {
	t.Parallel()
	crm := sandboxUpstream("crm", "crm", 0)
	tokens := func(names ...string) string {
		s := "[server.auth]\ntype = 'tokens'\n"
		for _, n := range names {
			s += "[server.auth.users." + n + "]\ntoken = { env = '" + strings.ToUpper(n) + "' }\n"
		}
		return s + crm
	}
	down := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(down.Close)
	for name, c := range map[string]struct {
		config string
		code   int
		want   string
	}{
		"open to all":    {"[server]\nlisten = '0.0.0.0:0'\n" + crm, 2, "can be reached from other machines"},
		"no public_url":  {"[server]\nlisten = '0.0.0.0:0'\n" + tokens("ann"), 2, "server.public_url: is missing"},
		"secret inline":  {"[server.auth]\ntype = 'tokens'\nusers.ann.token = 'sesame'\n" + crm, 2, "a secret must not stand in the configuration"},
		"missing token":  {tokens("nobody"), 1, "server.auth.users.nobody.token: secret from env NOBODY: the variable is not set"},
		"short token":    {tokens("short"), 1, "it could be guessed"},
		"the same token": {tokens("ann", "bob"), 1, "the users ann and bob have the same token"},
		"no issuer":      {"[server.auth]\ntype = 'oidc'\nissuer = '" + down.URL + "'\n" + crm, 1, "there is no such document"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{"ANN=0123456789abcdefghij", "BOB=0123456789abcdefghij", "SHORT=hunter2"}
			for _, args := range [][]string{{"check"}, {"serve", "--listen", "127.0.0.1:0"}} {
				if args[0] == "serve" && (c.code == 2 || name == "no issuer") {
					continue // the flag takes the address's place; an issuer may come back
				}
				_, errs, code := run(t, c.config, env, args...)
				if code != c.code || !strings.Contains(errs, c.want) || strings.Contains(errs, "hunter2") || strings.Contains(errs, "sesame") {
					t.Errorf("%s: %d %s", args, code, errs)
				}
			}
		})
	}
}
