package mcpauth_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
)

// startProvider starts a certified authorization server whose tokens live for 2 s
// and say in clear what they are for, and returns its issuer.
func startProvider(t *testing.T) (issuer string) {
	t.Helper()
	e2e := filepath.Join("..", "..", "e2e")
	if _, err := os.Stat(filepath.Join(e2e, "npm", "node_modules", "oidc-provider")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("oidc-provider is not installed; npm ci in e2e/npm does it")
	}
	cmd := exec.Command(filepath.Join(e2e, "npm", "node_modules", ".bin", "node"), filepath.Join(e2e, "oidc", "provider.mjs"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	_, _ = io.WriteString(in, `{"clients":[],"ttl":2,"format":"jwt"}`+"\n")
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "http://") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return lines.Text()
		}
	}
	t.Fatalf("it does not start: %v", lines.Err())
	return ""
}

var (
	formAction = regexp.MustCompile(`<form[^>]*action="([^"]*)"`)
	hidden     = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// consent is a person with a browser who signs in and agrees to everything.
func consent(to string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := browser.Get(to)
	for err == nil {
		page, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		action := formAction.FindSubmatch(page)
		if action == nil {
			if !strings.Contains(string(page), "Thank you") {
				return fmt.Errorf("%s: %.500s", resp.Request.URL.Path, page)
			}
			return nil
		}
		fields := url.Values{"login": {"ann"}, "password": {"x"}}
		for _, m := range hidden.FindAllSubmatch(page, -1) {
			fields.Set(string(m[1]), html.UnescapeString(string(m[2])))
		}
		var at *url.URL
		if at, err = resp.Request.URL.Parse(html.UnescapeString(string(action[1]))); err == nil {
			resp, err = browser.PostForm(at.String(), fields)
		}
	}
	return err
}

// claims are those of a token of the provider.
type claims struct {
	Audience string `json:"aud"`
	Issuer   string `json:"iss"`
	Scope    string `json:"scope"`
	Expires  int64  `json:"exp"`
}

// startResource is an MCP server that takes tokens of issuer for itself, and for
// what they are for only: the scope read, and for /write write. It grants a second of
// leeway (RFC 7519, section 4.1.4), for a token of whole seconds may have lost one.
func startResource(t *testing.T, issuer string) (endpoint string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	endpoint = "http://" + s.Listener.Addr().String() + "/mcp"
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prmPath) {
			_ = json.NewEncoder(w).Encode(protected(endpoint, issuer))
			return
		}
		var c claims
		parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
		if len(parts) == 3 {
			text, _ := base64.RawURLEncoding.DecodeString(parts[1])
			_ = json.Unmarshal(text, &c)
		}
		if c.Audience != endpoint || c.Issuer != issuer || time.Now().Unix() > c.Expires {
			w.Header().Set("WWW-Authenticate", `Bearer scope="read"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if scopes := strings.Fields(c.Scope); r.URL.Path == "/write" && !slices.Contains(scopes, "write") {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="write"`)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, c.Scope)
	})
	s.Start()
	t.Cleanup(s.Close)
	return endpoint
}

// All of it against a certified server: discovery, registration, a code with PKCE
// for a resource, tokens of two seconds under parallel calls, more scopes, and
// signing out.
func TestProvider(t *testing.T) {
	t.Parallel()
	issuer := startProvider(t)
	endpoint := startResource(t, issuer)
	outside := &http.Transport{}
	t.Cleanup(outside.CloseIdleConnections)
	source, err := mcpauth.NewSource(mcpauth.Options{Name: "docs", Server: endpoint, Client: &http.Client{Transport: outside}, Store: &shelf{}})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := credentials.NewGrant(credentials.Spec{Name: "docs", Origins: []string{strings.TrimSuffix(endpoint, "/mcp")}, Attach: credentials.BearerFrom(source)})
	if err != nil {
		t.Fatal(err)
	}
	inside := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(inside.CloseIdleConnections)
	client := grant.Client(source.Transport(inside))
	get := func(to string) (string, error) {
		resp, err := client.Get(to)
		if err != nil {
			return "", err.(*url.Error).Err //nolint:errorlint // as Get promises
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", string(text)), err
	}
	login := func() {
		t.Helper()
		var person sync.WaitGroup
		err := source.Login(t.Context(), func(to string) error {
			person.Go(func() {
				if err := consent(to); err != nil {
					t.Error(err)
				}
			})
			return nil
		})
		if person.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	_, err = get(endpoint)
	trouble(t, err, credentials.NeedsLogin)
	login()
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) { // two lives of a token
		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() {
				if got, err := get(endpoint); err != nil || got != "200 read" {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		calls.Wait()
	}
	write := strings.TrimSuffix(endpoint, "/mcp") + "/write"
	_, err = get(write)
	if e := trouble(t, err, credentials.NeedsLogin); !strings.Contains(e.Error(), "write") {
		t.Error(e)
	}
	login()
	if got, err := get(write); err != nil || !strings.Contains(got, "write") || !strings.Contains(got, "read") {
		t.Errorf("%q, %v", got, err)
	}
	if err := source.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = get(endpoint)
	trouble(t, err, credentials.NeedsLogin)
}
