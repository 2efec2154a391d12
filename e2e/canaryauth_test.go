package e2e_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

var quietLog = log.New(io.Discard, "", 0)

// canaryKey is a private key, and the parts of it that must be seen nowhere.
type canaryKey struct {
	text   string // PEM
	public crypto.PublicKey
	parts  []canary
}

func newCanaryKey(t *testing.T, source string, useRSA bool) *canaryKey {
	t.Helper()
	var key crypto.Signer
	var secret *big.Int
	if useRSA {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		key, secret = k, k.D
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := k.Bytes()
		key, secret = k, new(big.Int).SetBytes(raw)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	k := &canaryKey{text: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), public: key.Public()}
	lines := strings.Split(k.text, "\n")
	k.parts = []canary{{source, "key", string(secret.FillBytes(make([]byte, (secret.BitLen()+7)/8)))[:32]}, {source, "key", lines[len(lines)/2]}}
	return k
}

// signed reports whether a token in compact form was signed by the key.
func (k *canaryKey) signed(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	switch p := k.public.(type) {
	case *rsa.PublicKey:
		return err == nil && rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], sig) == nil
	case *ecdsa.PublicKey:
		return err == nil && len(sig) == 64 && ecdsa.Verify(p, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	}
	return false
}

// serveAuth is the authorization server: metadata, registration, signing in,
// tokens that live for two seconds, and trouble in between.
func (b *bleeder) serveAuth(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(data))
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"registration_endpoint":%q,"revocation_endpoint":%q,
			"code_challenge_methods_supported":["S256"],"token_endpoint_auth_methods_supported":["client_secret_post"],"authorization_response_iss_parameter_supported":true}`,
			b.auth.URL, b.auth.URL+"/authorize", b.auth.URL+"/token", b.auth.URL+"/register", b.auth.URL+"/revoke")
	case "/register":
		_, _ = fmt.Fprintln(&b.rest, r.URL, r.Header, string(data))
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"client_id":"me","client_secret":%q,"token_endpoint_auth_method":"client_secret_post"}`, b.own["secret"].value)
	case "/device":
		_, _ = fmt.Fprintln(&b.rest, r.URL, r.Header, string(data))
		_, _ = fmt.Fprintf(w, `{"device_code":%q,"user_code":"ABCD-EFGH","verification_uri":%q,"expires_in":600,"interval":0}`, b.own["device"].value, b.auth.URL+"/verify")
	case "/authorize":
		q := r.URL.Query()
		back := url.Values{"code": {"a-code"}, "state": {q.Get("state")}, "iss": {b.auth.URL}}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	case "/revoke":
		b.belongs(r, form, "token", b.own["refresh"].value, "revoked")
		w.WriteHeader(http.StatusOK)
	case "/token", "/app/installations/7/access_tokens":
		b.token(w, r, form, string(data))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// belongs takes the secrets out of a form that are in their place, and keeps the
// rest.
func (b *bleeder) belongs(r *http.Request, form url.Values, field, core, name string) {
	if v := form.Get(field); core != "" && strings.HasPrefix(v, core) {
		b.in(name)
		form.Del(field)
	}
	if v := form.Get("client_secret"); v != "" && v == b.own["secret"].value {
		b.in("secret")
		form.Del("client_secret")
	}
	h := r.Header.Clone()
	if _, password, ok := r.BasicAuth(); ok && password == b.own["secret"].value {
		b.in("secret")
		h.Del("Authorization")
	}
	_, _ = fmt.Fprintln(&b.rest, r.URL, h, form)
}

func (b *bleeder) token(w http.ResponseWriter, r *http.Request, form url.Values, body string) {
	n := b.tokens.Add(1)
	refresh := form.Get("refresh_token")
	switch {
	case form.Has("subject_token"):
		b.belongs(r, form, "subject_token", b.own["subject"].value, "subject")
	case form.Has("device_code"):
		b.belongs(r, form, "device_code", b.own["device"].value, "device")
	case form.Has("assertion") && b.key.signed(form.Get("assertion")):
		b.in("key")
		b.belongs(r, form, "", "", "")
	case b.kind == "github_app" && b.key.signed(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")):
		b.in("key")
		_, _ = fmt.Fprintln(&b.rest, r.URL, body)
	default:
		b.belongs(r, form, "refresh_token", b.own["refresh"].value, "refresh")
	}
	if n > 2 && n%5 == 0 { // trouble
		w.Header().Set("Location", b.trap[int(n)%len(b.trap)]+"/token?"+body)
		w.Header().Set("WWW-Authenticate", r.Header.Get("Authorization"))
		status := []int{500, 307, 308, 503}[n/5%4]
		w.WriteHeader(status)
		text := quoted(r.Header.Get("Authorization") + body)
		if status >= 500 { // with another status it would be trouble that lasts
			text = `{"error":` + text + `,"error_description":` + text + `}`
		}
		_, _ = io.WriteString(w, text)
		return
	}
	b.mu.Lock()
	if refresh != "" && refresh != b.refresh {
		b.reused++
	}
	next := fmt.Sprintf("%s.%d", b.own["refresh"].value, n)
	b.refresh = next
	b.mu.Unlock()
	access := fmt.Sprintf("%s.%d", b.own["token"].value, n)
	if b.kind == "github_app" {
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"token":%q,"expires_at":%q}`, access, time.Now().Add(2*time.Second).UTC().Format(time.RFC3339Nano))
		return
	}
	text := fmt.Sprintf(`"access_token":%q,"token_type":"Bearer","expires_in":2`, access)
	if b.own["refresh"].value != "" {
		text += fmt.Sprintf(`,"refresh_token":%q`, next)
	}
	_, _ = fmt.Fprintf(w, `{%s}`, text)
}
