package credentials_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

func (s *authServer) flow() *credentials.CodeFlow {
	return &credentials.CodeFlow{Endpoint: s.endpoint(credentials.PublicClient()), AuthorizeURL: s.URL + "/authorize?tenant=t", Issuer: s.URL,
		Scopes: []string{"read"}, Params: url.Values{"prompt": {"consent"}, "state": {"evil"}}}
}

// visit is a browser that asks for the redirect with these members, and returns
// the status.
func visit(t *testing.T, redirect string, q url.Values, change func(*http.Request)) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, redirect+"?"+q.Encode(), nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	if change != nil {
		change(req)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || strings.Contains(string(page), "<") || strings.Contains(string(page), "c0de") {
		t.Errorf("%s %v", page, err)
	}
	return resp.StatusCode
}

func TestCodeLogin(t *testing.T) {
	s := newAuthServer(t, saysJSON(`{"access_token":"a","refresh_token":"r","expires_in":60}`))
	var asked url.Values
	done := make(chan struct{})
	tok, err := s.flow().Login(t.Context(), credentials.Loopback{}, func(raw string) error {
		u, err := url.Parse(raw)
		if err != nil {
			return err
		}
		asked = u.Query()
		back := asked.Get("redirect_uri")
		answer := url.Values{"code": {"c0de"}, "state": {asked.Get("state")}, "iss": {s.URL}}
		go func() {
			defer close(done)
			forged := url.Values{"code": {"evil"}, "state": {"evil"}}
			right := func(change func(*http.Request)) int { return visit(t, back, answer, change) }
			for i, got := range []int{
				visit(t, back, forged, nil),
				visit(t, back, url.Values{"code": {"evil"}}, nil),
				visit(t, back, url.Values{"code": {"evil"}, "state": {asked.Get("state"), "x"}}, nil),
				visit(t, back+"/x", answer, nil),
				right(func(r *http.Request) { r.Host = "evil.example" }),
				right(func(r *http.Request) { r.Method = http.MethodPost }),
				right(nil),
			} {
				if want := []int{400, 400, 400, 404, 404, 405, 200}[i]; got != want {
					t.Errorf("visit %d: %d, want %d", i, got, want)
				}
			}
		}()
		return nil
	})
	<-done
	if err != nil || credentials.Reveal(tok.Access) != "a" || credentials.Reveal(tok.Refresh) != "r" {
		t.Errorf("%v", err)
	}
	form := s.last(t).form
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	back, err := url.Parse(form.Get("redirect_uri"))
	if err != nil || back.Hostname() != "127.0.0.1" || back.Path != "/callback" {
		t.Errorf("%v %v", back, err)
	}
	if form.Get("code") != "c0de" || len(form.Get("code_verifier")) < 43 || form.Get("client_id") != "me" ||
		asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || asked.Get("code_challenge_method") != "S256" ||
		asked.Get("redirect_uri") != form.Get("redirect_uri") {
		t.Errorf("%v", form)
	}
	if asked.Get("response_type") != "code" || asked.Get("scope") != "read" || asked.Get("tenant") != "t" || asked.Get("prompt") != "consent" ||
		asked.Get("state") == "evil" || len(asked["state"]) != 1 || len(asked.Get("state")) < 22 {
		t.Errorf("%v", asked)
	}
}

func TestCodeAnswers(t *testing.T) {
	s := newAuthServer(t, saysJSON(`{"access_token":"a"}`))
	for name, c := range map[string]struct {
		change func(url.Values, *credentials.CodeFlow)
		want   string
	}{
		"fine":             {func(url.Values, *credentials.CodeFlow) {}, ""},
		"no iss":           {func(q url.Values, _ *credentials.CodeFlow) { q.Del("iss") }, ""},
		"no iss, promised": {func(q url.Values, c *credentials.CodeFlow) { q.Del("iss"); c.IssuerSent = true }, "does not say which server"},
		"other iss":        {func(q url.Values, _ *credentials.CodeFlow) { q.Set("iss", "https://evil.example") }, "another authorization server"},
		"iss with slash":   {func(q url.Values, _ *credentials.CodeFlow) { q.Set("iss", q.Get("iss")+"/") }, "another authorization server"},
		"two iss":          {func(q url.Values, _ *credentials.CodeFlow) { q.Add("iss", q.Get("iss")) }, "another authorization server"},
		"other iss, error": {func(q url.Values, _ *credentials.CodeFlow) {
			q.Set("iss", "https://evil.example")
			q.Set("error", "access_denied")
		}, "another authorization server"},
		"denied":      {func(q url.Values, _ *credentials.CodeFlow) { q.Set("error", "access_denied") }, "needs login: access_denied"},
		"bad scope":   {func(q url.Values, _ *credentials.CodeFlow) { q.Set("error", "invalid_scope") }, "misconfigured: invalid_scope"},
		"wild error":  {func(q url.Values, _ *credentials.CodeFlow) { q.Set("error", "\x1b[31m") }, "misconfigured: unknown"},
		"two codes":   {func(q url.Values, _ *credentials.CodeFlow) { q.Add("code", "x") }, "has no code"},
		"no code":     {func(q url.Values, _ *credentials.CodeFlow) { q.Del("code") }, "has no code"},
		"other state": {func(q url.Values, _ *credentials.CodeFlow) { q.Set("state", "x") }, "not to this signing in"},
	} {
		flow := s.flow()
		flow.IssuerSent = false
		s.asked = nil
		q := url.Values{"code": {"c0de"}, "iss": {s.URL}}
		c.change(q, flow)
		p, err := flow.Begin("https://gate.example/connect/crm")
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(p.URL)
		if !q.Has("state") {
			q.Set("state", u.Query().Get("state"))
		}
		_, err = p.Finish(t.Context(), q)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if c.want != "" && len(s.asked) != 0 {
			t.Errorf("%s: the code was used", name)
		}
		if fmt.Sprintf("%+v", p) != "[redacted]" {
			t.Errorf("%+v", p)
		}
		if name == "fine" || name == "denied" { // once
			if _, err := p.Finish(t.Context(), q); err == nil || !strings.Contains(err.Error(), "came twice") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestCodeLoginsThatCannotBe(t *testing.T) {
	s := newAuthServer(t, saysJSON(`{}`))
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, text, _ := net.SplitHostPort(taken.Addr().String())
	var port int
	if _, err := fmt.Sscan(text, &port); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		at     credentials.Loopback
		change func(*credentials.CodeFlow)
		open   error
	}{
		fmt.Sprintf("port %d for the redirect cannot be had", port): {at: credentials.Loopback{Port: port}},
		"path on 127.0.0.1 or localhost":                            {at: credentials.Loopback{Host: "evil.example"}},
		"a path on 127.0.0.1":                                       {at: credentials.Loopback{Path: "x"}},
		"the authorization URL must be https":                       {change: func(c *credentials.CodeFlow) { c.AuthorizeURL = "javascript://x/%0aalert(1)" }},
		"the authorization URL is not of the form":                  {change: func(c *credentials.CodeFlow) { c.AuthorizeURL = "calc.exe" }},
		"the client id is empty":                                    {change: func(c *credentials.CodeFlow) { c.Endpoint.ClientID = "" }},
		"issuer to compare with is not known":                       {change: func(c *credentials.CodeFlow) { c.Issuer, c.IssuerSent = "", true }},
		"the browser: there is none":                                {open: errors.New("there is none")},
	} {
		flow := s.flow()
		if c.change != nil {
			c.change(flow)
		}
		opened := false
		_, err := flow.Login(t.Context(), c.at, func(string) error { opened = true; return c.open })
		if err == nil || !strings.Contains(err.Error(), want) || troubleOf(err) != "misconfigured" || opened != (c.open != nil) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.flow().Login(ctx, credentials.Loopback{Host: "localhost"}, func(string) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// answers is a transport that gives these answers in turn, the last for ever, and
// notes when it was asked.
type answers struct {
	texts []string
	at    []time.Time
	forms []string
}

func (a *answers) RoundTrip(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	a.at, a.forms = append(a.at, time.Now()), append(a.forms, string(body))
	text := a.texts[0]
	if len(a.texts) > 1 {
		a.texts = a.texts[1:]
	}
	if text == "" {
		return nil, errors.New("s3cret network")
	}
	status := 200
	if strings.Contains(text, `"error"`) {
		status = 400
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
}

const started = `{"device_code":"d3vice","user_code":"ABCD-EFGH","verification_uri":"https://auth.example/device","verification_uri_complete":"https://auth.example/device?c=ABCD","expires_in":600,"interval":3}`

func TestDeviceLogin(t *testing.T) {
	for name, c := range map[string]struct {
		texts []string
		want  string   // of the error
		at    []string // when it asked
	}{
		"patience": {[]string{started, `{"error":"authorization_pending"}`, `{"error":"slow_down"}`, `{"error":"slow_down"}`, "", `{"access_token":"a"}`}, "",
			[]string{"0s", "3s", "6s", "14s", "27s", "53s"}},
		"no interval": {[]string{`{"device_code":"d","user_code":"U","verification_url":"https://auth.example/"}`, `{"access_token":"a"}`}, "", []string{"0s", "5s"}},
		"interval 0":  {[]string{strings.Replace(started, `"interval":3`, `"interval":0`, 1), `{"access_token":"a"}`}, "", []string{"0s", "1s"}},
		"denied":      {[]string{started, `{"error":"access_denied"}`}, "needs login: access_denied", []string{"0s", "3s"}},
		"expired":     {[]string{started, `{"error":"expired_token"}`}, "needs login: expired_token", []string{"0s", "3s"}},
		"nobody":      {[]string{strings.Replace(started, "600", "8", 1), `{"error":"authorization_pending"}`}, "needs login: nobody has signed in", []string{"0s", "3s", "6s"}},
		"no code":     {[]string{`{"user_code":"U","verification_uri":"https://auth.example/"}`}, "no device_code", []string{"0s"}},
		"evil code":   {[]string{strings.Replace(started, "ABCD-EFGH", `\u001b[2J`, 1)}, "no user_code", []string{"0s"}},
		"evil URL":    {[]string{strings.Replace(started, `_uri":"https`, `_uri":"file`, 1)}, "no https address", []string{"0s"}},
		"refused":     {[]string{`{"error":"unauthorized_client"}`}, "misconfigured: unauthorized_client", []string{"0s"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &answers{texts: c.texts}
			e := &credentials.Endpoint{Name: "crm", URL: "https://auth.example/token", ClientID: "me", Client: &http.Client{Transport: a}, Params: url.Values{"resource": {"r"}}}
			d := &credentials.DeviceFlow{Endpoint: e, DeviceURL: "https://auth.example/device_authorization", Scopes: []string{"read"}}
			began := time.Now()
			var prompt credentials.Prompt
			tok, err := d.Login(t.Context(), func(p credentials.Prompt) error { prompt = p; return nil })
			if c.want == "" && (err != nil || credentials.Reveal(tok.Access) != "a") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			var at []string
			for _, when := range a.at {
				at = append(at, when.Sub(began).String())
			}
			if fmt.Sprint(at) != fmt.Sprint(c.at) {
				t.Errorf("%s: asked at %v, want %v", name, at, c.at)
			}
			if name == "patience" && (prompt.Code != "ABCD-EFGH" || prompt.URL != "https://auth.example/device" || prompt.Full == "" || prompt.Expires.Sub(began) != 10*time.Minute ||
				a.forms[0] != "client_id=me&resource=r&scope=read" || !strings.Contains(a.forms[1], "device_code=d3vice")) {
				t.Errorf("%+v %q", prompt, a.forms)
			}
		})
	}
}

// TestTokenWithoutAnEnd: what a person has signed in for, and nothing renews, is
// good until it is refused.
func TestTokenWithoutAnEnd(t *testing.T) {
	for answer, want := range map[string]time.Duration{
		`{"access_token":"a"}`:                     credentials.Lasting,
		`{"access_token":"a","refresh_token":"r"}`: 0, // then it is for whoever renews it to say
		`{"access_token":"a","expires_in":60}`:     time.Minute,
	} {
		s := newAuthServer(t, saysJSON(answer))
		flow := s.flow()
		pending, err := flow.Begin("http://127.0.0.1:1/callback")
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(pending.URL)
		if err != nil {
			t.Fatal(err)
		}
		token, err := pending.Finish(t.Context(), url.Values{"code": {"c"}, "state": {u.Query().Get("state")}, "iss": {s.URL}})
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Until(token.Expiry); want == 0 && !token.Expiry.IsZero() || want > 0 && (got > want || got < want-10*time.Second) {
			t.Errorf("%s: good for %s, want %s", answer, got, want)
		}
	}
}
