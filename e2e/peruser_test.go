package e2e_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// visitor is somebody with a browser, who signs in wherever it is sent.
type visitor struct {
	t    *testing.T
	name string
	hc   *http.Client
	// stop is where the browser goes no further.
	stop string

	at      *url.URL // of the last page, or where it was stopped
	page    string
	status  int
	refresh string // where the page sends it on to
}

var errStopped = errors.New("as far as it is to go")

func newVisitor(t *testing.T, name string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &visitor{t: t, name: name, stop: "nowhere"}
	p.hc = &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if strings.HasPrefix(r.URL.String(), p.stop) {
				p.at = r.URL
				return errStopped
			}
			if len(via) > 20 {
				return errors.New("there is no end of redirects")
			}
			return nil
		}}
	return p
}

func (p *visitor) take(resp *http.Response, err error) {
	p.t.Helper()
	p.page, p.refresh = "", ""
	if errors.Is(err, errStopped) {
		return
	}
	if err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.at, p.page, p.status = resp.Request.URL, string(text), resp.StatusCode
	_, p.refresh, _ = strings.Cut(resp.Header.Get("Refresh"), "url=")
}

// open goes to an address, and signs in and agrees wherever that is asked for,
// until a page of ours comes.
func (p *visitor) open(to string) *visitor {
	p.t.Helper()
	p.take(p.hc.Get(to))
	for range 10 {
		action := formAction.FindStringSubmatch(p.page)
		if action == nil || strings.Contains(p.at.Path, "/connect/") {
			return p
		}
		fields := url.Values{"login": {p.name}, "password": {"x"}, "answer": {"allow"}}
		for _, m := range hidden.FindAllStringSubmatch(p.page, -1) {
			fields.Set(m[1], html.UnescapeString(m[2]))
		}
		next, err := p.at.Parse(html.UnescapeString(action[1]))
		if err != nil {
			p.t.Fatal(err)
		}
		p.take(p.hc.PostForm(next.String(), fields))
	}
	p.t.Fatalf("%s: there is no end of forms", p.name)
	return p
}

var formMark = regexp.MustCompile(`name="form" value="([^"]+)"`)

// press presses a button of a page of ours, and goes on to where that leads.
func (p *visitor) press(do string, more ...string) *visitor {
	p.t.Helper()
	mark := formMark.FindStringSubmatch(p.page)
	if mark == nil {
		p.t.Fatalf("%s: no button on %s", p.name, p.page)
	}
	form := url.Values{"do": {do}, "form": {mark[1]}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	to := *p.at
	to.RawQuery = ""
	p.take(p.hc.PostForm(to.String(), form))
	if p.refresh != "" {
		p.open(p.refresh)
	}
	return p
}

// says fails the test if a page does not say this.
func (p *visitor) says(status int, text string) {
	p.t.Helper()
	if p.status != status || !strings.Contains(p.page, text) {
		p.t.Fatalf("%s: %d instead of %d, no %q at %s in\n%s\n", p.name, p.status, status, text, p.at, p.page)
	}
}

// token gets a token for a client of this person's.
func (p *visitor) token(issuer, resource string) string {
	p.t.Helper()
	const verifier, back = "0123456789012345678901234567890123456789012", "http://127.0.0.1:1/host"
	sum := sha256.Sum256([]byte(verifier))
	p.stop = back
	p.open(issuer + "/auth?" + url.Values{"client_id": {"host"}, "response_type": {"code"}, "redirect_uri": {back}, "scope": {"read"}, "resource": {resource},
		"state": {"s"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}.Encode())
	p.stop = "nowhere"
	resp, err := p.hc.PostForm(issuer+"/token", url.Values{"grant_type": {"authorization_code"}, "client_id": {"host"}, "code": {p.at.Query().Get("code")}, "redirect_uri": {back},
		"code_verifier": {verifier}, "resource": {resource}})
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || claims(got.AccessToken)["sub"] != p.name {
		p.t.Fatalf("%s: no token: %v %s %v", p.name, err, p.at, p.page)
	}
	return got.AccessToken
}

// as is a transport that says in every request whose it is.
type as struct {
	http.RoundTripper
	token string
}

func (a as) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.Header.Set("Authorization", "Bearer "+a.token)
	return a.RoundTripper.RoundTrip(out)
}

// clientOf connects a user's client.
func clientOf(t *testing.T, endpoint, token string, modern bool) *client {
	t.Helper()
	base := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(base.CloseIdleConnections)
	return joinHTTP(t, as{base, token}, endpoint, modern).hello()
}

var connectLink = regexp.MustCompile(`http://127\.0\.0\.1:\d+/connect/[a-z]+\?ticket=[A-Za-z0-9_-]+`)

// subjects returns whose tokens calls of a tool were made with.
func subjects(g *guarded, tool string) (whose []string) {
	for _, auth := range g.uses(tool) {
		sub, _ := claims(strings.TrimPrefix(auth, "Bearer "))["sub"].(string)
		whose = append(whose, sub)
	}
	return whose
}

// usersWorld is a Bulkhead before two sources, to which two users sign in for
// themselves, at two certified authorization servers: one is theirs for Bulkhead,
// the other the sources', whose tokens live for two seconds.
type usersWorld struct {
	t          *testing.T
	login      string
	crm, docs  *guarded
	home       string
	config     string
	listen     string
	proc       *proc
	alice, bob *visitor
	tokens     map[string]string
}

func newUsersWorld(t *testing.T) *usersWorld {
	t.Helper()
	w := &usersWorld{t: t, home: shortHome(t), listen: fmt.Sprint("127.0.0.1:", freePort(t)), alice: newVisitor(t, "alice"), bob: newVisitor(t, "bob"), tokens: map[string]string{}}
	base := "http://" + w.listen
	public := func(id string, redirects ...string) map[string]any {
		return map[string]any{"client_id": id, "token_endpoint_auth_method": "none", "application_type": "native", "grant_types": []string{"authorization_code", "refresh_token"},
			"redirect_uris": redirects, "response_types": []string{"code"}}
	}
	pages := public("pages", base+"/connect/callback")
	pages["client_secret"], pages["token_endpoint_auth_method"], pages["application_type"] = "canary-pages", "client_secret_basic", "web"
	w.login = newProvider(t, 600, public("host", "http://127.0.0.1:1/host"), pages)
	issuer := newProvider(t, 2, public("app", base+"/connect/callback/crm"))
	for _, g := range []**guarded{&w.crm, &w.docs} {
		*g = newGuarded(t, claimed(issuer, func() string { return (*g).URL + "/mcp" }))
		(*g).mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(rw, `{"resource":%q,"authorization_servers":[%q],"scopes_supported":["read"]}`, (*g).URL+"/mcp", issuer)
		})
	}
	w.config = "[server]\nlisten = '" + w.listen + "'\nlog_level = 'debug'\n[server.auth]\ntype = 'oidc'\nissuer = '" + w.login + "'\nclient_id = 'pages'\nclient_secret = { env = 'PAGES' }\n" +
		signing("crm", w.crm, "type = 'authorization_code'", "per = 'user'", "client_id = 'app'", "authorization_url = '"+issuer+"/auth'", "token_url = '"+issuer+"/token'",
			"revocation_url = '"+issuer+"/token/revocation'", "issuer = '"+issuer+"'", "resource = '"+w.crm.URL+"/mcp'", "scopes = ['read']") +
		signing("docs", w.docs, "type = 'mcp'", "per = 'user'", "allow_hosts = ['"+strings.TrimPrefix(issuer, "http://")+"']")
	w.start()
	for _, p := range []*visitor{w.alice, w.bob} {
		w.tokens[p.name] = p.token(w.login, base+"/mcp")
	}
	return w
}

func (w *usersWorld) start() {
	w.t.Helper()
	w.proc = startIn(w.t, w.home, w.config, []string{"PAGES=canary-pages"}, "serve")
	w.proc.endpoint()
}

func (w *usersWorld) client(p *visitor) *client {
	return clientOf(w.t, "http://"+w.listen+"/mcp", w.tokens[p.name], p.name == "bob")
}

// connect follows the link in a failure, and returns it.
func (w *usersWorld) connect(p *visitor, c *client, tool string) (link string) {
	w.t.Helper()
	r := c.mustCall(tool, nil)
	if link = connectLink.FindString(r.text()); !r.IsError || !strings.HasPrefix(r.text(), "needs_login: ") || link == "" {
		w.t.Fatalf("%s: %s", p.name, r.text())
	}
	p.open(link).says(200, "You are "+html.EscapeString(w.login+"/"+p.name))
	p.press("connect").says(200, "Connected to ")
	return link
}

// Two users connect accounts of their own at two sources, and each one's calls
// are made with that user's tokens alone: while tokens are renewed all the time,
// after a restart, and after the other one has disconnected.
func TestUsersConnectTheirOwnAccounts(t *testing.T) {
	t.Parallel()
	w := newUsersWorld(t)
	alice, bob := w.client(w.alice), w.client(w.bob)
	// Nobody has signed in, so no tool is known.
	if r, err := alice.call("crm_read", nil); err == nil {
		t.Fatalf("%+v", r)
	}
	first := regexp.MustCompile(`http://[^"\s]+/connect/crm\?ticket=[A-Za-z0-9_-]+`).FindString(alice.mustCall("bulkhead_sources", nil).text())
	w.bob.open(first).says(403, "for somebody else")
	w.alice.open(first).says(200, "Connect crm")
	w.alice.press("connect").says(200, "Connected to crm")
	w.alice.open(first).says(410, "used already")
	if !eventually(func() bool { r, err := alice.call("crm_read", nil); return err == nil && r.text() == "did read" }) {
		t.Fatal("alice is connected, and cannot call")
	}
	w.connect(w.bob, bob, "crm_read")
	link := regexp.MustCompile(`http://[^"\s]+/connect/docs\?ticket=[A-Za-z0-9_-]+`)
	for p, c := range map[*visitor]*client{w.alice: alice, w.bob: bob} {
		p.open(link.FindString(c.mustCall("bulkhead_sources", nil).text())).says(200, "Connect docs")
		p.press("connect").says(200, "Connected to docs")
	}
	if !eventually(func() bool { r, err := bob.call("docs_read", nil); return err == nil && r.text() == "did read" }) { // its tools are known from now on only
		t.Fatal("both are connected, and bob cannot call")
	}
	w.storm(alice, bob)
	if got := alice.mustCall("bulkhead_sources", nil).text(); strings.Contains(got, "bob") || strings.Contains(got, "needs_login") {
		t.Error(got)
	}

	w.proc.finish()
	w.start()
	alice, bob = w.client(w.alice), w.client(w.bob)
	w.storm(alice, bob)

	w.alice.open("http://"+w.listen+"/connect/crm").says(200, "Connected to crm")
	w.alice.press("disconnect").says(200, "Disconnected")
	before := len(subjects(w.crm, "read"))
	if r := alice.mustCall("crm_read", nil); !strings.HasPrefix(r.text(), "needs_login: ") {
		t.Error(r.text())
	}
	for range 8 {
		if r := bob.mustCall("crm_read", nil); r.text() != "did read" {
			t.Errorf("bob: %s", r.text())
		}
	}
	if r := alice.mustCall("docs_read", nil); r.text() != "did read" {
		t.Errorf("alice at docs: %s", r.text())
	}
	for _, who := range subjects(w.crm, "read")[before:] {
		if who != "bob" {
			t.Errorf("a call was made as %q", who)
		}
	}
	w.connect(w.alice, alice, "crm_read")
	if r := alice.mustCall("crm_read", nil); r.text() != "did read" {
		t.Errorf("alice, again: %s", r.text())
	}

	// The operator may sign one of them out, which running servers notice.
	if out, errs, code := command(t, w.home, []string{"PAGES=canary-pages"}, "logout", "docs", "--user", "bob"); code != 0 || out != "docs: signed out\n" {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if !eventually(func() bool { return strings.HasPrefix(bob.mustCall("docs_read", nil).text(), "needs_login: ") }) {
		t.Error("bob is still signed in")
	}
	if r := alice.mustCall("docs_read", nil); r.text() != "did read" {
		t.Errorf("alice at docs, after bob has gone: %s", r.text())
	}
	for secret, text := range map[string]string{"a secret": "canary-pages", "a ticket": "?ticket="} {
		if strings.Contains(w.proc.log.String(), text) {
			t.Errorf("the log has %s", secret)
		}
	}
}

// storm has both users call both sources at once for longer than a token lives,
// and sees whose tokens that was with.
func (w *usersWorld) storm(alice, bob *client) {
	w.t.Helper()
	sources := map[string]*guarded{"crm": w.crm, "docs": w.docs}
	before, made := map[string]int{}, 0
	for name, g := range sources {
		before[name] = len(subjects(g, "read"))
	}
	for range 3 {
		var wg sync.WaitGroup
		for _, c := range []*client{alice, bob} {
			for name := range sources {
				for range 8 {
					wg.Go(func() {
						if r := c.mustCall(name+"_read", nil); r.text() != "did read" {
							w.t.Errorf("%s: %s", name, r.text())
						}
					})
				}
			}
		}
		wg.Wait()
		made += 8
		time.Sleep(900 * time.Millisecond)
	}
	for name, g := range sources {
		calls := map[string]int{}
		for _, who := range subjects(g, "read")[before[name]:] {
			calls[who]++
		}
		if len(calls) != 2 || calls["alice"] != made || calls["bob"] != made {
			w.t.Errorf("%s: calls were made as %v", name, calls)
		}
	}
}
