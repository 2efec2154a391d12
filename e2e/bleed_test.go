//go:build linux

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bleedKinds are all ways to sign in: which secrets each has, and what the
// configuration says. %[1]s is the name of a variable without the field, %[2]s
// the authorization server, %[3]s the file of the key.
var bleedKinds = map[string]struct {
	fields []string
	signs  bool
	auth   string
}{
	"bearer":             {[]string{"token"}, false, `token = { env = "%[1]stoken" }`},
	"header":             {[]string{"token"}, false, `header = "X-Api-Key", value = { file = "%[3]s.token" }`},
	"basic":              {[]string{"token"}, false, `user = "reports", password = { command = ["cat", "%[3]s.token"] }`},
	"client_credentials": {[]string{"token", "secret"}, false, `token_url = "%[2]s/token", client_id = "me", client_secret = { env = "%[1]ssecret" }`},
	"authorization_code": {[]string{"token", "secret", "refresh"}, false, `token_url = "%[2]s/token", authorization_url = "%[2]s/authorize", revocation_url = "%[2]s/revoke", issuer = "%[2]s", client_id = "me", client_auth = "post", client_secret = { env = "%[1]ssecret" }`},
	"device_code":        {[]string{"token", "refresh", "device"}, false, `token_url = "%[2]s/token", device_url = "%[2]s/device", client_id = "me"`},
	"snowflake":          {nil, true, `account = "acme", user = "reports", key = { file = "%[3]s.key" }`},
	"jwt_bearer":         {[]string{"token"}, true, `token_url = "%[2]s/token", issuer = "me", key = { file = "%[3]s.key" }`},
	"token_exchange":     {[]string{"token", "secret", "subject"}, false, `token_url = "%[2]s/token", client_id = "me", client_secret = { env = "%[1]ssecret" }, token = { env = "%[1]ssubject" }`},
	"github_app":         {[]string{"token"}, true, `api_url = "%[2]s", client_id = "me", installation = 7, key = { file = "%[3]s.key" }`},
	"mcp":                {[]string{"token", "secret", "refresh"}, false, `allow_hosts = ["%[4]s"]`},
}

// bleedWorld is everybody that there is, and everything that came out of the
// program.
type bleedWorld struct {
	t        *testing.T
	home     string
	config   string
	env      []string
	sources  []*bleeder
	children []canary
	foreign  []canary // that belong nowhere: a client's own, one in the wrong place
	traps    []*buffer

	mu    sync.Mutex
	sinks map[string]*buffer // where no secret may be
}

// sink returns a place where no secret may be.
func (w *bleedWorld) sink(name string) *buffer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sinks[name] == nil {
		w.sinks[name] = &buffer{}
	}
	return w.sinks[name]
}

func newBleedWorld(t *testing.T) *bleedWorld {
	t.Helper()
	w := &bleedWorld{t: t, home: shortHome(t), sinks: map[string]*buffer{}, foreign: []canary{newCanary("client", "ingress"), newCanary("config", "inline")}}
	secrets, tmp := t.TempDir(), filepath.Join(w.home, "tmp")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	trap := func(start func(http.Handler) *httptest.Server) string {
		s, heard := listenTapped(t, http.NotFoundHandler())
		w.traps = append(w.traps, heard)
		return s.URL
	}
	traps := []string{trap(httptest.NewServer), strings.Replace(trap(httptest.NewServer), "127.0.0.1", "localhost", 1)}
	proxy := trap(httptest.NewServer)
	w.env = []string{"TMPDIR=" + tmp, "HTTP_PROXY=" + proxy, "HTTPS_PROXY=" + proxy, "ALL_PROXY=" + proxy, "http_proxy=" + proxy, "NO_PROXY="}
	w.config = "[server]\nlog_level = 'debug'\nmax_result = '2KiB'\n"
	const steady = "breaker = { failures = 1000, cool_down = '10ms' }"
	for kind, k := range bleedKinds {
		b := newBleeder(t, kind, traps)
		w.sources = append(w.sources, b)
		traps = append(traps, b.api.URL) // the next one sends others here
		file, variable := filepath.Join(secrets, b.name), "CANARY_"+strings.ToUpper(kind)+"_"
		write(file+".token", b.own["token"].value)
		if b.key != nil {
			write(file+".key", b.key.text)
		}
		for _, c := range b.own {
			w.env = append(w.env, variable+c.field+"="+c.value)
		}
		auth := fmt.Sprintf(k.auth, variable, b.auth.URL, file, b.auth.Listener.Addr())
		w.config += upstreamTable(b.name, "url = '"+b.api.URL+"/mcp'", steady, "auth = { type = '"+kind+"', "+auth+" }")
	}
	for _, name := range []string{"kid-a", "kid-b"} {
		c := newCanary(name, "env")
		w.children = append(w.children, c)
		variable := "CANARY_" + strings.ReplaceAll(name, "-", "_")
		w.env = append(w.env, variable+"="+c.value)
		w.config += fakeUpstream(t, name, "healthy", steady, "env.OWN = { env = "+strconv.Quote(variable)+" }")
	}
	return w
}

// start runs the program in this world, and keeps what it says.
func (w *bleedWorld) start(config string, args ...string) *proc {
	w.t.Helper()
	p := startIn(w.t, w.home, config, w.env, args...)
	out := w.sink(args[0] + " stdout")
	p.out = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(p.out, out), p.out}
	w.t.Cleanup(func() { _, _ = io.WriteString(w.sink(args[0]+" stderr"), p.log.String()) })
	return p
}

// run runs a command to its end.
func (w *bleedWorld) run(config string, args ...string) (status int) {
	w.t.Helper()
	p := w.start(config, args...)
	_ = p.in.Close()
	_, _ = io.ReadAll(p.out)
	status = p.wait()
	_, _ = io.WriteString(w.sink(args[0]+" stderr"), p.log.String())
	return status
}

var loginPage = regexp.MustCompile(`http://127\.0\.0\.1:\d+/authorize\?\S+`)

// login signs in as a person with a browser would.
func (w *bleedWorld) login(name string) {
	w.t.Helper()
	p := w.start(w.config, "login", name)
	browser := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := browser.Get(p.logged(loginPage))
	if err != nil {
		w.t.Fatal(err)
	}
	_, _ = io.Copy(w.sink("page after signing in"), resp.Body)
	_ = resp.Body.Close()
	_, _ = io.ReadAll(p.out)
	if p.wait() != 0 {
		w.t.Errorf("login %s: %s", name, p.log)
	}
}

// ingress is a client's transport that adds credentials of the client's own, and
// keeps what comes back.
type ingress struct {
	base  *http.Transport
	own   string
	heard *buffer
}

func (i *ingress) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "Referer", "X-Api-Key", "X-Auth-Token", "X-Access-Token", "X-Forwarded-Access-Token", "X-Forwarded-User",
		"X-Amz-Security-Token", "X-Goog-Api-Key", "Api-Key", "Private-Token", "X-Csrf-Token", "Forwarded", "X-Forwarded-For", "X-Real-Ip", "From", "User-Agent", "X-Request-Id",
		"Baggage", "Tracestate", "X-B3-Traceid", "Cf-Access-Jwt-Assertion", "X-Ms-Token", "X-Vault-Token", "Cookie2", "X-Session", "Via", "X-Client-Cert"} {
		out.Header.Set(name, i.own)
	}
	resp, err := i.base.RoundTrip(out)
	if err == nil {
		_, _ = fmt.Fprintln(i.heard, resp.Status, resp.Header)
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(resp.Body, i.heard), resp.Body}
	}
	return resp, err
}

// clients connects one client of each era over HTTP and over stdio.
func (w *bleedWorld) clients() (served *proc, all []*client) {
	w.t.Helper()
	served = w.start(w.config, "serve", "--listen", "127.0.0.1:0")
	go func() { _, _ = io.Copy(io.Discard, served.out) }()
	url := served.endpoint()
	for i, modern := range []bool{false, true} {
		base := &http.Transport{MaxIdleConnsPerHost: 16}
		w.t.Cleanup(base.CloseIdleConnections)
		c := joinHTTP(w.t, &ingress{base, w.foreign[0].value, w.sink(fmt.Sprint("HTTP client ", i))}, url, modern)
		all = append(all, c.hello(), w.start(w.config, "serve").stdio(modern))
	}
	for _, c := range all {
		c.ready()
	}
	return served, all
}

var handleOf = regexp.MustCompile(`\{"handle":"([A-Z0-9]+)"\}`)

// calls has every client call every source for each of its deeds.
func (w *bleedWorld) calls(all []*client) (made, ended int) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	const workers, rounds = 6, 8
	for _, c := range all {
		for worker := range workers {
			wg.Go(func() {
				for i := worker; i < rounds*len(deeds)*len(w.sources); i += workers {
					tool, deed := w.sources[i%len(w.sources)].name+"_act", deeds[i/len(w.sources)%len(deeds)]
					r, err := c.call(tool, map[string]string{"text": deed})
					if h := handleOf.FindStringSubmatch(r.text()); h != nil {
						for page := range 2 {
							_, _ = c.call("bulkhead_read_more", map[string]any{"handle": h[1], "page": page + 1})
						}
					}
					mu.Lock()
					made++
					if err == nil {
						ended++
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return made, ended
}

// The canary matrix: every way to sign in, thousands of calls of clients of both
// eras over both transports, with sources that refuse, redirect, break off and
// repeat all they are sent, tokens that live for two seconds in three processes
// that share them, reloads, faults, signing in and out. Every secret is in
// requests to its own source, in its own field, and nowhere else.
func TestNoSecretBleeds(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of calls")
	}
	w := newBleedWorld(t)
	w.login("authorization-code")
	w.login("mcp")
	if w.run(w.config, "login", "device-code") != 0 {
		t.Error("signing in with a code failed")
	}
	served, all := w.clients()
	asker := wireHTTP(t, served.endpoint(), false, `{"elicitation":{}}`)
	asker.reply = func(_ string, params []byte) string {
		_, _ = w.sink("questions").Write(params)
		return `"result":{"action":"accept","content":{}}`
	}
	asker.hello()
	var beside sync.WaitGroup
	stop := make(chan struct{})
	beside.Go(func() { w.disturb(served, asker, stop) })
	made, ended := w.calls(all)
	close(stop)
	beside.Wait()
	if ended < made*9/10 {
		t.Errorf("%d of %d calls had an answer", ended, made)
	}
	t.Logf("%d calls, %d with an answer", made, ended)
	w.launched(served)
	w.run(w.config, "check")
	w.signOut(all[0])
	for _, c := range all {
		if c.write != nil {
			continue
		}
		_ = c.leave()
	}
	t.Cleanup(w.judge) // when the processes have ended
}

// disturb does what an operator may do in the middle of it all.
func (w *bleedWorld) disturb(served *proc, asker *wire, stop chan struct{}) {
	inline := strings.Replace(w.config, `token = { env = "CANARY_BEARER_token" }`, `token = "`+w.foreign[1].value+`"`, 1)
	for i := 0; ; i++ {
		for _, b := range w.sources {
			x := asker.ask("tools/call", fmt.Sprintf(`"name":%q,"arguments":{"text":"stream"}`, b.name+"_act"), `"progressToken":1`)
			for _, h := range x.before {
				_, _ = w.sink("notices").Write(h.text)
			}
			_, _ = w.sink("streams").Write(x.answer)
		}
		switch i % 3 {
		case 0:
			w.run(w.config, "sources", "--json")
		case 1: // a secret in the wrong place, while the program runs
			if w.run(inline, "check") == 0 {
				w.t.Error("a secret in the configuration is no fault")
			}
			_ = served.cmd.Process.Signal(syscall.SIGHUP)
		case 2:
			w.run(w.config, "sources")
			w.run(w.config, "metrics")
			_ = served.cmd.Process.Signal(syscall.SIGHUP)
		}
		select {
		case <-stop:
			w.run(w.config, "sources", "--json")
			return
		default:
		}
	}
}

// launched looks at what the program's children are started with.
func (w *bleedWorld) launched(served *proc) {
	scan, seen := newScanner(w.all()), map[string]bool{}
	for _, p := range descendants(w.t, served.cmd.Process.Pid) {
		dir := filepath.Join("/proc", strconv.Itoa(p.pid))
		argv, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		_, _ = w.sink("command lines").Write(argv)
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		found := scan.scan(environ)
		for _, f := range found {
			seen[f.source] = true
			if f.field != "env" || f.source != found[0].source {
				w.t.Errorf("a child's environment has the %v", f)
			}
		}
	}
	for _, c := range w.children {
		if !seen[c.source] {
			w.t.Errorf("the %v is not in its child", c)
		}
	}
	own, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(served.cmd.Process.Pid), "cmdline"))
	_, _ = w.sink("command lines").Write(own)
}

// signOut signs out and sees that no token is sent any more.
func (w *bleedWorld) signOut(c *client) {
	if w.run(w.config, "logout", "authorization-code") != 0 {
		w.t.Error("logout failed")
	}
	var code *bleeder
	for _, b := range w.sources {
		if b.kind == "authorization_code" {
			code = b
		}
	}
	if !within(10*time.Second, func() bool { return c.source(code.name).State != "up" }) {
		w.t.Errorf("after logout: %+v", c.source(code.name))
	}
	time.Sleep(1500 * time.Millisecond) // the other processes look every second
	before := len(code.heard["api"].String())
	for range 20 {
		_, _ = c.call(code.name+"_act", map[string]string{"text": "ok"})
	}
	if after := code.heard["api"].String()[before:]; strings.Contains(after, code.own["token"].value) {
		w.t.Error("a token was sent after logout")
	}
}

// all returns every secret that there is.
func (w *bleedWorld) all() (all []canary) {
	all = append(append(all, w.children...), w.foreign...)
	for _, b := range w.sources {
		for _, c := range b.own {
			all = append(all, c)
		}
		if b.key != nil {
			all = append(all, b.key.parts...)
		}
	}
	return all
}

// judge looks for every secret in everything, and for each in its own place.
func (w *bleedWorld) judge() {
	scan := newScanner(w.all())
	bytesSeen := 0
	look := func(where string, text []byte, may func(find) bool) {
		bytesSeen += len(text)
		for _, f := range scan.scan(text) {
			if may == nil || !may(f) {
				w.t.Errorf("%s has the %v", where, f)
			}
		}
	}
	for _, b := range w.sources {
		look("requests to "+b.name, []byte(b.heard["api"].String()), func(f find) bool { return f.source == b.name && f.field == "token" })
		look("requests to the authorization server of "+b.name, []byte(b.heard["auth"].String()), func(f find) bool { return f.source == b.name && f.field != "token" && f.field != "key" })
		look("another field of requests to "+b.name, []byte(b.rest.String()), nil)
		want := slices.Clone(bleedKinds[b.kind].fields)
		if b.key != nil {
			want = append(want, "key")
		}
		if b.kind == "authorization_code" {
			want = append(want, "revoked")
		}
		for _, field := range want {
			least := 1
			if field == "token" {
				least = 100
			}
			if b.seen[field] < least {
				w.t.Errorf("the %s of %s was seen %d times in its place", field, b.name, b.seen[field])
			}
		}
		if b.reused > 0 {
			w.t.Errorf("%s: %d refresh tokens were used twice", b.name, b.reused)
		}
	}
	for i, trap := range w.traps {
		if n := len(trap.String()); n > 0 {
			w.t.Errorf("trap %d got %d bytes: %.200q", i, n, trap)
		}
	}
	for name, s := range w.sinks {
		look(name, []byte(s.String()), nil)
	}
	if said := w.sink("HTTP client 0").String(); !strings.Contains(said, "you sent") || !strings.Contains(said, "********") {
		w.t.Error("the sources did not repeat what they were sent")
	}
	err := filepath.WalkDir(w.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		look(strings.TrimPrefix(path, w.home), bytes.Join([][]byte{[]byte(path), text}, []byte(" ")), nil)
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
	for _, b := range w.sources {
		w.t.Logf("%s: %v in their place", b.name, b.seen)
	}
	w.t.Logf("%d secrets in %d bytes", len(w.all()), bytesSeen)
}
