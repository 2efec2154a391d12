package credentials_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// provider is a certified authorization server, started for one test.
type provider struct{ issuer string }

func newProvider(t *testing.T, ttl int) *provider {
	t.Helper()
	npm := filepath.Join("..", "e2e", "npm", "node_modules")
	if _, err := os.Stat(filepath.Join(npm, "oidc-provider")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("oidc-provider is not installed; npm ci in e2e/npm does it")
	}
	rsaKey, _ := keys()
	native := map[string]any{"application_type": "native", "token_endpoint_auth_method": "none"}
	clients := []map[string]any{
		{"client_id": "app", "grant_types": []string{"authorization_code", "refresh_token"}, "redirect_uris": []string{"http://127.0.0.1/callback"}, "response_types": []string{"code"}},
		{"client_id": "tv", "grant_types": []string{"urn:ietf:params:oauth:grant-type:device_code", "refresh_token"}, "redirect_uris": []string{}, "response_types": []string{}},
		{"client_id": "machine:1", "client_secret": "s%3A&+ ecret-of-the-machine", "grant_types": []string{"client_credentials"}, "redirect_uris": []string{}, "response_types": []string{}},
		{"client_id": "signer", "grant_types": []string{"client_credentials"}, "redirect_uris": []string{}, "response_types": []string{}, "token_endpoint_auth_method": "private_key_jwt",
			"jwks": map[string]any{"keys": []any{map[string]string{"kty": "RSA", "kid": "k1", "alg": "RS256", "use": "sig",
				"n": base64.RawURLEncoding.EncodeToString(rsaKey.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(rsaKey.E)).Bytes())}}}},
	}
	for _, c := range clients[:2] {
		maps.Copy(c, native)
	}
	settings, err := json.Marshal(map[string]any{"clients": clients, "ttl": ttl})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(npm, ".bin", "node"), filepath.Join("..", "e2e", "oidc", "provider.mjs"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	_, _ = fmt.Fprintf(in, "%s\n", settings)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "http://") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return &provider{issuer: lines.Text()}
		}
	}
	t.Fatalf("it does not start: %v", lines.Err())
	return nil
}

func (p *provider) endpoint(t *testing.T, id string, auth credentials.ClientAuth) *credentials.Endpoint {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &credentials.Endpoint{Name: "crm", URL: p.issuer + "/token", Client: &http.Client{Transport: tr}, ClientID: id, Auth: auth}
}

// browser is a person with a browser: it follows redirects, signs in as ann, and
// agrees to whatever it is asked.
type browser struct {
	http.Client
	t *testing.T
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}, t}
}

var (
	formAction = regexp.MustCompile(`<form[^>]*action="([^"]*)"`)
	hidden     = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// visit fills in forms until a page has none, and returns that page.
func (b *browser) visit(to string, more url.Values) (string, error) {
	resp, err := b.Get(to) //nolint:forbidigo // a browser
	for range 10 {
		if err != nil {
			return "", err
		}
		page, err2 := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		action := formAction.FindSubmatch(page)
		if err2 != nil || action == nil {
			return string(page), err2
		}
		fields := url.Values{"login": {"ann"}, "password": {"x"}}
		for _, m := range hidden.FindAllSubmatch(page, -1) {
			fields.Set(string(m[1]), html.UnescapeString(string(m[2])))
		}
		maps.Copy(fields, more)
		at, parseErr := resp.Request.URL.Parse(html.UnescapeString(string(action[1])))
		if parseErr != nil {
			return "", parseErr
		}
		resp, err = b.PostForm(at.String(), fields)
	}
	return "", errors.New("there is no end of forms")
}

// login signs in with a browser and returns the flow and its token.
func (p *provider) login(t *testing.T, e *credentials.Endpoint, scopes ...string) credentials.Token {
	t.Helper()
	flow := &credentials.CodeFlow{Endpoint: e, AuthorizeURL: p.issuer + "/auth", Issuer: p.issuer, IssuerSent: true, Scopes: scopes, Params: url.Values{"prompt": {"consent"}}}
	var wg sync.WaitGroup
	tok, err := flow.Login(t.Context(), credentials.Loopback{}, func(to string) error {
		wg.Go(func() {
			if page, err := newBrowser(t).visit(to, nil); err != nil || !strings.Contains(page, "Thank you") {
				t.Errorf("%v %.500s", err, page)
			}
		})
		return nil
	})
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// client is one that an adapter would have.
func (p *provider) client(t *testing.T, src credentials.Source) *http.Client {
	t.Helper()
	c := grant(t, credentials.Spec{Origins: []string{p.issuer}, Attach: credentials.BearerFrom(src)}).Client(&http.Transport{MaxIdleConnsPerHost: 64})
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestProviderSignInAndRotation(t *testing.T) {
	t.Parallel()
	p := newProvider(t, 2)
	e := p.endpoint(t, "app", credentials.PublicClient())
	first := p.login(t, e, "openid")
	if first.Refresh.IsZero() || time.Until(first.Expiry) > 2*time.Second {
		t.Fatalf("%+v", first)
	}
	src := source(t, credentials.SourceSpec{Fetch: credentials.RefreshToken(e, []string{"openid"})})
	if err := src.Put(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	client := p.client(t, src)
	seen := map[string]bool{}
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if status, text, err := send(t, client, http.MethodGet, p.issuer+"/me", nil); err != nil || status != 200 || !strings.Contains(text, `"ann"`) {
					t.Errorf("%d %v %s", status, err, text)
				}
			})
		}
		wg.Wait()
		tok, err := src.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen[credentials.Reveal(tok.Refresh)] = true
	}
	if len(seen) < 3 {
		t.Errorf("%d refresh tokens in 5 s of tokens that live for 2 s", len(seen))
	}
	// The control: the server does notice a refresh token that comes twice.
	src.Invalidate(must(src.Token(t.Context())))
	if _, err := credentials.RefreshToken(e, nil)(t.Context(), first); troubleOf(err) != "needs login" {
		t.Fatalf("reuse: %v", err)
	}
	if _, err := src.Token(t.Context()); troubleOf(err) != "needs login" || !strings.Contains(err.Error(), "invalid_grant (HTTP 400)") {
		t.Errorf("after the family has ended: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestProviderClientsOfTheirOwn(t *testing.T) {
	t.Parallel()
	p := newProvider(t, 60)
	rsaKey, _ := keys()
	key := parsed(t, pkcs8(t, rsaKey), "k1")
	machine := credentials.BasicClient(credentials.NewSecret("s%3A&+ ecret-of-the-machine"))
	for name, c := range map[string]struct {
		id     string
		auth   credentials.ClientAuth
		params url.Values
		scopes []string
		want   string
	}{
		"basic":            {"machine:1", machine, nil, nil, ""},
		"resource":         {"machine:1", machine, url.Values{"resource": {"https://api.example/"}}, []string{"read"}, ""},
		"key":              {"signer", credentials.KeyClient(key, p.issuer), nil, nil, ""},
		"other key":        {"signer", credentials.KeyClient(parsed(t, pkcs8(t, must(anotherKey())), "k1"), p.issuer), nil, nil, "misconfigured: invalid_client (HTTP 401)"},
		"wrong secret":     {"machine:1", credentials.BasicClient(credentials.NewSecret("wr0ng")), nil, nil, "misconfigured: invalid_client (HTTP 401)"},
		"wrong grant":      {"app", credentials.PublicClient(), nil, nil, "misconfigured: invalid_request (HTTP 400)"},
		"unknown resource": {"machine:1", machine, url.Values{"resource": {"no URL"}}, nil, "misconfigured: invalid_target (HTTP 400)"},
	} {
		e := p.endpoint(t, c.id, c.auth)
		e.Params = c.params
		src := source(t, credentials.SourceSpec{Fetch: credentials.ClientCredentials(e, c.scopes)})
		tok, err := src.Token(t.Context())
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
			continue
		}
		if err != nil || fmt.Sprint(tok.Scopes) != fmt.Sprint(c.scopes) {
			t.Errorf("%s: %v %q", name, err, tok.Scopes)
		}
	}
}

func TestProviderDevice(t *testing.T) {
	t.Parallel()
	p := newProvider(t, 60)
	e := p.endpoint(t, "tv", credentials.PublicClient())
	device := &credentials.DeviceFlow{Endpoint: e, DeviceURL: p.issuer + "/device/auth", Scopes: []string{"openid"}}
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tok, err := device.Login(ctx, func(prompt credentials.Prompt) error {
		wg.Go(func() {
			page, err := newBrowser(t).visit(prompt.URL, url.Values{"user_code": {prompt.Code}, "confirm": {"yes"}})
			if err != nil || !strings.Contains(page, "Sign-in Success") {
				t.Errorf("%v %.800s", err, page)
			}
		})
		return nil
	})
	wg.Wait()
	if err != nil || tok.Refresh.IsZero() {
		t.Fatal(err)
	}
	src := source(t, credentials.SourceSpec{Fetch: credentials.RefreshToken(e, nil)})
	if err := src.Put(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	if status, text, err := send(t, p.client(t, src), http.MethodGet, p.issuer+"/me", nil); err != nil || status != 200 || !strings.Contains(text, `"ann"`) {
		t.Errorf("%d %v %s", status, err, text)
	}
	if err := e.Revoke(t.Context(), p.issuer+"/token/revocation", tok); err != nil {
		t.Error(err)
	}
	if _, err := credentials.RefreshToken(e, nil)(t.Context(), tok); troubleOf(err) != "needs login" {
		t.Errorf("after revocation: %v", err)
	}
}
