package bearer_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/internal/bearer"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

func TestMain(m *testing.M) {
	egress.Poison()
	goleak.VerifyTestMain(m)
}

const resource = "https://mcp.example.com/mcp"

// signers are keys of every kind; making them takes a while.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	made := map[string]crypto.Signer{}
	for name, bits := range map[string]int{"rsa": 2048, "other": 2048, "weak": 1024} {
		made[name], _ = rsa.GenerateKey(rand.Reader, bits)
	}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		made[name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	_, made["ed"], _ = ed25519.GenerateKey(rand.Reader)
	return made
})

// issuer is an authorization server of which only the keys are there.
type issuer struct {
	*httptest.Server
	asked    atomic.Int32 // for keys
	metadata map[string]any
	serve    atomic.Pointer[http.HandlerFunc] // instead of the keys
	mu       sync.Mutex
	set      []any // the keys
}

func newIssuer(t testing.TB, names ...string) *issuer {
	t.Helper()
	i := &issuer{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(i.metadata)
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		if h := i.serve.Load(); h != nil {
			(*h)(w, r)
			return
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.set})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	i.metadata = map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/jwks"}
	i.have(names...)
	return i
}

// have makes these its keys; each has its name for an id.
func (i *issuer) have(names ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.set = nil
	for _, name := range names {
		i.set = append(i.set, jose.JSONWebKey{Key: signers()[name].Public(), KeyID: name, Use: "sig"})
	}
}

func (i *issuer) verifier(t testing.TB, opt bearer.Options) *bearer.JWT {
	t.Helper()
	opt.Issuer = i.URL
	opt.Client = &http.Client{Transport: &http.Transport{}}
	v, err := bearer.NewJWT(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// claims are those of a good token, with changes; nil takes one away.
func (i *issuer) claims(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{"iss": i.URL, "sub": "ann", "aud": resource, "iat": now, "exp": now + 600, "client_id": "c", "jti": "1"}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// sign makes a token; the header is that of a good one, with changes.
func sign(t testing.TB, name string, alg jose.SignatureAlgorithm, claims any, header map[jose.HeaderKey]any) string {
	t.Helper()
	opt := (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", name)
	for k, v := range header {
		if opt.ExtraHeaders[k] = v; v == nil {
			delete(opt.ExtraHeaders, k)
		}
	}
	var key any = signers()[name]
	if b, ok := header["secret"].([]byte); ok {
		key = b
		delete(opt.ExtraHeaders, "secret")
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opt)
	if err != nil {
		t.Fatal(err)
	}
	text, ok := claims.([]byte)
	if !ok {
		if text, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
	}
	jws, err := s.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// ask has a request with a token authenticated.
func ask(t testing.TB, v interface {
	Authenticate(ctx ctx, r *http.Request, resources []string) (inbound.Caller, error)
}, token string) (inbound.Caller, error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, resource, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return v.Authenticate(t.Context(), r, []string{"https://mcp.example.com", resource})
}
