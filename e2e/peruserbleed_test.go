//go:build linux

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// members are users with tokens of their own for Bulkhead.
var members = []string{"alice", "bob", "carol", "dave"}

// shared is a source that several users have accounts at, with its authorization
// server. It knows whose token each request has, and who has made the call.
type shared struct {
	name      string
	own       map[string]canary // access tokens, by user
	refresh   map[string]canary
	api, auth *httptest.Server
	heard     map[string]*buffer

	mu       sync.Mutex
	newest   map[string]string // refresh tokens that are good, by user
	sessions map[string]string // whose each is
	crossed  []string          // calls with another's token, or in another's session
	calls    map[string]int    // that came with their user's token
	refused  map[string]bool   // whose token is refused once
	logins   atomic.Int64
	issued   atomic.Int64
}

func newShared(t *testing.T, name string) *shared {
	t.Helper()
	s := &shared{name: name, own: map[string]canary{}, refresh: map[string]canary{}, heard: map[string]*buffer{}, newest: map[string]string{}, sessions: map[string]string{}, calls: map[string]int{}, refused: map[string]bool{}}
	for _, who := range members {
		s.own[who], s.refresh[who] = newCanary(name, who), newCanary(name, "refresh of "+who)
	}
	s.api, s.heard["api"] = listenTapped(t, http.HandlerFunc(s.serveAPI))
	s.auth, s.heard["auth"] = listenTapped(t, http.HandlerFunc(s.serveAuth))
	return s
}

// whose returns the user that a token was given to.
func whose(token string, of map[string]canary) string {
	for who, c := range of {
		if strings.HasPrefix(token, c.value+".") {
			return who
		}
	}
	return ""
}

func (s *shared) serveAuth(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // what is no form has no fields
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"registration_endpoint":%q,"revocation_endpoint":%q,"code_challenge_methods_supported":["S256"],
			"token_endpoint_auth_methods_supported":["none"],"authorization_response_iss_parameter_supported":true}`, s.auth.URL, s.auth.URL+"/authorize", s.auth.URL+"/token", s.auth.URL+"/register", s.auth.URL+"/revoke")
	case "/register":
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"client_id":"me","token_endpoint_auth_method":"none"}`)
	case "/authorize": // whoever has this browser agrees
		s.logins.Add(1)
		who, err := r.Cookie("who")
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		back := url.Values{"code": {"code-" + who.Value}, "state": {r.Form.Get("state")}, "iss": {s.auth.URL}}
		http.Redirect(w, r, r.Form.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	case "/token":
		s.token(w, r.Form)
	}
}

func (s *shared) token(w http.ResponseWriter, form url.Values) {
	who := strings.TrimPrefix(form.Get("code"), "code-")
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := form.Get("refresh_token"); got != "" {
		if who = whose(got, s.refresh); who == "" || s.newest[who] != got {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
			return
		}
	}
	n := s.issued.Add(1)
	s.newest[who] = fmt.Sprintf("%s.%d", s.refresh[who].value, n)
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"access_token":"%s.%d","token_type":"Bearer","expires_in":2,"refresh_token":%q}`, s.own[who].value, n, s.newest[who])
}

func (s *shared) serveAPI(w http.ResponseWriter, r *http.Request) {
	const about = "/.well-known/oauth-protected-resource/mcp"
	if r.URL.Path == about {
		_, _ = fmt.Fprintf(w, `{"resource":%q,"authorization_servers":[%q]}`, s.api.URL+"/mcp", s.auth.URL)
		return
	}
	sent := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	who := whose(sent, s.own)
	data, _ := io.ReadAll(r.Body)
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct{ Arguments struct{ Text string } }
	}
	_ = json.Unmarshal(data, &m) // what is no message has no method
	if r.URL.Path == "/rest/act" {
		m.Method, m.Params.Arguments.Text = "tools/call", r.URL.Query().Get("text")
	}
	s.mu.Lock()
	if session := r.Header.Get("Mcp-Session-Id"); session != "" && s.sessions[session] != who {
		s.crossed = append(s.crossed, who+" in the session of "+s.sessions[session])
	}
	refuse := who == "" || m.Method == "tools/call" && s.refused[who]
	delete(s.refused, who)
	if m.Method == "tools/call" && !refuse {
		if caller := m.Params.Arguments.Text; caller != who {
			s.crossed = append(s.crossed, caller+" with the token of "+who)
		}
		s.calls[who]++
	}
	s.mu.Unlock()
	if refuse {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer error=%q, resource_metadata=%q", "invalid_token", s.api.URL+about))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	account := quoted("account of " + who + ", you sent " + sent) // as a careless server may
	answer := func(result string) {
		w.Header().Set("Content-Type", "application/json")
		if m.ID == nil {
			_, _ = fmt.Fprintf(w, `{"it":%s}`, account)
			return
		}
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
	}
	switch m.Method {
	case "initialize":
		session := fmt.Sprint("s", s.issued.Add(1))
		s.mu.Lock()
		s.sessions[session] = who
		s.mu.Unlock()
		w.Header().Set("Mcp-Session-Id", session)
		answer(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}`)
	case "tools/list":
		answer(`{"tools":[{"name":"act","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}]}`)
	case "tools/call": // who it is there, and the credential
		answer(`{"content":[{"type":"text","text":` + account + `}]}`)
	case "ping":
		answer(`{}`)
	case "server/discover", "":
		w.WriteHeader(http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// actDefinition writes how such a source is asked by REST, and returns where.
func actDefinition(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "act.toml")
	text := `[action.act]
method = "GET"
path = "/act"
[action.act.params.text]
in = "query"
[action.act.params.n]
in = "query"
type = "integer"
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// membersWorld is a Bulkhead whose clients have tokens, before such sources.
type membersWorld struct {
	t        *testing.T
	sources  []*shared
	endpoint string
	proc     *proc
	visitors map[string]*visitor
	heard    map[string]*buffer // what each user's client was answered
	own      map[string]canary  // tokens for Bulkhead
}

func newMembersWorld(t *testing.T) *membersWorld {
	t.Helper()
	w := &membersWorld{t: t, visitors: map[string]*visitor{}, heard: map[string]*buffer{}, own: map[string]canary{}}
	config := "[server]\nlog_level = 'debug'\n[server.auth]\ntype = 'tokens'\n"
	var env []string
	for _, who := range members {
		w.own[who], w.heard[who], w.visitors[who] = newCanary("bulkhead", who), &buffer{}, newVisitor(t, who)
		config += "users." + who + ".token = { env = 'TOKEN_" + who + "' }\n"
		env = append(env, "TOKEN_"+who+"="+w.own[who].value)
	}
	for i, name := range []string{"crm", "docs", "hr"} {
		s := newShared(t, name)
		w.sources = append(w.sources, s)
		where := "url = '" + s.api.URL + "/mcp'"
		if i == 2 {
			where = "kind = 'rest'\ndefinition = '" + actDefinition(t) + "'\nurl = '" + s.api.URL + "/rest'"
		}
		config += upstreamTable(name, where, "trust_annotations = true", "cache.ttl = '1m'")
		if i == 1 {
			config += "auth = { type = 'mcp', per = 'user', allow_hosts = ['" + s.auth.Listener.Addr().String() + "'] }\n"
		} else {
			config += "auth = { type = 'authorization_code', per = 'user', client_id = 'me', authorization_url = '" + s.auth.URL + "/authorize', token_url = '" + s.auth.URL + "/token', issuer = '" + s.auth.URL + "' }\n"
		}
		at, _ := url.Parse(s.auth.URL) // it was served there
		for who, v := range w.visitors {
			v.hc.Jar.SetCookies(at, []*http.Cookie{{Name: "who", Value: who}})
		}
	}
	w.proc, w.endpoint = serveHTTP(t, config, env...)
	return w
}

// client is one user's, of which all that it is answered is kept.
func (w *membersWorld) client(who string, modern bool) *client {
	base := &http.Transport{MaxIdleConnsPerHost: 64}
	w.t.Cleanup(base.CloseIdleConnections)
	return joinHTTP(w.t, &overheard{as{base, w.own[who].value}, w.heard[who]}, w.endpoint, modern).hello()
}

// overheard keeps what comes back.
type overheard struct {
	http.RoundTripper
	heard *buffer
}

func (o *overheard) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := o.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(resp.Body, o.heard), resp.Body}
	}
	return resp, err
}

// connect has a user connect to a source, and shows who it is by the token.
func (w *membersWorld) connect(who, name string) {
	w.t.Helper()
	v := w.visitors[who]
	at := strings.TrimSuffix(w.endpoint, "/mcp") + "/connect/" + name
	eventually(func() bool { return v.open(at).status != http.StatusNotFound }) // at the start
	w.agree(who, name)
}

// agree goes on from the page of a source that a user has opened.
func (w *membersWorld) agree(who, name string) {
	w.t.Helper()
	v := w.visitors[who]
	if strings.Contains(v.page, `name="token"`) {
		v.press("prove", "token", w.own[who].value)
	}
	v.says(200, "Connect "+name)
	v.press("connect").says(200, "Connected to "+name)
}

// ready waits until the tools of these sources are known.
func (w *membersWorld) ready(c *client, sources ...*shared) {
	w.t.Helper()
	if !eventually(func() bool {
		names := c.tools()
		return !slices.ContainsFunc(sources, func(s *shared) bool { return !slices.Contains(names, s.name+"_act") })
	}) {
		w.t.Fatal("no tools")
	}
}

// Sixty-four calls of one who has not connected yet lead to one question, one page
// and one consent, and are then all made.
func TestManyCallsOneConsent(t *testing.T) {
	t.Parallel()
	w := newMembersWorld(t)
	crm := w.sources[0]
	w.connect("alice", "crm")
	w.ready(w.client("alice", true), crm)
	dave := wireHTTP(t, w.endpoint, false, `{"elicitation":{"url":{}}}`)
	put := dave.put
	dave.put = func(ctx context.Context, msg []byte, header http.Header) error {
		header = header.Clone()
		if header == nil {
			header = http.Header{}
		}
		header.Set("Authorization", "Bearer "+w.own["dave"].value)
		return put(ctx, msg, header)
	}
	var asked atomic.Int64
	var browsing sync.WaitGroup
	dave.reply = func(method string, params []byte) string {
		var q struct {
			Params struct{ URL, Message string }
			URL    string
		}
		_ = json.Unmarshal(params, &q) // is looked at below
		to := q.URL + q.Params.URL
		if asked.Add(1); method != "elicitation/create" || !strings.Contains(to, "/connect/crm?ticket=") {
			t.Errorf("%s %s", method, params)
			return `"result":{"action":"decline"}`
		}
		browsing.Go(func() {
			w.visitors["dave"].open(to)
			w.agree("dave", "crm")
		})
		return `"result":{"action":"accept"}`
	}
	dave.hello()
	var calls sync.WaitGroup
	for n := range 64 {
		calls.Go(func() {
			x := dave.ask("tools/call", fmt.Sprintf(`"name":"crm_act","arguments":{"text":"dave","n":%d}`, n), "")
			if !strings.Contains(string(x.answer), "account of dave") {
				t.Errorf("%s", x.answer)
			}
		})
	}
	calls.Wait()
	browsing.Wait()
	if asked.Load() != 1 || crm.logins.Load() != 2 || len(crm.crossed) > 0 {
		t.Errorf("asked %d times, %d signed in, %v", asked.Load(), crm.logins.Load(), crm.crossed)
	}
}

// The matrix of users: each one's calls are made with that user's token at each
// source, in a session of that user's, and no answer of one, fresh or kept, is
// another's, while tokens are renewed and refused all the time.
func TestUsersNeverCross(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of calls")
	}
	t.Parallel()
	w := newMembersWorld(t)
	for _, who := range members {
		for _, s := range w.sources {
			w.connect(who, s.name)
		}
	}
	clients := map[string][]*client{}
	for i, who := range members {
		clients[who] = []*client{w.client(who, i%2 == 0), w.client(who, true)}
	}
	w.ready(clients["alice"][0], w.sources...)
	var wg sync.WaitGroup
	var made atomic.Int64
	until := time.Now().Add(5 * time.Second)
	for who, both := range clients {
		for i, c := range both {
			for worker := range 2 {
				wg.Go(func() {
					for n := 0; time.Now().Before(until); n++ {
						s := w.sources[(i+worker+n)%len(w.sources)]
						if i+worker == 0 && n >= 30 && n < 30+len(w.sources) { // once at each
							s.mu.Lock()
							s.refused[who] = true
							s.mu.Unlock()
						}
						r, err := c.call(s.name+"_act", map[string]any{"text": who, "n": n % 50})
						if err != nil || !strings.Contains(r.text(), "account of "+who+",") {
							t.Errorf("%s at %s: %v %s", who, s.name, err, r.text())
						}
						made.Add(1)
						time.Sleep(time.Millisecond)
					}
				})
			}
		}
	}
	wg.Wait()
	t.Logf("%d calls", made.Load())
	w.proc.finish()
	w.judge()
}

// judge looks for every token in everything.
func (w *membersWorld) judge() {
	var all []canary
	for _, s := range w.sources {
		for _, who := range members {
			all = append(all, s.own[who], s.refresh[who])
		}
	}
	for _, c := range w.own {
		all = append(all, c)
	}
	scan := newScanner(all)
	look := func(where string, text []byte, may func(find) bool) {
		for _, f := range scan.scan(text) {
			if may == nil || !may(f) {
				w.t.Errorf("%s has the %v", where, f)
			}
		}
	}
	for _, s := range w.sources {
		if len(s.crossed) > 0 {
			w.t.Errorf("%s: %d calls went astray, such as %s", s.name, len(s.crossed), s.crossed[0])
		}
		for _, who := range members {
			if s.calls[who] < 10 {
				w.t.Errorf("%s: %d calls of %s", s.name, s.calls[who], who)
			}
		}
		look("requests to "+s.name, []byte(s.heard["api"].String()), func(f find) bool { return f.source == s.name && !strings.HasPrefix(f.field, "refresh") })
		look("requests to the authorization server of "+s.name, []byte(s.heard["auth"].String()), func(f find) bool { return f.source == s.name && strings.HasPrefix(f.field, "refresh") })
	}
	for who, heard := range w.heard {
		look("what "+who+" was answered", []byte(heard.String()), nil)
		for _, other := range members {
			if other != who && strings.Contains(heard.String(), "account of "+other) {
				w.t.Errorf("%s was answered for %s", who, other)
			}
		}
	}
	look("the log", []byte(w.proc.log.String()), nil)
	err := filepath.WalkDir(w.proc.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		look(path, text, nil)
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
}
