package credentials_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

func TestAnswers(t *testing.T) {
	asked := []string{"read", "write"}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		change func(*credentials.Endpoint)
		want   string // access, refresh, seconds, scopes, values
	}{
		"plain":             {saysJSON(`{"access_token":"a","token_type":"bearer","expires_in":60,"scope":"read write"}`), nil, "a  60 [read write] map[]"},
		"no scope":          {saysJSON(`{"access_token":"a","expires_in":60}`), nil, "a  60 [read write] map[]"},
		"narrower":          {saysJSON(`{"access_token":"a","expires_in":60,"scope":"read"}`), nil, "a  60 [read] map[]"},
		"string of seconds": {saysJSON(`{"access_token":"a","expires_in":"3599"}`), nil, "a  3599 [read write] map[]"},
		"garbage of seconds": {saysJSON(`{"access_token":"a","expires_in":"soon"}`), nil,
			"a  0 [read write] map[]"},
		"negative seconds": {saysJSON(`{"access_token":"a","expires_in":-5}`), nil, "a  0 [read write] map[]"},
		"huge seconds":     {saysJSON(`{"access_token":"a","expires_in":1e300}`), nil, "a  0 [read write] map[]"},
		"object of seconds": {saysJSON(`{"access_token":"a","expires_in":{"n":5}}`), nil,
			"a  0 [read write] map[]"},
		"other name for bearer": {saysJSON(`{"access_token":"a","token_type":"bot"}`), nil, "a  0 [read write] map[]"},
		"form": {says(200, "application/x-www-form-urlencoded; charset=utf-8", "access_token=a%2Bb&expires_in=60&scope=read%2Cwrite&token_type=bearer"), nil,
			"a+b  60 [read write] map[]"},
		"form as text": {says(200, "text/plain", "access_token=a&scope="), nil, "a  0 [read write] map[]"},
		"nested": {saysJSON(`{"ok":true,"access_token":"bot","authed_user":{"id":"U1","scope":"read,write","access_token":"user","token_type":"user"}}`),
			func(e *credentials.Endpoint) { e.Member, e.Values = "authed_user", []string{"id"} }, "user  0 [read write] map[id:U1]"},
		"values": {saysJSON(`{"access_token":"a","instance_url":"https://x.example","id":7}`),
			func(e *credentials.Endpoint) { e.Values = []string{"instance_url", "id"} }, "a  0 [read write] map[instance_url:https://x.example]"},
		"accepted": {saysJSON(`{"access_token":"a","scope":"read long/write"}`), func(e *credentials.Endpoint) { e.Accept = []string{"long/write"} },
			"a  0 [read long/write] map[]"},
		"anything": {saysJSON(`{"access_token":"a","scope":"all"}`), func(e *credentials.Endpoint) { e.Accept = []string{"*"} }, "a  0 [all] map[]"},
	} {
		s := newAuthServer(t, c.answer)
		e := s.endpoint(credentials.PublicClient())
		if c.change != nil {
			c.change(e)
		}
		tok, err := credentials.ClientCredentials(e, asked)(t.Context(), credentials.Token{})
		seconds := 0
		if !tok.Expiry.IsZero() {
			seconds = int(time.Until(tok.Expiry).Round(time.Second).Seconds())
		}
		got := fmt.Sprint(credentials.Reveal(tok.Access), " ", credentials.Reveal(tok.Refresh), " ", seconds, " ", tok.Scopes, " ", tok.Values)
		if err != nil || got != c.want {
			t.Errorf("%s: %q %v, want %q", name, got, err, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	const transient, login, config = credentials.Transient, credentials.NeedsLogin, credentials.Misconfigured
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  credentials.Trouble
		want   string
	}{
		"code":                {says(400, "application/json", `{"error":"invalid_grant","error_description":"s3cret"}`), login, "invalid_grant (HTTP 400)"},
		"HubSpot's code":      {says(400, "application/json", `{"status":"BAD_REFRESH_TOKEN","message":"s3cret"}`), login, "bad_refresh_token (HTTP 400)"},
		"a status of another": {says(400, "application/json", `{"status":"error","message":"s3cret"}`), config, "HTTP 400): it refuses without saying why"},
		"403":                 {says(403, "application/json", `{"error":"invalid_grant"}`), login, "invalid_grant (HTTP 403)"},
		"client":              {says(401, "application/json", `{"error":"invalid_client"}`), config, "invalid_client (HTTP 401)"},
		"unknown code":        {says(400, "application/json", `{"error":"no_such_luck"}`), config, "unknown (HTTP 400)"},
		"code is a secret":    {says(400, "application/json", `{"error":"s3cret"}`), config, "unknown (HTTP 400)"},
		"code has a secret":   {says(400, "application/json", `{"error":"x_s3cret_y"}`), config, "unknown (HTTP 400)"},
		"code is the refresh": {says(400, "application/json", `{"error":"refresh"}`), config, "unknown (HTTP 400)"},
		"code is a text":      {says(400, "application/json", "{\"error\":\"look: \\u001b[31m http://evil\"}"), config, "unknown (HTTP 400)"},
		"200 with error":      {saysJSON(`{"ok":false,"error":"invalid_refresh_token","access_token":"a"}`), login, "invalid_refresh_token (HTTP 200)"},
		"200, form of error":  {says(200, "application/x-www-form-urlencoded", "error=bad_refresh_token&error_description=s3cret"), login, "bad_refresh_token"},
		"echo":                {says(500, "text/html", "you sent s3cret"), transient, "transient (HTTP 500)"},
		"503 with code":       {says(503, "application/json", `{"error":"invalid_client"}`), transient, "invalid_client (HTTP 503)"},
		"empty 400":           {says(400, "", ""), config, "it refuses without saying why"},
		"empty 404":           {says(404, "", ""), transient, "there is nothing at the URL"},
		"empty 500":           {says(500, "", ""), transient, "transient (HTTP 500)"},
		"empty 200":           {says(200, "", ""), transient, "neither JSON nor a form"},
		"HTML":                {says(200, "text/html", "<p>s3cret access_token=x"), transient, "neither JSON nor a form"},
		"array":               {saysJSON(`["s3cret"]`), transient, "neither JSON nor a form"},
		"null":                {saysJSON(`null`), transient, "neither JSON nor a form"},
		"no token":            {saysJSON(`{"token":"s3cret"}`), transient, "no access_token"},
		"token is a number":   {saysJSON(`{"access_token":5}`), transient, "no access_token"},
		"DPoP":                {saysJSON(`{"access_token":"a","token_type":"DPoP"}`), config, "cannot be sent as a bearer token"},
		"wider":               {saysJSON(`{"access_token":"a","scope":"read admin"}`), config, "granted 1 scopes that nobody asked for"},
		"endless":             {endless, transient, "longer than 65536 bytes"},
		"cut":                 {cut, transient, "unexpected EOF"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other?s3cret", http.StatusFound) }, transient,
			"it answers with a redirect, which is not followed"},
	} {
		s := newAuthServer(t, c.answer)
		e := s.endpoint(credentials.BasicClient(credentials.NewSecret("s3cret")))
		last := credentials.Token{Refresh: credentials.NewSecret("refresh-token-s3cret")}
		_, err := credentials.RefreshToken(e, []string{"read"})(t.Context(), last)
		te, ok := errors.AsType[*credentials.TokenError](err)
		if !ok || te.Trouble != c.class || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") || len(s.asked) != 1 {
			t.Errorf("%s: %v after %d requests, want %v %q", name, err, len(s.asked), c.class, c.want)
		}
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"access_token":"`))
	for {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			return
		}
	}
}

func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"access_token":"s3cret`))
}

// A redirect takes neither the client's secret nor the refresh token along.
func TestTokenRequestIsNotRedirected(t *testing.T) {
	var hits atomic.Int64
	other := serve(t, httptest.NewServer, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := newAuthServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/token", code) })
		for _, auth := range []credentials.ClientAuth{credentials.BasicClient(credentials.NewSecret("s")), credentials.PostClient(credentials.NewSecret("s"))} {
			_, err := credentials.ClientCredentials(s.endpoint(auth), nil)(t.Context(), credentials.Token{})
			if err == nil || hits.Load() != 0 {
				t.Errorf("%d: %v, %d requests went on", code, err, hits.Load())
			}
		}
		resp, err := s.Client().Post(s.URL, "text/plain", strings.NewReader("x")) // the control: others do follow
		if err == nil {
			_ = resp.Body.Close()
		}
		if hits.Swap(0) != 1 {
			t.Errorf("%d: the control was not redirected", code)
		}
	}
}

func TestServersThatSayNothing(t *testing.T) {
	s := newAuthServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := credentials.ClientCredentials(s.endpoint(credentials.PublicClient()), nil)(ctx, credentials.Token{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	gone := newAuthServer(t, saysJSON("{}"))
	e := gone.endpoint(credentials.PublicClient())
	e.URL += "?key=s3cret"
	gone.Close()
	_, err = credentials.ClientCredentials(e, nil)(t.Context(), credentials.Token{})
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "transient: dial tcp") {
		t.Error(err)
	}
}

// The client says who it is in the one way that it was told to.
func TestClientAuthentication(t *testing.T) {
	rsaKey, _ := keys()
	secret := credentials.NewSecret("p:ä& %")
	for name, c := range map[string]struct {
		auth   credentials.ClientAuth
		header string
		fields []string
	}{
		"none":  {credentials.PublicClient(), "", []string{"client_id"}},
		"post":  {credentials.PostClient(secret), "", []string{"client_id", "client_secret"}},
		"basic": {credentials.BasicClient(secret), "Basic " + base64.StdEncoding.EncodeToString([]byte("me%3A:p%3A%C3%A4%26+%25")), nil},
		"key":   {credentials.KeyClient(parsed(t, pkcs8(t, rsaKey), "k1"), ""), "", []string{"client_assertion", "client_assertion_type", "client_id"}},
	} {
		s := newAuthServer(t, saysJSON(`{"access_token":"a"}`))
		e := s.endpoint(c.auth)
		e.ClientID = "me:"
		e.Params = url.Values{"audience": {"https://api.example"}, "grant_type": {"evil"}}
		for range 2 {
			if _, err := credentials.ClientCredentials(e, []string{"read", "write"})(t.Context(), credentials.Token{}); err != nil {
				t.Fatal(err)
			}
		}
		got := s.last(t)
		var fields []string
		for field := range got.form {
			if strings.HasPrefix(field, "client_") {
				fields = append(fields, field)
			}
		}
		slices.Sort(fields)
		if got.header.Get("Authorization") != c.header || !slices.Equal(fields, c.fields) {
			t.Errorf("%s: %q %q", name, got.header.Get("Authorization"), fields)
		}
		if f := got.form; f.Get("grant_type") != "client_credentials" || len(f["grant_type"]) != 1 || f.Get("scope") != "read write" || f.Get("audience") != "https://api.example" {
			t.Errorf("%s: %v", name, f)
		}
		if name == "post" && got.form.Get("client_secret") != "p:ä& %" {
			t.Errorf("%q", got.form)
		}
		if name == "key" {
			header, claims := verified(t, got.form.Get("client_assertion"), &rsaKey.PublicKey)
			before := s.asked[0].form.Get("client_assertion")
			_, first := verified(t, before, &rsaKey.PublicKey)
			if header["kid"] != "k1" || claims["iss"] != "me:" || claims["sub"] != "me:" || claims["aud"] != e.URL || first["jti"] == claims["jti"] {
				t.Errorf("%v %v", header, claims)
			}
		}
	}
}

func TestRequestAsJSON(t *testing.T) {
	s := newAuthServer(t, saysJSON(`{"access_token":"a","refresh_token":"new"}`))
	e := s.endpoint(credentials.BasicClient(credentials.NewSecret("s")))
	e.JSON = true
	tok, err := credentials.RefreshToken(e, nil)(t.Context(), credentials.Token{Refresh: credentials.NewSecret("old")})
	got := s.last(t)
	if err != nil || credentials.Reveal(tok.Refresh) != "new" || got.body != `{"grant_type":"refresh_token","refresh_token":"old"}` ||
		got.header.Get("Content-Type") != "application/json" {
		t.Errorf("%v %s", err, got.body)
	}
}

func TestEndpointsThatAreRefused(t *testing.T) {
	s, own := credentials.NewSecret, &http.Client{Transport: &http.Transport{}}
	for name, c := range map[string]struct {
		e    credentials.Endpoint
		want string
	}{
		"http":        {credentials.Endpoint{URL: "http://auth.example/token"}, "must be https; http is for this machine only"},
		"no host":     {credentials.Endpoint{URL: "https:///token"}, "https://host/path"},
		"no URL":      {credentials.Endpoint{}, "https://host/path"},
		"opaque":      {credentials.Endpoint{URL: "https:auth.example"}, "https://host/path"},
		"scheme":      {credentials.Endpoint{URL: "file://localhost/etc"}, "must be https"},
		"name":        {credentials.Endpoint{URL: "http://127.0.0.1.example/token"}, "must be https"},
		"password":    {credentials.Endpoint{URL: "https://u:s3cret@auth.example/token"}, "neither user information nor fragment"},
		"fragment":    {credentials.Endpoint{URL: "https://auth.example/token#s3cret"}, "neither user information nor fragment"},
		"no client":   {credentials.Endpoint{URL: "https://auth.example/token"}, "no HTTP client"},
		"shared":      {credentials.Endpoint{URL: "https://auth.example/token", Client: &http.Client{}}, "no HTTP client of its own"},
		"no id":       {credentials.Endpoint{URL: "http://[::1]:1/", Client: own, Auth: credentials.BasicClient(s("s3cret"))}, "client id is empty"},
		"no secret":   {credentials.Endpoint{URL: "http://localhost/", Client: own, ClientID: "me", Auth: credentials.PostClient(s(""))}, "client secret is empty"},
		"no key":      {credentials.Endpoint{URL: "http://127.0.0.2/", Client: own, ClientID: "me", Auth: credentials.KeyClient(nil, "")}, "no key"},
		"unreadable":  {credentials.Endpoint{URL: "https://a b/\x7f"}, "https://host/path"},
		"spoofed end": {credentials.Endpoint{URL: `http://auth.example\@127.0.0.1/`}, "https://host/path"},
	} {
		if err := c.e.Check(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestRevoke(t *testing.T) {
	s := newAuthServer(t, says(200, "", ""))
	e := s.endpoint(credentials.BasicClient(credentials.NewSecret("s")))
	both := credentials.Token{Access: credentials.NewSecret("a"), Refresh: credentials.NewSecret("r")}
	for want, tok := range map[string]credentials.Token{"token=r&token_type_hint=refresh_token": both, "token=a&token_type_hint=access_token": {Access: both.Access}} {
		err := e.Revoke(t.Context(), s.URL+"/revoke", tok)
		if got := s.last(t); err != nil || got.body != want || got.path != "/revoke" || got.header.Get("Authorization") == "" {
			t.Errorf("%v %s", err, got.body)
		}
	}
	for want, answer := range map[string]http.HandlerFunc{"transient (HTTP 503)": says(503, "", "s3cret"), "invalid_client (HTTP 401)": says(401, "", `{"error":"invalid_client"}`)} {
		s.answer = answer
		if err := e.Revoke(t.Context(), s.URL+"/revoke", both); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
