package e2e_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/authserver"
)

// command runs a command of the program beside others of the same home, and
// returns what it said.
func command(t *testing.T, home string, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(os.Getenv(binaryVariable), args...)
	cmd.Dir, cmd.Env = home, environment(home, env...)
	p := launch(t, cmd, home)
	_ = p.in.Close()
	out, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	code = p.wait()
	return string(out), p.log.String(), code
}

// needsLogin wants a failure that names the command to sign in with.
func needsLogin(t *testing.T, r result, source string) {
	t.Helper()
	if !r.IsError || r.Meta.Error.Code != "needs_login" || !strings.Contains(r.text(), "a person has to run: bulkhead login "+source+";") {
		t.Errorf("%+v", r)
	}
}

// signedOut waits until a running server has noticed that somebody has signed out,
// which it looks for every second.
func signedOut(t *testing.T, c *client, tool string) {
	t.Helper()
	var r result
	eventually(func() bool { r = c.mustCall(tool, nil); return r.IsError })
	source, _, _ := strings.Cut(tool, "_")
	needsLogin(t, r, source)
}

// stored returns the files of the tokens that are kept.
func stored(t *testing.T, home string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(home, "state", "bulkhead", "*", "tokens", "*.age"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A person signs in with a browser while the server runs, which notices; another
// run of it knows them; and they sign out, of which nothing is left.
func TestLogin(t *testing.T) {
	t.Parallel()
	home := shortHome(t)
	server, as := newTickets(t, 150*time.Minute)
	config := signing("crm", server, person(server, "scopes = ['read']", "write_scopes = ['write']")...) +
		"[upstream.crm.cache]\nttl = '1h'\n[upstream.crm.tools.override.read]\nread_only = true\n"
	browser := browserIn(t, home)
	p := startIn(t, home, config, []string{"CANARY_VARIABLE=x"})
	c := p.stdio(false)
	eventually(func() bool { return c.source("crm").State == "down" })
	if s := c.source("crm"); s.SignIn.State != "needs_login" || s.SignIn.Command != "bulkhead login crm" || !strings.Contains(s.Summary, "needs a person to sign in") || !strings.Contains(s.Summary, "bulkhead login crm") {
		t.Errorf("%+v", s)
	}
	if text := says(p, "sources"); !strings.Contains(text, "needs login: bulkhead login crm") {
		t.Error(text)
	}

	out, errs, code := command(t, home, []string{browser, "CANARY_VARIABLE=x"}, "login", "crm")
	if code != 0 || !strings.Contains(out, "crm: signed in for 2 h, scopes read write\n") || !strings.Contains(out, "crm answers, 3 tools\n") {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	for _, want := range []string{"signing in to crm\n", "signing in to crm for calls that change something", "sign in at\n\n  " + server.URL + "/authorize?", "the key in file "} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
	var visited []byte
	eventually(func() bool { visited, _ = os.ReadFile(filepath.Join(home, "visited")); return len(visited) > 0 })
	if text := string(visited); !strings.Contains(text, "Thank you") || strings.Contains(text, "CANARY_VARIABLE") || strings.Contains(text, "XDG_STATE_HOME") {
		t.Errorf("the browser: %s", text)
	}
	called := eventually(func() bool { r, err := c.call("crm_put", nil); return err == nil && r.text() == "did put" })
	if r := c.mustCall("crm_read", nil); !called || r.text() != "did read" {
		t.Fatalf("%+v", r)
	}
	if n := as.Issued(); n != 2 {
		t.Errorf("%d tokens for two sign-ins", n)
	}
	listing := says(p, "sources", "--json")
	if !strings.Contains(listing, `"state": "signed_in"`) || !strings.Contains(listing, `"until": "20`) {
		t.Error(listing)
	}
	_ = p.in.Close()
	p.wait()
	told := listing + errs + p.log.String() + laterSignedOut(t, home, config, browser, server, as)
	for _, auth := range server.uses("read") {
		if strings.Contains(told, strings.TrimPrefix(auth, "Bearer ")) {
			t.Error("a token is told")
		}
	}
}

// laterSignedOut is another run, which knows who has signed in; they do so once
// more, and sign out. It returns what was said.
func laterSignedOut(t *testing.T, home, config, browser string, server *guarded, as *authserver.Server) (told string) {
	t.Helper()
	p := startIn(t, home, config, nil)
	c := p.stdio(false)
	c.ready()
	for range 2 { // the second is answered from memory
		if r := c.mustCall("crm_read", nil); r.text() != "did read" || as.Issued() != 2 || len(server.uses("read")) != 2 {
			t.Errorf("%d tokens, %d reads; %+v", as.Issued(), len(server.uses("read")), r)
		}
	}
	if out, errs, code := command(t, home, []string{browser}, "login", "crm"); code != 0 || as.Issued() != 4 { // perhaps as somebody else
		t.Errorf("%d %s %s", code, out, errs)
	}
	if !eventually(func() bool {
		return c.mustCall("crm_read", nil).text() == "did read" && len(distinct(server.uses("read"))) == 2
	}) {
		t.Errorf("after another sign-in: %d tokens were used", len(distinct(server.uses("read"))))
	}
	if n := len(stored(t, home)); n != 2 {
		t.Errorf("%d tokens are kept", n)
	}
	reads := server.uses("read")
	token := strings.TrimPrefix(reads[len(reads)-1], "Bearer ")
	out, errs, code := command(t, home, nil, "logout", "crm")
	if code != 0 || out != "crm: signed out\n" || len(stored(t, home)) != 0 {
		t.Errorf("%d %s %s, kept %q", code, out, errs, stored(t, home))
	}
	signedOut(t, c, "crm_read")
	before := len(server.uses("read"))
	needsLogin(t, c.mustCall("crm_read", nil), "crm")
	if n := len(server.uses("read")); n != before {
		t.Errorf("the source was asked after signing out")
	}
	if !eventually(func() bool { return server.open.Load() == 0 }) {
		t.Errorf("%d connections are open", server.open.Load())
	}
	probe, err := http.NewRequest(http.MethodPost, server.URL+"/mcp", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	probe.Header.Set("Authorization", "Bearer "+token)
	resp, err := server.Client().Do(probe)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the token is still good: HTTP %d", resp.StatusCode)
	}
	if out, _, code = command(t, home, nil, "logout", "crm"); code != 0 || out != "crm: nobody was signed in\n" {
		t.Errorf("%d %s", code, out)
	}
	return errs + p.log.String()
}

// The server knows one port to come back to: that is the one that is used, or
// the command says that it is taken.
func TestRedirectPort(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	server, _ := newTickets(t, time.Hour)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := taken.Addr().(*net.TCPAddr).Port
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(signing("crm", server, person(server, fmt.Sprint("redirect_port = ", port))...)), 0o600); err != nil {
		t.Fatal(err)
	}
	browser := browserIn(t, home)
	out, errs, code := command(t, home, []string{browser}, "login", "crm")
	if code != 1 || out != "" || !strings.Contains(errs, fmt.Sprintf("port %d for the redirect cannot be had", port)) || !strings.Contains(errs, "in use") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	out, errs, code = command(t, home, []string{browser}, "login", "crm")
	if code != 0 || !strings.Contains(out, "crm: signed in") || !strings.Contains(errs, fmt.Sprintf("redirect_uri=http%%3A%%2F%%2F127.0.0.1%%3A%d%%2F", port)) {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

// Without a browser the address is printed, and an interruption ends the wait.
func TestLoginWithoutABrowser(t *testing.T) {
	t.Parallel()
	server, _ := newTickets(t, time.Hour)
	p := start(t, signing("crm", server, person(server)...), []string{"BROWSER=/nonexistent/browser"}, "login", "crm")
	p.logged(regexp.MustCompile(`no browser was opened: .*/nonexistent/browser`))
	p.logged(regexp.MustCompile(`\n  http://127\.0\.0\.1:[0-9]+/authorize\?\S+code_challenge_method=S256`))
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 1 || !strings.Contains(p.log.String(), "bulkhead: error: interrupted") || len(stored(t, p.home)) != 0 {
		t.Errorf("%d %s", code, p.log)
	}
}

// The same against a certified server, with tokens of two seconds: by browser,
// registered and not, by code, and for a client of its own.
func TestLoginAtACertifiedServer(t *testing.T) {
	t.Parallel()
	native := func(id string, more map[string]any) map[string]any {
		c := map[string]any{"client_id": id, "application_type": "native", "token_endpoint_auth_method": "none"}
		maps.Copy(c, more)
		return c
	}
	issuer := newProvider(t, 2,
		native("app", map[string]any{"grant_types": []string{"authorization_code", "refresh_token"}, "redirect_uris": []string{"http://127.0.0.1/callback"}, "response_types": []string{"code"}}),
		native("tv", map[string]any{"grant_types": []string{"urn:ietf:params:oauth:grant-type:device_code", "refresh_token"}, "redirect_uris": []string{}, "response_types": []string{}}),
		map[string]any{"client_id": "machine", "client_secret": "canary-machine", "grant_types": []string{"client_credentials"}, "redirect_uris": []string{}, "response_types": []string{}})
	var server *guarded
	server = newGuarded(t, claimed(issuer, func() string { return server.URL + "/mcp" }))
	server.mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"resource":%q,"authorization_servers":[%q],"scopes_supported":["read"]}`, server.URL+"/mcp", issuer)
	})
	common := []string{"token_url = '" + issuer + "/token'", "revocation_url = '" + issuer + "/token/revocation'", "resource = '" + server.URL + "/mcp'", "scopes = ['read']"}
	with := func(more ...string) []string { return append(more, common...) }
	home := shortHome(t)
	p := startIn(t, home, signing("docs", server, "type = 'mcp'", "allow_hosts = ['"+strings.TrimPrefix(issuer, "http://")+"']")+signing("web", server, with("type = 'authorization_code'", "client_id = 'app'", "issuer = '"+issuer+"'", "authorization_url = '"+issuer+"/auth'")...)+
		signing("tv", server, with("type = 'device_code'", "client_id = 'tv'", "device_url = '"+issuer+"/device/auth'")...)+
		signing("own", server, append([]string{"type = 'client_credentials'", "client_id = 'machine'", "client_secret = { env = 'SECRET' }"}, append(common[:1:1], common[2:]...)...)...),
		[]string{"SECRET=canary-machine"})
	c := p.stdio(false)
	eventually(func() bool { return c.source("web").State == "down" && c.source("tv").State == "down" })

	browser := browserIn(t, home)
	for _, name := range []string{"web", "docs"} { // docs has us registered first
		if out, errs, code := command(t, home, []string{browser, "SECRET=canary-machine"}, "login", name); code != 0 || !strings.Contains(out, name+" answers, 3 tools\n") {
			t.Fatalf("%d %s %s", code, out, errs)
		}
	}
	cmd := exec.Command(os.Getenv(binaryVariable), "login", "tv", "--device")
	cmd.Dir, cmd.Env = home, environment(home, "SECRET=canary-machine")
	q := launch(t, cmd, home)
	prompt := regexp.MustCompile(`open (\S+) in a browser on any machine and enter the code (\S+)`)
	said := prompt.FindStringSubmatch(q.logged(prompt))
	if page, err := visit(said[1], map[string][]string{"user_code": {said[2]}, "confirm": {"yes"}}); err != nil || !strings.Contains(page, "Sign-in Success") {
		t.Fatalf("%v %.500s", err, page)
	}
	text, _ := io.ReadAll(q.out)
	if code := q.wait(); code != 0 || !strings.Contains(string(text), "tv: signed in") {
		t.Fatalf("%d %s %s", code, text, q.log)
	}
	for _, name := range []string{"docs", "web", "tv", "own"} {
		if !eventually(func() bool { r, err := c.call(name+"_read", nil); return err == nil && r.text() == "did read" }) {
			t.Errorf("%s: %+v", name, c.mustCall(name+"_read", nil))
		}
	}
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(200 * time.Millisecond) { // two lives of a token
		for _, name := range []string{"docs", "web", "tv", "own"} {
			if r := c.mustCall(name+"_read", nil); r.text() != "did read" {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	if used := server.uses("read"); len(distinct(used)) < 6 {
		t.Errorf("%d tokens in 5 s of tokens that live for 2 s", len(distinct(used)))
	}
	for _, name := range []string{"docs", "web", "tv"} {
		if out, errs, code := command(t, home, []string{"SECRET=canary-machine"}, "logout", name); code != 0 || out != name+": signed out\n" {
			t.Errorf("%d %s %s", code, out, errs)
		}
	}
	if len(stored(t, home)) != 0 {
		t.Errorf("kept %q", stored(t, home))
	}
}

func distinct(all []string) map[string]bool {
	seen := map[string]bool{}
	for _, s := range all {
		seen[s] = true
	}
	return seen
}

// A remote MCP server says itself where to sign in. Its authorization server may
// only be asked where that is allowed.
func TestLoginToAnMCPServer(t *testing.T) {
	t.Parallel()
	home := shortHome(t)
	as := httptest.NewUnstartedServer(nil)
	elsewhere := "http://" + as.Listener.Addr().String()
	var desk *authserver.Server
	server := newGuarded(t, func(mcp http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			desk.Guard(mcp, func(*http.Request) string { return "read" }).ServeHTTP(w, r)
		})
	})
	desk = authserver.New(authserver.Options{Issuer: elsewhere, Resource: server.URL + "/mcp", Scopes: []string{"read"}, Lifetime: 150 * time.Minute,
		Clients: map[string]authserver.Client{"desktop": {Name: "Bulkhead"}}})
	server.mux.HandleFunc("/.well-known/", desk.ServeHTTP)
	as.Config.Handler = desk
	as.Start()
	t.Cleanup(as.Close)
	config := func(more ...string) string {
		return signing("crm", server, append([]string{"type = 'mcp'", "client_id = 'desktop'"}, more...)...)
	}
	p := startIn(t, home, config(), nil)
	browser := browserIn(t, home)
	out, errs, code := command(t, home, []string{browser}, "login", "crm")
	if code != 1 || out != "" || !strings.Contains(errs, "refused: its address is not of the public internet") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	c := p.stdio(false)
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config("allow_hosts = ['"+strings.TrimPrefix(elsewhere, "http://")+"']")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code = command(t, home, nil, "login", "crm", "--device"); code != 2 || !strings.Contains(errs, "there is no way to sign in to crm with a code") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	out, errs, code = command(t, home, []string{browser}, "login", "crm")
	if code != 0 || !strings.Contains(out, "crm: signed in for 2 h, scopes read\n") {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	if !eventually(func() bool { r, err := c.call("crm_put", nil); return err == nil && r.text() == "did put" }) {
		t.Fatalf("%+v", c.source("crm"))
	}
	if out, errs, code = command(t, home, nil, "logout", "crm"); code != 0 || out != "crm: signed out\n" {
		t.Errorf("%d %s %s", code, out, errs)
	}
	signedOut(t, c, "crm_put")
}

// What a token lacks is asked for at the next sign-in.
func TestMoreScopes(t *testing.T) {
	t.Parallel()
	home := shortHome(t)
	server, _ := newTickets(t, time.Hour)
	p := startIn(t, home, signing("crm", server, "type = 'mcp'", "client_id = 'desktop'"), nil)
	c, browser := p.stdio(false), browserIn(t, home)
	login := func(scopes string) {
		t.Helper()
		if out, errs, code := command(t, home, []string{browser}, "login", "crm"); code != 0 || !strings.Contains(out, "scopes "+scopes+"\n") {
			t.Fatalf("%d %s %s", code, out, errs)
		}
	}
	login("read")
	if !eventually(func() bool { r, err := c.call("crm_read", nil); return err == nil && r.text() == "did read" }) {
		t.Fatalf("%+v", c.source("crm"))
	}
	needsLogin(t, c.mustCall("crm_put", nil), "crm")
	if text := strings.Join(strings.Fields(says(p, "sources")), " "); !strings.Contains(text, "more scopes are asked for (write): bulkhead login crm") {
		t.Error(text)
	}
	login("read write")
	if !eventually(func() bool { return c.mustCall("crm_put", nil).text() == "did put" }) {
		t.Errorf("%+v", c.source("crm"))
	}
}

func ageKey(t *testing.T) string {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key.String()
}

// Tokens are sealed with the key that is named: with another one nothing is
// read, and nothing is lost either.
func TestTokenKey(t *testing.T) {
	t.Parallel()
	home := shortHome(t)
	server, as := newTickets(t, time.Hour)
	one, two := ageKey(t), ageKey(t)
	config := "[server]\ntoken_key = { env = 'TOKEN_KEY' }\n" + signing("crm", server, person(server)...) + signing("hr", server, person(server)...)
	browser := browserIn(t, home)
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := command(t, home, []string{browser, "TOKEN_KEY=secret"}, "login", "crm"); code != 1 || !strings.Contains(errs, "age-keygen makes a key") || strings.Contains(errs, "=secret") {
		t.Errorf("%d %s", code, errs)
	}
	for _, name := range []string{"crm", "hr"} {
		if out, errs, code := command(t, home, []string{browser, "TOKEN_KEY=" + one}, "login", name); code != 0 || !strings.Contains(errs, "the key in env TOKEN_KEY") {
			t.Fatalf("%d %s %s", code, out, errs)
		}
	}
	read := func(key string) result {
		c := startIn(t, home, config, []string{"TOKEN_KEY=" + key}).stdio(false)
		c.ready()
		return c.mustCall("crm_read", nil)
	}
	refused := func(why string, key string) {
		t.Helper()
		if r := read(key); r.Meta.Error.Code != "needs_login" || !strings.Contains(r.text(), "the operator has to see to the configuration") {
			t.Errorf("%s: %+v", why, r)
		}
		if _, errs, code := command(t, home, []string{"TOKEN_KEY=" + key}, "logout", "crm"); code != 1 || !strings.Contains(errs, "token store: ") {
			t.Errorf("%s: logout: %d %s", why, code, errs)
		}
		if n := len(stored(t, home)); n != 2 {
			t.Errorf("%s: %d tokens are left", why, n)
		}
	}
	if r := read(one); r.text() != "did read" {
		t.Errorf("%+v", r)
	}
	refused("another key", two)
	if r := read(two + "\n" + one); r.text() != "did read" { // a new key above the old one
		t.Errorf("%+v", r)
	}
	files := stored(t, home)
	swap := func() {
		t.Helper()
		for _, move := range [][2]string{{files[0], files[0] + ".x"}, {files[1], files[0]}, {files[0] + ".x", files[1]}} {
			if err := os.Rename(move[0], move[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	swap()
	refused("swapped files", one)
	swap()
	if r := read(one); r.text() != "did read" || as.Issued() != 2 {
		t.Errorf("%d tokens; %+v", as.Issued(), r)
	}
}

// A token that cannot be stored is used all the same, and that is told.
func TestTokensThatCannotBeStored(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there is no limit for the size of files")
	}
	home := shortHome(t)
	server, as := newTickets(t, 3*time.Second)
	config := signing("crm", server, person(server)...)
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := command(t, home, []string{browserIn(t, home)}, "login", "crm"); code != 0 {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	full := func(args ...string) *proc {
		cmd := exec.Command("sh", append([]string{"-c", `ulimit -f 0; exec "$0" "$@"`, os.Getenv(binaryVariable)}, args...)...)
		cmd.Dir, cmd.Env = home, environment(home, "BROWSER="+filepath.Join(home, browserName))
		return launch(t, cmd, home)
	}
	if q := full("login", "crm"); q.wait() != 1 || !strings.Contains(q.log.String(), "error: crm: the token could not be saved") {
		t.Error(q.log)
	}
	p := full()
	c := p.stdio(false)
	c.ready()
	time.Sleep(3100 * time.Millisecond)
	if r := c.mustCall("crm_read", nil); r.text() != "did read" || as.Issued() < 3 {
		t.Errorf("%d tokens; %+v", as.Issued(), r)
	}
	p.logged(regexp.MustCompile(`level=WARN msg=sign-in upstream=crm problem=".*could not be saved, and is lost when the process ends`))
	if s := c.source("crm"); !s.SignIn.Unsaved {
		t.Errorf("%+v", s)
	}
}

// Where no store can be opened, the server says so once and goes on.
func TestNoTokenStore(t *testing.T) {
	t.Parallel()
	server, _ := newTickets(t, time.Hour)
	p := start(t, "[server]\nstate = 'none'\n"+fakeUpstream(t, "good", "healthy")+signing("crm", server, person(server)...), nil)
	c := p.stdio(false)
	c.ready()
	alive(t, c, "good")
	p.logged(regexp.MustCompile(`level=WARN msg="no tokens are kept: .* error="nothing is to be kept`))
	_, errs, code := command(t, p.home, nil, "login", "crm")
	if code != 1 || !strings.Contains(errs, "hint: a sign-in is handed to the server through the state directory") {
		t.Errorf("%d %s", code, errs)
	}
}
