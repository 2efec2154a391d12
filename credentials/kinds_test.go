package credentials_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

func troubleOf(err error) string {
	if e, ok := errors.AsType[*credentials.TokenError](err); ok {
		return e.Trouble.String()
	}
	return fmt.Sprint(err)
}

func TestRefreshToken(t *testing.T) {
	s := newAuthServer(t, saysJSON(`{"access_token":"a","instance_url":"https://new.example"}`))
	e := s.endpoint(credentials.PublicClient())
	e.Values = []string{"instance_url"}
	fetch := credentials.RefreshToken(e, []string{"read"})
	if _, err := fetch(t.Context(), credentials.Token{}); troubleOf(err) != "needs login" || len(s.asked) != 0 {
		t.Errorf("%v after %d requests", err, len(s.asked))
	}
	last := credentials.Token{Refresh: credentials.NewSecret("r1"), Values: map[string]string{"id": "7", "instance_url": "https://old.example"}}
	tok, err := fetch(t.Context(), last)
	if err != nil || credentials.Reveal(tok.Refresh) != "r1" || fmt.Sprint(tok.Values) != "map[id:7 instance_url:https://new.example]" {
		t.Errorf("%v %v %v", err, credentials.Reveal(tok.Refresh), tok.Values)
	}
	if f := s.last(t).form; f.Get("grant_type") != "refresh_token" || f.Get("refresh_token") != "r1" || f.Has("scope") {
		t.Error(f)
	}
	s.answer = saysJSON(`{"access_token":"a","refresh_token":"r2"}`)
	if tok, err := fetch(t.Context(), last); err != nil || credentials.Reveal(tok.Refresh) != "r2" {
		t.Errorf("%v %v", err, credentials.Reveal(tok.Refresh))
	}
}

// Where nobody signs in, nobody is asked to.
func TestNobodyIsAskedToSignIn(t *testing.T) {
	_, ec := keys()
	s := newAuthServer(t, says(400, "application/json", `{"error":"invalid_grant"}`))
	e := s.endpoint(credentials.PublicClient())
	for name, fetch := range map[string]credentials.Fetch{
		"client": credentials.ClientCredentials(e, nil),
		"bearer": credentials.JWTBearer(e, credentials.Assertion{Key: parsed(t, pkcs8(t, ec), ""), Issuer: "me"}, nil),
	} {
		if _, err := fetch(t.Context(), credentials.Token{}); troubleOf(err) != "misconfigured" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJWTBearer(t *testing.T) {
	rsaKey, ecKey := keys()
	s := newAuthServer(t, saysJSON(`{"access_token":"a","refresh_token":"r","expires_in":3600}`))
	e := s.endpoint(credentials.PublicClient())
	e.ClientID = ""
	for name, c := range map[string]struct {
		a      credentials.Assertion
		public any
		want   string // alg kid iss sub aud scope, seconds to the end, extra; scope of the form
	}{
		"defaults": {credentials.Assertion{Key: parsed(t, pkcs8(t, rsaKey), ""), Issuer: "me"}, &rsaKey.PublicKey,
			"RS256 <nil> me me " + e.URL + " <nil> 300 <nil>; read"},
		"all": {credentials.Assertion{Key: parsed(t, pkcs8(t, ecKey), "k"), Issuer: "me", Subject: "ann", Audience: "https://login.example", TTL: 5 * time.Hour,
			Claims: map[string]any{"x": 1, "iss": "evil"}, ScopeClaim: true}, &ecKey.PublicKey,
			"ES256 k me ann https://login.example read 3600 1; "},
	} {
		tok, err := credentials.JWTBearer(e, c.a, []string{"read"})(t.Context(), credentials.Token{})
		if err != nil || credentials.Reveal(tok.Access) != "a" || !tok.Refresh.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
		form := s.last(t).form
		header, claims := verified(t, form.Get("assertion"), c.public)
		iat, _ := claims["iat"].(float64)
		exp, _ := claims["exp"].(float64)
		got := fmt.Sprint(header["alg"], " ", header["kid"], " ", claims["iss"], " ", claims["sub"], " ", claims["aud"], " ", claims["scope"], " ", exp-iat, " ", claims["x"], "; ", form.Get("scope"))
		if got != c.want || form.Has("client_id") || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// fixed gives its tokens in turn, the next after each refusal.
type fixed struct{ tokens []string }

func (f *fixed) Token(context.Context) (credentials.Token, error) {
	return credentials.Token{Access: credentials.NewSecret(f.tokens[0])}, nil
}

func (f *fixed) Invalidate(used credentials.Token) {
	if credentials.Reveal(used.Access) == f.tokens[0] && len(f.tokens) > 1 {
		f.tokens = f.tokens[1:]
	}
}

func TestTokenExchange(t *testing.T) {
	s := newAuthServer(t, saysJSON(`{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","refresh_token":"r"}`))
	e := s.endpoint(credentials.BasicClient(credentials.NewSecret("s")))
	x := credentials.Exchange{Subject: &fixed{[]string{"s1"}}, SubjectType: "urn:ietf:params:oauth:token-type:jwt", Wanted: "urn:ietf:params:oauth:token-type:access_token", Actor: &fixed{[]string{"act"}}}
	tok, err := credentials.TokenExchange(e, x, []string{"read"})(t.Context(), credentials.Token{})
	want := "actor_token=act&actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange" +
		"&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&scope=read&subject_token=s1&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"
	if got := s.last(t).body; err != nil || got != want || !tok.Refresh.IsZero() {
		t.Errorf("%v %s", err, got)
	}
	s.answer = saysJSON(`{"access_token":"id","token_type":"N_A"}`)
	if _, err := credentials.TokenExchange(e, x, nil)(t.Context(), credentials.Token{}); troubleOf(err) != "misconfigured" {
		t.Error(err)
	}
}

// A subject token that has ended in the meantime is replaced once.
func TestTokenExchangeReplacesItsSubject(t *testing.T) {
	s := newAuthServer(t, nil)
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		subject := s.asked[len(s.asked)-1].form.Get("subject_token")
		s.mu.Unlock()
		if subject != "s2" {
			says(400, "application/json", `{"error":"invalid_grant"}`)(w, r)
			return
		}
		saysJSON(`{"access_token":"a"}`)(w, r)
	}
	for _, c := range []struct {
		tokens   []string
		want     string
		requests int
	}{{[]string{"s1", "s2"}, "<nil>", 2}, {[]string{"s1"}, "needs login", 1}, {[]string{"s1", "s0", "s2"}, "needs login", 2}} {
		s.asked = nil
		_, err := credentials.TokenExchange(s.endpoint(credentials.PublicClient()), credentials.Exchange{Subject: &fixed{c.tokens}}, nil)(t.Context(), credentials.Token{})
		if troubleOf(err) != c.want || len(s.asked) != c.requests {
			t.Errorf("%q: %v after %d requests", c.tokens, err, len(s.asked))
		}
	}
}

// Who signs in anew where the subject's tokens come from need not restart
// anything.
func TestTokenExchangeWaitsForItsSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{texts: []string{`{"access_token":"a"}`}}
		e := &credentials.Endpoint{Name: "crm", URL: "https://auth.example/token", Client: &http.Client{Transport: a}}
		subject := &failing{}
		r := source(t, credentials.SourceSpec{Fetch: credentials.TokenExchange(e, credentials.Exchange{Subject: subject}, nil)})
		for range 3 {
			if got := access(t, r); !strings.Contains(got, "needs login") {
				t.Error(got)
			}
		}
		subject.token = "s1"
		time.Sleep(5 * time.Second)
		if got := access(t, r); got != "a" {
			t.Error(got)
		}
	})
}

func TestAssertionsThatCannotBe(t *testing.T) {
	_, ecKey := keys()
	key := parsed(t, pkcs8(t, ecKey), "")
	e := &credentials.Endpoint{Name: "crm", URL: "https://auth.example/token", Client: &http.Client{}}
	for want, a := range map[string]credentials.Assertion{"no key": {Issuer: "me"}, "issuer of the assertion is empty": {Key: key}} {
		if _, err := credentials.JWTBearer(e, a, nil)(t.Context(), credentials.Token{}); troubleOf(err) != "misconfigured" || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	e.URL = "http://auth.example/token"
	if _, err := credentials.ClientCredentials(e, nil)(t.Context(), credentials.Token{}); troubleOf(err) != "misconfigured" || !strings.Contains(err.Error(), "must be https") {
		t.Error(err)
	}
}

func TestSnowflakeKeyPair(t *testing.T) {
	rsaKey, ecKey := keys()
	der, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	fetch, err := credentials.SnowflakeKeyPair("myorg-acct.us-east-1", "ann", parsed(t, pkcs8(t, rsaKey), ""))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := fetch(t.Context(), credentials.Token{})
	_, claims := verified(t, credentials.Reveal(tok.Access), &rsaKey.PublicKey)
	if err != nil || claims["iss"] != "MYORG-ACCT.ANN.SHA256:"+base64.StdEncoding.EncodeToString(sum[:]) || claims["sub"] != "MYORG-ACCT.ANN" ||
		time.Until(tok.Expiry) > time.Hour || time.Until(tok.Expiry) < 58*time.Minute {
		t.Errorf("%v %v", err, claims)
	}
	for _, err := range []error{
		second(credentials.SnowflakeKeyPair("a", "b", parsed(t, pkcs8(t, ecKey), ""))),
		second(credentials.SnowflakeKeyPair("", "b", parsed(t, pkcs8(t, rsaKey), ""))), second(credentials.SnowflakeKeyPair("a", "b", nil)),
	} {
		if err == nil {
			t.Error("taken")
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestGitHubApp(t *testing.T) {
	rsaKey, ecKey := keys()
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	answer := func(permissions string) http.HandlerFunc {
		return says(201, "application/json", fmt.Sprintf(`{"token":"ghs_x","expires_at":%q,"permissions":%s}`, end.Format(time.RFC3339), permissions))
	}
	s := newAuthServer(t, answer(`{"issues":"read","metadata":"read"}`))
	a := credentials.GitHubApp{Name: "gh", URL: s.URL + "/api/v3", Client: s.Client(), App: "Iv1.x", Installation: 42, Key: parsed(t, pkcs8(t, rsaKey), ""),
		Repositories: []string{"one"}, Permissions: map[string]string{"issues": "read"}}
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	tok, err := a.Fetch(t.Context(), credentials.Token{})
	got := s.last(t)
	if err != nil || credentials.Reveal(tok.Access) != "ghs_x" || !tok.Expiry.Equal(end) || fmt.Sprint(tok.Scopes) != "[issues:read metadata:read]" {
		t.Errorf("%v %v", err, tok.Scopes)
	}
	_, claims := verified(t, strings.TrimPrefix(got.header.Get("Authorization"), "Bearer "), &rsaKey.PublicKey)
	iat, _ := claims["iat"].(float64)
	exp, _ := claims["exp"].(float64)
	if claims["iss"] != "Iv1.x" || exp-iat != 600 || got.path != "/api/v3/app/installations/42/access_tokens" || got.body != `{"permissions":{"issues":"read"},"repositories":["one"]}` {
		t.Errorf("%v %s %s", claims, got.path, got.body)
	}
	for body, want := range map[string]struct {
		answer http.HandlerFunc
		text   string
	}{
		"wider":       {answer(`{"issues":"write"}`), "misconfigured: GitHub granted a permission"},
		"other":       {answer(`{"issues":"read","contents":"read"}`), "misconfigured: GitHub granted a permission"},
		"404":         {says(404, "application/json", `{"message":"s3cret"}`), "misconfigured (HTTP 404): GitHub does not know"},
		"401":         {says(401, "application/json", `{"message":"s3cret"}`), "misconfigured (HTTP 401): GitHub does not know"},
		"502":         {says(502, "text/html", `s3cret`), "transient (HTTP 502)"},
		"no date":     {says(201, "application/json", `{"token":"s3cret","expires_at":"soon"}`), "transient: the answer has no token"},
		"slow down":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "60"); w.WriteHeader(403) }, "transient (HTTP 403)"},
		"just denied": {says(403, "", ""), "misconfigured (HTTP 403)"},
	} {
		s.answer = want.answer
		_, err := a.Fetch(t.Context(), credentials.Token{})
		if err == nil || !strings.Contains(err.Error(), want.text) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %s", body, err, want.text)
		}
	}
	for name, change := range map[string]func(*credentials.GitHubApp){
		"app": func(a *credentials.GitHubApp) { a.App = "" }, "installation": func(a *credentials.GitHubApp) { a.Installation = 0 },
		"key": func(a *credentials.GitHubApp) { a.Key = parsed(t, pkcs8(t, ecKey), "") }, "client": func(a *credentials.GitHubApp) { a.Client = nil },
		"URL": func(a *credentials.GitHubApp) { a.URL = "http://ghe.example" },
	} {
		b := a
		if change(&b); b.Check() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestParseKey(t *testing.T) {
	rsaKey, ecKey := keys()
	ecDER, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	parameters := "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
	sec1 := inPEM(t, "EC PRIVATE KEY", ecDER, nil)
	for name, text := range map[string]credentials.Secret{
		"PKCS #8": pkcs8(t, rsaKey), "PKCS #1": inPEM(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil),
		"SEC 1": sec1, "after parameters": credentials.NewSecret(parameters + credentials.Reveal(sec1)),
	} {
		k, err := credentials.ParseKey(text, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for how, text := range renderings(t, struct{ K *credentials.Key }{k}) {
			if strings.Contains(text, rsaKey.D.String()[:20]) || strings.Contains(text, ecKey.D.String()[:20]) { //nolint:staticcheck // what must not be printed
				t.Errorf("%s by %s gives the key away", name, how)
			}
		}
		if fmt.Sprintf("%+v", k) != "[redacted]" {
			t.Errorf("%+v", k)
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]credentials.Secret{
		"there is no private key": credentials.NewSecret("s3cret"), "1024 bits is too short": pkcs8(t, small), "curve P-256": pkcs8(t, other), "of this kind": pkcs8(t, ed),
		"is encrypted": inPEM(t, "ENCRYPTED PRIVATE KEY", []byte("s3cret"), nil), "cannot be read": inPEM(t, "PRIVATE KEY", []byte("s3cret"), nil),
		"without a passphrase": credentials.NewSecret("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
	} {
		if _, err := credentials.ParseKey(text, ""); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	base := credentials.Identity{Upstream: "crm", Subject: "ann", Issuer: "https://a", ClientID: "me", Scopes: []string{"b", "a", "a"}, Resource: "r"}
	same := base
	same.Scopes = []string{"a", "b"}
	if base.ID() != same.ID() || !strings.HasPrefix(base.ID(), "crm-") {
		t.Errorf("%s %s", base.ID(), same.ID())
	}
	seen := map[string]bool{base.ID(): true}
	for _, other := range []credentials.Identity{
		{Upstream: "crn", Subject: "ann", Issuer: "https://a", ClientID: "me", Scopes: []string{"a", "b"}, Resource: "r"},
		{Upstream: "crm", Subject: "bob", Issuer: "https://a", ClientID: "me", Scopes: []string{"a", "b"}, Resource: "r"},
		{Upstream: "crm", Subject: "ann", Issuer: "https://b", ClientID: "me", Scopes: []string{"a", "b"}, Resource: "r"},
		{Upstream: "crm", Subject: "ann", Issuer: "https://a", ClientID: "you", Scopes: []string{"a", "b"}, Resource: "r"},
		{Upstream: "crm", Subject: "ann", Issuer: "https://a", ClientID: "me", Scopes: []string{"a"}, Resource: "r"},
		{Upstream: "crm", Subject: "ann", Issuer: "https://a", ClientID: "me", Scopes: []string{"a", "b"}},
		{Upstream: "crm", Subject: "an", Issuer: "nhttps://a", ClientID: "me", Scopes: []string{"a", "b"}, Resource: "r"},
	} {
		if seen[other.ID()] {
			t.Errorf("%+v has another's id", other)
		}
		seen[other.ID()] = true
	}
}
