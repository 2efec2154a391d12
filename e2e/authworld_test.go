package e2e_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/authserver"
)

// guarded is an MCP server that wants tokens. It has a tool that reads, one that
// writes and one that destroys, and notes which token each request had.
type guarded struct {
	*httptest.Server
	mux  *http.ServeMux
	open atomic.Int64 // connections

	mu     sync.Mutex
	seen   []use
	bad    map[string]bool // fields that are refused
	fields []string        // that are looked at beside Authorization
}

// use is one request to the server.
type use struct {
	method, tool string
	auth         string // Authorization, or what the server looks at instead
}

// newGuarded starts a server whose requests pass guard; nil lets all through.
func newGuarded(t *testing.T, guard func(http.Handler) http.Handler, fields ...string) *guarded {
	t.Helper()
	g := &guarded{mux: http.NewServeMux(), bad: map[string]bool{}, fields: fields}
	g.Server = httptest.NewUnstartedServer(g.mux)
	var mcp http.Handler = http.HandlerFunc(g.serve)
	if guard != nil {
		mcp = guard(mcp)
	}
	g.mux.Handle("/mcp", mcp)
	g.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			g.open.Add(1)
		case http.StateClosed:
			g.open.Add(-1)
		}
	}
	g.Start()
	t.Cleanup(g.Close)
	return g
}

// toolOf finds out which tool a request calls, and leaves its body to be read.
func toolOf(r *http.Request) (m fakeRequest) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	_ = json.Unmarshal(body, &m) // what is no message has no method
	return m
}

func (g *guarded) serve(w http.ResponseWriter, r *http.Request) {
	m := toolOf(r)
	got := use{method: m.Method, tool: m.Params.Name, auth: r.Header.Get("Authorization")}
	for _, field := range g.fields {
		got.auth += r.Header.Get(field)
	}
	g.mu.Lock()
	g.seen = append(g.seen, got)
	bad := g.bad[got.auth]
	g.mu.Unlock()
	if bad {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer := func(result string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result) // the client may be gone
	}
	switch m.Method {
	case "initialize":
		answer(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"guarded","version":"1"}}`)
	case "tools/list":
		tool := func(name, hints string) string {
			return `{"name":"` + name + `","inputSchema":{"type":"object"},"annotations":` + hints + `}`
		}
		answer(`{"tools":[` + tool("read", `{"readOnlyHint":true}`) + `,` + tool("put", `{"readOnlyHint":false}`) + `,` + tool("purge", `{"readOnlyHint":false}`) + `]}`)
	case "tools/call":
		answer(`{"content":[{"type":"text","text":"did ` + m.Params.Name + `"}]}`)
	case "ping":
		answer(`{}`)
	case "server/discover", "":
		w.WriteHeader(http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// uses returns what calls of a tool were made with.
func (g *guarded) uses(tool string) (auth []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range g.seen {
		if u.method == "tools/call" && u.tool == tool {
			auth = append(auth, u.auth)
		}
	}
	return auth
}

// refuse has the server refuse whatever it has been sent so far.
func (g *guarded) refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range g.seen {
		g.bad[u.auth] = true
	}
}

// newTickets starts an MCP server with an authorization server of its own at the
// same place. Reading takes the scope read, writing write, destroying admin.
func newTickets(t *testing.T, lifetime time.Duration) (*guarded, *authserver.Server) {
	t.Helper()
	var as *authserver.Server
	g := newGuarded(t, func(mcp http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			as.Guard(mcp, func(r *http.Request) string {
				switch toolOf(r).Params.Name {
				case "put":
					return "write"
				case "purge":
					return "admin"
				}
				return "read"
			}).ServeHTTP(w, r)
		})
	})
	as = authserver.New(authserver.Options{
		Issuer: g.URL, Resource: g.URL + "/mcp", Scopes: []string{"read", "write", "admin"}, Lifetime: lifetime,
		Clients: map[string]authserver.Client{"machine": {Secret: "canary-secret"}, "desktop": {Name: "Bulkhead"}},
	})
	g.mux.Handle("/", as)
	return g, as
}

// signing is the configuration of an upstream that is asked with tokens.
func signing(name string, g *guarded, auth ...string) string {
	return upstreamTable(name, "url = '"+g.URL+"/mcp'") + "[upstream." + name + ".auth]\n" + strings.Join(auth, "\n") + "\n"
}

// machine is how a client gets tokens of its own.
func machine(g *guarded, more ...string) []string {
	return append([]string{"type = 'client_credentials'", "token_url = '" + g.URL + "/token'", "client_id = 'machine'", "client_secret = { env = 'SECRET' }"}, more...)
}

// person is how somebody signs in with a browser.
func person(g *guarded, more ...string) []string {
	return append([]string{"type = 'authorization_code'", "authorization_url = '" + g.URL + "/authorize'", "token_url = '" + g.URL + "/token'",
		"revocation_url = '" + g.URL + "/revoke'", "client_id = 'desktop'"}, more...)
}

// browserName is the name by which the test binary is a browser.
const browserName = "e2e-browser"

// browserIn makes a program in a directory that is a browser, and returns the
// environment that makes Bulkhead use it. Where it has been is in the directory.
func browserIn(t *testing.T, dir string) string {
	t.Helper()
	exe, err := os.Executable()
	if err == nil {
		err = os.Symlink(exe, filepath.Join(dir, browserName))
	}
	if err != nil {
		t.Fatal(err)
	}
	return "BROWSER=" + filepath.Join(dir, browserName)
}

// runBrowser is a person with a browser who agrees to whatever a page asks. It
// notes its environment, its arguments and the last page.
func runBrowser() {
	page, err := visit(os.Args[1], nil)
	text := fmt.Sprintf("%q\n%q\n%v\n%s", os.Environ(), os.Args, err, page)
	_ = os.WriteFile(filepath.Join(filepath.Dir(os.Args[0]), "visited"), []byte(text), 0o600)
}

var (
	formAction = regexp.MustCompile(`<form[^>]*action="([^"]*)"`)
	hidden     = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// visit fills in forms until a page has none, and returns that page.
func visit(to string, more url.Values) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	b := http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := b.Get(to)
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
		fields := url.Values{"login": {"ann"}, "password": {"x"}, "answer": {"allow"}}
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

// newProvider starts the certified authorization server, with these clients and
// tokens that live for ttl seconds, and returns its issuer.
func newProvider(t *testing.T, ttl int, clients ...map[string]any) (issuer string) {
	t.Helper()
	bin, err := npm()
	needed(t, err)
	settings, err := json.Marshal(map[string]any{"clients": clients, "ttl": ttl, "format": "jwt"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "node"), filepath.Join("oidc", "provider.mjs"))
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	_, _ = fmt.Fprintf(in, "%s\n", settings)
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

// claimed lets requests through whose token says in clear that it is of issuer,
// good now and for this server, with a second of leeway (RFC 7519, section 4.1.4), for a
// token of whole seconds may have lost one. Whether it is signed does not matter here.
func claimed(issuer string, server func() string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := claims(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
			if end, _ := c["exp"].(float64); c["iss"] != issuer || c["aud"] != server() || time.Now().Unix() > int64(end) {
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// claims reads a JSON Web Token without checking it; nil is none.
func claims(token string) (c map[string]any) {
	if parts := strings.Split(token, "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &c)
	}
	return c
}
