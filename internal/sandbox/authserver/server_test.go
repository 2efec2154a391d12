package authserver_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/authserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer   = "http://127.0.0.1:1"
	resource = issuer + "/mcp"
	redirect = "http://127.0.0.1:5000/back"
	verifier = "a-verifier-that-is-at-least-forty-three-characters-long"
)

func newServer() *authserver.Server {
	return authserver.New(authserver.Options{
		Issuer: issuer, Resource: resource, Scopes: []string{"read", "write"},
		Clients: map[string]authserver.Client{"machine": {Secret: "s+cret"}, "desktop": {Name: "Desktop"}, "other": {}},
	})
}

func post(h http.Handler, path string, form url.Values, basic ...string) (int, map[string]any) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if len(basic) == 2 {
		r.SetBasicAuth(url.QueryEscape(basic[0]), url.QueryEscape(basic[1]))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	out := map[string]any{}
	_ = json.Unmarshal(w.Body.Bytes(), &out)
	return w.Code, out
}

// guarded asks for something that needs a scope.
func guarded(s *authserver.Server, token any, scope string) (int, string) {
	h := s.Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "in") }),
		func(*http.Request) string { return scope })
	r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
	if t, ok := token.(string); ok {
		r.Header.Set("Authorization", "Bearer "+t)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Header().Get("WWW-Authenticate")
}

func TestClientCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		grant := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}, "resource": {resource}}
		status, out := post(s, "/token", grant, "machine", "s+cret")
		if status != 200 || out["expires_in"] != 120.0 || out["scope"] != "read" || out["refresh_token"] != nil {
			t.Fatal(status, out)
		}
		if status, _ := guarded(s, out["access_token"], "read"); status != 200 {
			t.Error(status)
		}
		if status, challenge := guarded(s, out["access_token"], "write"); status != 403 || !strings.Contains(challenge, `error="insufficient_scope", scope="write"`) {
			t.Error(status, challenge)
		}
		if status, challenge := guarded(s, nil, "read"); status != 401 || !strings.Contains(challenge, `resource_metadata="`+issuer+`/.well-known/oauth-protected-resource"`) {
			t.Error(status, challenge)
		}
		time.Sleep(2 * time.Minute)
		if status, challenge := guarded(s, out["access_token"], "read"); status != 401 || !strings.Contains(challenge, `error="invalid_token"`) {
			t.Error("an expired token is good", status, challenge)
		}
		if s.Issued() != 1 {
			t.Error(s.Issued())
		}
	})
}

func TestRefusals(t *testing.T) {
	s := newServer()
	machine := []string{"machine", "s+cret"}
	for name, c := range map[string]struct {
		form  url.Values
		basic []string
		want  string
	}{
		"wrong secret":   {url.Values{"grant_type": {"client_credentials"}}, []string{"machine", "no"}, "invalid_client"},
		"nobody":         {url.Values{"grant_type": {"client_credentials"}}, nil, "invalid_client"},
		"public client":  {url.Values{"grant_type": {"client_credentials"}, "client_id": {"desktop"}}, nil, "unauthorized_client"},
		"two ways":       {url.Values{"grant_type": {"client_credentials"}, "client_secret": {"x"}}, machine, "invalid_request"},
		"wider scope":    {url.Values{"grant_type": {"client_credentials"}, "scope": {"read admin"}}, machine, "invalid_scope"},
		"other resource": {url.Values{"grant_type": {"client_credentials"}, "resource": {"https://other.example"}}, machine, "invalid_target"},
		"other grant":    {url.Values{"grant_type": {"password"}}, machine, "unsupported_grant_type"},
		"made-up code":   {url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}, machine, "invalid_grant"},
		"made-up token":  {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}, machine, "invalid_grant"},
	} {
		if status, out := post(s, "/token", c.form, c.basic...); status < 400 || out["error"] != c.want {
			t.Errorf("%s: %d %v, want %s", name, status, out, c.want)
		}
	}
}

// click asks for a code as a browser does and returns where it is sent.
func click(t *testing.T, s *authserver.Server, answer string, change map[string]string) url.Values {
	t.Helper()
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {"desktop"}, "redirect_uri": {redirect}, "state": {"st"}, "scope": {"read"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "resource": {resource},
	}
	for k, v := range change {
		q.Set(k, v)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/authorize?"+q.Encode(), nil))
	if w.Code == http.StatusOK {
		id := regexp.MustCompile(`name="id" value="([A-Z0-9]+)"`).FindStringSubmatch(w.Body.String())
		if id == nil || !strings.Contains(w.Body.String(), "Desktop") {
			t.Fatal(w.Body)
		}
		r := httptest.NewRequest(http.MethodPost, "/authorize", strings.NewReader(url.Values{"id": {id[1]}, "answer": {answer}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w = httptest.NewRecorder()
		s.ServeHTTP(w, r)
	}
	if w.Code != http.StatusSeeOther {
		return url.Values{"status": {w.Result().Status}}
	}
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil || !strings.HasPrefix(to.String(), redirect+"?") {
		t.Fatal(to, err)
	}
	return to.Query()
}

func exchange(code, with string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {"desktop"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {with}}
}

func TestCodeAndRotation(t *testing.T) {
	s := newServer()
	back := click(t, s, "allow", nil)
	if back.Get("state") != "st" || back.Get("iss") != issuer || back.Get("code") == "" {
		t.Fatal(back)
	}
	status, first := post(s, "/token", exchange(back.Get("code"), verifier))
	if status != 200 {
		t.Fatal(first)
	}
	renew := func(token any) (int, map[string]any) {
		text, _ := token.(string)
		return post(s, "/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"desktop"}, "refresh_token": {text}})
	}
	status, second := renew(first["refresh_token"])
	if status != 200 || second["refresh_token"] == first["refresh_token"] {
		t.Fatal(second)
	}
	if status, _ := guarded(s, second["access_token"], "read"); status != 200 {
		t.Error(status)
	}
	if status, out := renew(first["refresh_token"]); status != 400 || out["error"] != "invalid_grant" {
		t.Error("a used refresh token is good", out)
	}
	if status, _ := renew(second["refresh_token"]); status != 400 {
		t.Error("the family outlives the reuse")
	}
	if status, _ := guarded(s, second["access_token"], "read"); status != 401 {
		t.Error("so does its access token")
	}
}

func TestCodesAreGoodOnceAndForOneOnly(t *testing.T) {
	s := newServer()
	code := click(t, s, "allow", nil).Get("code")
	_, out := post(s, "/token", exchange(code, verifier))
	if status, _ := post(s, "/token", exchange(code, verifier)); status != 400 {
		t.Error("a code is good twice")
	}
	if status, _ := guarded(s, out["access_token"], "read"); status != 401 {
		t.Error("what a code gave outlives its reuse")
	}
	for name, change := range map[string]func(url.Values){
		"verifier": func(v url.Values) { v.Set("code_verifier", "wrong") },
		"client":   func(v url.Values) { v.Set("client_id", "other") },
		"redirect": func(v url.Values) { v.Set("redirect_uri", "http://127.0.0.1:6000/back") },
	} {
		form := exchange(click(t, s, "allow", nil).Get("code"), verifier)
		change(form)
		if status, out := post(s, "/token", form); status != 400 || out["error"] != "invalid_grant" {
			t.Errorf("%s: %d %v", name, status, out)
		}
	}
}

func TestWhatIsNotAllowed(t *testing.T) {
	s := newServer()
	if back := click(t, s, "deny", nil); back.Get("error") != "access_denied" || back.Get("code") != "" {
		t.Error(back)
	}
	for name, c := range map[string]struct {
		change map[string]string
		want   string // "" for no redirect at all
	}{
		"no pkce":       {map[string]string{"code_challenge": ""}, "invalid_request"},
		"plain":         {map[string]string{"code_challenge_method": "plain"}, "invalid_request"},
		"scope":         {map[string]string{"scope": "admin"}, "invalid_scope"},
		"resource":      {map[string]string{"resource": "https://other.example"}, "invalid_target"},
		"response type": {map[string]string{"response_type": "token"}, "unsupported_response_type"},
		"client":        {map[string]string{"client_id": "nobody"}, ""},
		"redirect":      {map[string]string{"redirect_uri": "https://evil.example/"}, ""},
		"userinfo":      {map[string]string{"redirect_uri": "http://127.0.0.1@evil.example/"}, ""},
	} {
		back := click(t, s, "allow", c.change)
		if back.Get("code") != "" || back.Get("error") != c.want || c.want == "" && !strings.HasPrefix(back.Get("status"), "400") {
			t.Errorf("%s: %v", name, back)
		}
	}
}

func TestRevocationEndsASignIn(t *testing.T) {
	s := newServer()
	_, out := post(s, "/token", exchange(click(t, s, "allow", nil).Get("code"), verifier))
	token, _ := out["refresh_token"].(string)
	if status, _ := post(s, "/revoke", url.Values{"client_id": {"other"}, "token": {token}}); status != 200 {
		t.Error(status)
	}
	if status, _ := guarded(s, out["access_token"], "read"); status != 200 {
		t.Error("another client has revoked it")
	}
	if status, _ := post(s, "/revoke", url.Values{"client_id": {"desktop"}, "token": {token}}); status != 200 {
		t.Error(status)
	}
	if status, _ := guarded(s, out["access_token"], "read"); status != 401 {
		t.Error("revoked and still good")
	}
}

func TestMetadata(t *testing.T) {
	s := newServer()
	for path, want := range map[string]string{
		"/.well-known/oauth-authorization-server":   `"issuer":"` + issuer + `"`,
		"/.well-known/oauth-protected-resource":     `"resource":"` + resource + `"`,
		"/.well-known/oauth-protected-resource/mcp": `"authorization_servers":["` + issuer + `"]`,
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
