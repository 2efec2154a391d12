package bearer_test

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/internal/bearer"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

type ctx = context.Context

func refused(t *testing.T, what string, err error, code, why string) {
	t.Helper()
	r, ok := errors.AsType[*inbound.Refusal](err)
	if !ok || r.Code != code || !strings.Contains(r.Why, why) {
		t.Errorf("%s: %v (%T), want %q and %q", what, err, err, code, why)
	}
}

func TestGoodTokens(t *testing.T) {
	i := newIssuer(t, "rsa", "p256", "p384", "p521", "ed")
	now := time.Now().Unix()
	for _, c := range []struct {
		name    string
		key     string
		alg     jose.SignatureAlgorithm
		opt     bearer.Options
		claims  map[string]any
		header  map[jose.HeaderKey]any
		subject string
	}{
		{"RS256", "rsa", jose.RS256, bearer.Options{}, nil, nil, "ann"},
		{"PS512", "rsa", jose.PS512, bearer.Options{}, nil, nil, "ann"},
		{"ES256", "p256", jose.ES256, bearer.Options{}, nil, nil, "ann"},
		{"ES384", "p384", jose.ES384, bearer.Options{}, nil, nil, "ann"},
		{"ES512", "p521", jose.ES512, bearer.Options{}, nil, nil, "ann"},
		{"EdDSA", "ed", jose.EdDSA, bearer.Options{}, nil, nil, "ann"},
		{"no key named", "p256", jose.ES256, bearer.Options{}, nil, map[jose.HeaderKey]any{"kid": nil}, "ann"},
		{"whole type", "rsa", jose.RS256, bearer.Options{}, nil, map[jose.HeaderKey]any{"typ": "application/AT+JWT"}, "ann"},
		{"any type", "rsa", jose.RS256, bearer.Options{AnyType: true}, nil, map[jose.HeaderKey]any{"typ": "JWT"}, "ann"},
		{"no type", "rsa", jose.RS256, bearer.Options{AnyType: true}, nil, map[jose.HeaderKey]any{"typ": nil}, "ann"},
		{"just over", "rsa", jose.RS256, bearer.Options{}, map[string]any{"exp": now - 30}, nil, "ann"},
		{"just not begun", "rsa", jose.RS256, bearer.Options{}, map[string]any{"nbf": now + 30}, nil, "ann"},
		{"several audiences", "rsa", jose.RS256, bearer.Options{}, map[string]any{"aud": []string{"x", resource}}, nil, "ann"},
		{"named audience", "rsa", jose.RS256, bearer.Options{Audience: "api://bulkhead"}, map[string]any{"aud": "api://bulkhead"}, nil, "ann"},
		{"scopes", "rsa", jose.RS256, bearer.Options{Scopes: []string{"a", "b"}}, map[string]any{"scope": "b c a"}, nil, "ann"},
		{"scp", "rsa", jose.RS256, bearer.Options{Scopes: []string{"a", "b"}}, map[string]any{"scp": []string{"b", "a"}}, nil, "ann"},
		{"another subject", "rsa", jose.RS256, bearer.Options{Subject: "email"}, map[string]any{"email": "ann@example.com"}, nil, "ann@example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := i.verifier(t, c.opt)
			claims := i.claims(c.claims)
			token := sign(t, c.key, c.alg, claims, c.header)
			for range 2 { // the second time from memory
				got, err := ask(t, v, token)
				if err != nil || got.Principal != upstream.NewPrincipal(i.URL, c.subject) {
					t.Fatal(got, err)
				}
				text, _ := json.Marshal(claims["exp"])
				var exp int64
				_ = json.Unmarshal(text, &exp)
				if want := time.Unix(exp, 0).Add(time.Minute); !got.Until.Equal(want) {
					t.Errorf("good until %v instead of %v", got.Until, want)
				}
			}
		})
	}
}

func TestWrongClaims(t *testing.T) {
	i := newIssuer(t, "rsa")
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		claims map[string]any
		why    string
	}{
		"another issuer":       {map[string]any{"iss": "https://evil.example"}, "another issuer"},
		"almost the issuer":    {map[string]any{"iss": i.URL + "/"}, "another issuer"},
		"no issuer":            {map[string]any{"iss": nil}, "another issuer"},
		"issuers":              {map[string]any{"iss": []string{i.URL}}, "another issuer"},
		"another audience":     {map[string]any{"aud": "https://crm.example.com"}, "not for this server"},
		"a longer audience":    {map[string]any{"aud": resource + "/x"}, "not for this server"},
		"a part only":          {map[string]any{"aud": "https://mcp.example.com/u/crm/mcp"}, "not for this server"},
		"audience of a client": {map[string]any{"aud": "c"}, "not for this server"},
		"no audience":          {map[string]any{"aud": nil}, "what it is for"},
		"empty audience":       {map[string]any{"aud": []string{}}, "what it is for"},
		"audiences in one":     {map[string]any{"aud": "x " + resource}, "not for this server"},
		"expired":              {map[string]any{"exp": now - 61}, "expired"},
		"no end":               {map[string]any{"exp": nil}, "when it ends"},
		"end as text":          {map[string]any{"exp": "9999999999"}, "when it ends"},
		"end below zero":       {map[string]any{"exp": -1}, "when it ends"},
		"end out of reach":     {map[string]any{"exp": 1e300}, "when it ends"},
		"not yet":              {map[string]any{"nbf": now + 70}, "not good yet"},
		"beginning as text":    {map[string]any{"nbf": "0"}, "when it begins"},
		"nobody":               {map[string]any{"sub": nil}, "who it is about"},
		"empty subject":        {map[string]any{"sub": ""}, "who it is about"},
		"subject as a number":  {map[string]any{"sub": 7}, "who it is about"},
		"lines in the subject": {map[string]any{"sub": "ann\nlevel=error"}, "who it is about"},
		"long subject":         {map[string]any{"sub": strings.Repeat("a", 256)}, "who it is about"},
		"bound to a key":       {map[string]any{"cnf": map[string]string{"jkt": "x"}}, "bound to a key"},
	} {
		t.Run(name, func(t *testing.T) {
			v := i.verifier(t, bearer.Options{})
			_, err := ask(t, v, sign(t, "rsa", jose.RS256, i.claims(c.claims), nil))
			refused(t, name, err, inbound.InvalidToken, c.why)
		})
	}
	v := i.verifier(t, bearer.Options{Scopes: []string{"mcp", "more"}})
	_, err := ask(t, v, sign(t, "rsa", jose.RS256, i.claims(map[string]any{"scope": "mcp mor"}), nil))
	refused(t, "scope", err, inbound.InsufficientScope, "more")
	for name, text := range map[string]string{
		"two issuers": `{"iss":"https://evil.example","iss":"` + i.URL + `","sub":"a","aud":"` + resource + `","exp":9999999999}`,
		"a list":      `[]`, "nothing": ``, "no JSON": `{`, "deep": strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40),
	} {
		_, err := ask(t, v, sign(t, "rsa", jose.RS256, []byte(text), nil))
		refused(t, name, err, inbound.InvalidToken, "no JSON object")
	}
}

func TestWrongTokens(t *testing.T) {
	i := newIssuer(t, "rsa", "p256")
	v := i.verifier(t, bearer.Options{})
	enc := base64.RawURLEncoding.EncodeToString
	text, _ := json.Marshal(i.claims(nil))
	public, _ := x509.MarshalPKIXPublicKey(signers()["rsa"].Public())
	inPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	modulus := signers()["rsa"].(*rsa.PrivateKey).N.Bytes()
	good := sign(t, "rsa", jose.RS256, i.claims(nil), nil)
	parts := strings.Split(good, ".")
	bob, _ := json.Marshal(i.claims(map[string]any{"sub": "bob"}))
	embedded := jose.JSONWebKey{Key: signers()["other"].Public(), KeyID: "rsa", Algorithm: "RS256"}
	for name, c := range map[string]struct{ token, code, why string }{
		"none":                     {enc([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + enc(text) + ".", inbound.InvalidToken, `algorithm that is not taken ("none")`},
		"None":                     {enc([]byte(`{"alg":"None","typ":"at+jwt"}`)) + "." + enc(text) + ".", inbound.InvalidToken, "not taken"},
		"no algorithm":             {enc([]byte(`{"typ":"at+jwt"}`)) + "." + enc(text) + "." + parts[2], inbound.InvalidToken, ""},
		"HS256 with the PEM":       {sign(t, "rsa", jose.HS256, i.claims(nil), map[jose.HeaderKey]any{"secret": inPEM}), inbound.InvalidToken, `not taken ("HS256")`},
		"HS256 with the modulus":   {sign(t, "rsa", jose.HS256, i.claims(nil), map[jose.HeaderKey]any{"secret": modulus}), inbound.InvalidToken, "not taken"},
		"another key by that name": {sign(t, "other", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"kid": "rsa"}), inbound.InvalidToken, "signature"},
		"another key, no name":     {sign(t, "other", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"kid": nil}), inbound.InvalidToken, "signature"},
		"a key of its own":         {sign(t, "other", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"kid": "rsa", "jwk": embedded}), inbound.InvalidToken, ""},
		"a place for keys":         {sign(t, "other", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"kid": "rsa", "jku": i.URL + "/evil"}), inbound.InvalidToken, "signature"},
		"unknown key":              {sign(t, "other", jose.RS256, i.claims(nil), nil), inbound.InvalidToken, "does not have"},
		"key of another algorithm": {sign(t, "rsa", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"kid": "p256"}), inbound.InvalidToken, "does not have"},
		"other claims":             {parts[0] + "." + enc(bob) + "." + parts[2], inbound.InvalidToken, "signature"},
		"no signature":             {parts[0] + "." + parts[1] + ".", inbound.InvalidToken, ""},
		"critical extension":       {sign(t, "rsa", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}), inbound.InvalidToken, ""},
		"an ID token":              {sign(t, "rsa", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"typ": "JWT"}), inbound.InvalidToken, "access token"},
		"no type":                  {sign(t, "rsa", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"typ": nil}), inbound.InvalidToken, "access token"},
		"a logout token":           {sign(t, "rsa", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"typ": "logout+jwt"}), inbound.InvalidToken, "access token"},
		"two parts":                {parts[0] + "." + parts[1], inbound.InvalidToken, "no signed"},
		"five parts":               {good + "." + parts[0] + "." + parts[1], inbound.InvalidToken, "no signed"},
		"opaque":                   {"0123456789abcdef", inbound.InvalidToken, "no signed"},
		"long":                     {strings.Repeat("a", 17<<10), inbound.InvalidToken, "too long"},
		"empty":                    {"", inbound.InvalidRequest, "malformed"},
		"spaces":                   {parts[0] + ". " + parts[1] + "." + parts[2], inbound.InvalidRequest, "malformed"},
		"JSON":                     {`{"payload":"x"}`, inbound.InvalidRequest, "malformed"},
	} {
		if c, err := ask(t, v, c.token); err == nil {
			t.Errorf("%s: is taken for %v", name, c)
		} else if c.Valid() {
			t.Errorf("%s: is %v", name, c)
		}
		_, err := ask(t, v, c.token)
		refused(t, name, err, c.code, c.why)
	}
	lax := i.verifier(t, bearer.Options{AnyType: true})
	_, err := ask(t, lax, sign(t, "rsa", jose.RS256, i.claims(nil), map[jose.HeaderKey]any{"typ": "dpop+jwt"}))
	refused(t, "another type", err, inbound.InvalidToken, "access token")
	if _, err := ask(t, v, good); err != nil {
		t.Error(err)
	}
}

func TestHeaders(t *testing.T) {
	sum := sha256.Sum256([]byte("0123456789abcdef"))
	v, err := bearer.NewStatic(map[string][32]byte{"ann": sum, "bob": sha256.Sum256([]byte("another"))})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		headers []string
		code    string
		ok      bool
	}{
		"right":        {[]string{"Bearer 0123456789abcdef"}, "", true},
		"lower case":   {[]string{"bearer 0123456789abcdef"}, "", true},
		"spaces":       {[]string{"Bearer   0123456789abcdef "}, "", true},
		"none":         {nil, "", false},
		"another kind": {[]string{"Basic 0123456789abcdef"}, "", false},
		"no kind":      {[]string{"0123456789abcdef"}, "", false},
		"two":          {[]string{"Bearer 0123456789abcdef", "Bearer 0123456789abcdef"}, inbound.InvalidRequest, false},
		"two in one":   {[]string{"Bearer 0123456789abcdef, Bearer x"}, inbound.InvalidRequest, false},
		"wrong":        {[]string{"Bearer 0123456789abcdeF"}, inbound.InvalidToken, false},
		"a prefix":     {[]string{"Bearer 0123456789abcde"}, inbound.InvalidToken, false},
		"its hash":     {[]string{"Bearer " + base64.RawURLEncoding.EncodeToString(sum[:])}, inbound.InvalidToken, false},
	} {
		r := httptest.NewRequest(http.MethodPost, "https://mcp.example.com/mcp?access_token=0123456789abcdef", nil)
		r.Header["Authorization"] = c.headers
		got, err := v.Authenticate(t.Context(), r, nil)
		if c.ok {
			if err != nil || got.Principal != upstream.NewPrincipal(bearer.Issuer, "ann") || !got.Until.IsZero() {
				t.Error(name, got, err)
			}
			continue
		}
		refused(t, name, err, c.code, "")
	}
	for name, users := range map[string]map[string][32]byte{"nobody": {}, "no name": {"": sum}, "the same": {"ann": sum, "bob": sum}} {
		if _, err := bearer.NewStatic(users); err == nil {
			t.Error(name, "is taken")
		}
	}
}
