package credentials_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// asked is one request as the authorization server saw it.
type asked struct {
	path   string
	header http.Header
	form   url.Values
	body   string
}

// authServer answers every request as its answer says, and notes it.
type authServer struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []asked
	answer http.HandlerFunc
}

func newAuthServer(t *testing.T, answer http.HandlerFunc) *authServer {
	t.Helper()
	s := &authServer{answer: answer}
	s.Server = serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(body)
		form, _ := url.ParseQuery(string(body))
		s.mu.Lock()
		s.asked = append(s.asked, asked{r.URL.Path, r.Header.Clone(), form, string(body)})
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	})
	return s
}

// says makes an answer of a status, a content type and a body.
func says(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func saysJSON(body string) http.HandlerFunc { return says(200, "application/json", body) }

func (s *authServer) last(t *testing.T) asked {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		t.Fatal("nothing was asked")
	}
	return s.asked[len(s.asked)-1]
}

func (s *authServer) endpoint(auth credentials.ClientAuth) *credentials.Endpoint {
	return &credentials.Endpoint{Name: "crm", URL: s.URL + "/token", Client: s.Client(), ClientID: "me", Auth: auth}
}

// keys makes a key of each kind once.
var keys = sync.OnceValues(func() (*rsa.PrivateKey, *ecdsa.PrivateKey) {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return r, e
})

func inPEM(t *testing.T, kind string, der []byte, err error) credentials.Secret {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return credentials.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func pkcs8(t *testing.T, key any) credentials.Secret {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return inPEM(t, "PRIVATE KEY", der, err)
}

func parsed(t *testing.T, text credentials.Secret, id string) *credentials.Key {
	t.Helper()
	k, err := credentials.ParseKey(text, id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// verified checks a signature with what the standard library has and returns
// header and claims.
func verified(t *testing.T, token string, public any) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	decode := func(s string) []byte {
		data, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	sum, signature := sha256.Sum256([]byte(parts[0]+"."+parts[1])), decode(parts[2])
	ok := false
	switch p := public.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], signature) == nil
	case *ecdsa.PublicKey:
		ok = len(signature) == 64 && ecdsa.Verify(p, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	if !ok {
		t.Error("the signature does not fit")
	}
	if json.Unmarshal(decode(parts[0]), &header) != nil || json.Unmarshal(decode(parts[1]), &claims) != nil {
		t.Error("header or claims are no JSON")
	}
	return header, claims
}

func anotherKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }
