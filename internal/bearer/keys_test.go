package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/internal/bearer"
)

// transport answers without a network, so that time can be a test's own.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// of is the issuer in memory.
func (i *issuer) transport() transport {
	h := i.Config.Handler
	return func(r *http.Request) (*http.Response, error) {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	}
}

// timed runs a test with an issuer in memory and in a time of its own.
func timed(t *testing.T, names []string, test func(t *testing.T, i *issuer, v *bearer.JWT)) {
	t.Helper()
	i := newIssuer(t, names...)
	synctest.Test(t, func(t *testing.T) {
		v, err := bearer.NewJWT(bearer.Options{Issuer: i.URL, Client: &http.Client{Transport: i.transport()}})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		test(t, i, v)
	})
}

func TestKeysAreRotated(t *testing.T) {
	timed(t, []string{"rsa"}, func(t *testing.T, i *issuer, v *bearer.JWT) {
		token := func(key string, alg jose.SignatureAlgorithm) string {
			return sign(t, key, alg, i.claims(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}), nil)
		}
		old := token("rsa", jose.RS256)
		if _, err := ask(t, v, old); err != nil {
			t.Fatal(err)
		}
		i.have("p256", "rsa") // a second one, as is done before a change
		time.Sleep(6 * time.Second)
		if _, err := ask(t, v, token("p256", jose.ES256)); err != nil {
			t.Fatal("the new key:", err)
		}
		i.have("p256")
		time.Sleep(time.Second)
		if _, err := ask(t, v, old); err != nil {
			t.Error("a known token:", err)
		}
		// The key is withdrawn: that is known when the keys are asked for again.
		time.Sleep(11 * time.Minute)
		_, _ = ask(t, v, token("p256", jose.ES256))
		synctest.Wait()
		time.Sleep(5 * time.Minute)
		_, err := ask(t, v, old)
		refused(t, "a withdrawn key", err, inbound.InvalidToken, "does not have")
		if n := i.asked.Load(); n > 5 {
			t.Errorf("asked %d times", n)
		}
	})
}

// Tokens that name keys which do not exist do not make us ask all the time.
func TestUnknownKeysAreAskedForSeldom(t *testing.T) {
	timed(t, []string{"rsa"}, func(t *testing.T, i *issuer, v *bearer.JWT) {
		for n := range 100 {
			_, err := ask(t, v, sign(t, "p256", jose.ES256, i.claims(map[string]any{"jti": fmt.Sprint(n)}), map[jose.HeaderKey]any{"kid": fmt.Sprint(n)}))
			refused(t, "unknown key", err, inbound.InvalidToken, "does not have")
			time.Sleep(100 * time.Millisecond)
		}
		if n := i.asked.Load(); n > 3 {
			t.Errorf("asked %d times in 10 s", n)
		}
		if _, err := ask(t, v, sign(t, "rsa", jose.RS256, i.claims(nil), nil)); err != nil {
			t.Error(err)
		}
	})
}

// While the issuer is away, who was let in goes on, new keys are unknown, and
// nobody is told that a token is wrong.
func TestIssuerIsAway(t *testing.T) {
	timed(t, []string{"rsa"}, func(t *testing.T, i *issuer, v *bearer.JWT) {
		token := func() string {
			return sign(t, "rsa", jose.RS256, i.claims(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}), nil)
		}
		if _, err := ask(t, v, token()); err != nil {
			t.Fatal(err)
		}
		down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		i.serve.Store(&down)
		for range 5 {
			time.Sleep(4 * time.Hour)
			if _, err := ask(t, v, token()); err != nil {
				t.Fatal("with the keys of before:", err)
			}
			synctest.Wait()
		}
		_, err := ask(t, v, sign(t, "p256", jose.ES256, i.claims(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}), nil))
		if _, is := errors.AsType[*inbound.Refusal](err); is || err == nil || !strings.Contains(err.Error(), "HTTP status 502") {
			t.Errorf("a key that may be new: %v", err)
		}
		time.Sleep(5 * time.Hour)
		if _, err := ask(t, v, token()); err == nil {
			t.Error("keys of yesterday are good")
		}
		i.serve.Store(nil)
		time.Sleep(6 * time.Second)
		if _, err := ask(t, v, token()); err != nil {
			t.Error(err)
		}
	})
}

func TestIssuerIsOdd(t *testing.T) {
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	for name, c := range map[string]struct {
		metadata map[string]any
		keys     http.HandlerFunc
		why      string
	}{
		"huge":              {nil, write(`{"keys":["` + strings.Repeat("x", 600<<10) + `"]}`), "bytes"},
		"no JSON":           {nil, write("<html>"), "no plain JSON"},
		"no list":           {nil, write(`{"keys":{}}`), "no list"},
		"no key":            {nil, write(`{"keys":[]}`), "no public key"},
		"secret keys":       {nil, write(`{"keys":[{"kty":"oct","k":"AAAA","kid":"rsa"},{"kty":"future"},7]}`), "no public key"},
		"redirect":          {nil, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, "status 302"},
		"missing":           {nil, http.NotFound, "no such document"},
		"of somebody else":  {map[string]any{"issuer": "https://evil.example"}, nil, "another issuer"},
		"no keys anywhere":  {map[string]any{"jwks_uri": nil}, nil, "names no place"},
		"keys in a file":    {map[string]any{"jwks_uri": "file:///etc/passwd"}, nil, "names no place"},
		"keys in no scheme": {map[string]any{"jwks_uri": "//x"}, nil, "names no place"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t, "rsa")
			maps.Copy(i.metadata, c.metadata)
			if c.keys != nil {
				i.serve.Store(&c.keys)
			}
			v := i.verifier(t, bearer.Options{})
			_, err := ask(t, v, sign(t, "rsa", jose.RS256, i.claims(nil), nil))
			if _, is := errors.AsType[*inbound.Refusal](err); is || err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v", err)
			}
		})
	}
	i := newIssuer(t, "weak", "rsa")
	_, err := ask(t, i.verifier(t, bearer.Options{}), sign(t, "weak", jose.RS256, i.claims(nil), nil))
	refused(t, "a weak key", err, inbound.InvalidToken, "does not have")
}

// An issuer that does not answer holds nobody up longer than it takes to say so,
// and is asked once by however many.
func TestIssuerIsSlow(t *testing.T) {
	i := newIssuer(t, "rsa")
	release := make(chan struct{})
	slow := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	i.serve.Store(&slow)
	v := i.verifier(t, bearer.Options{})
	token := sign(t, "rsa", jose.RS256, i.claims(nil), nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			r := httptest.NewRequest(http.MethodPost, resource, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			if _, err := v.Authenticate(ctx, r, []string{resource}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for limit := time.Now().Add(time.Minute); i.asked.Load() == 0 && time.Now().Before(limit); { // it may not have got there yet
		time.Sleep(time.Millisecond)
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	v.Close() // does not wait for the issuer
	close(release)
	if _, err := ask(t, v, token); err == nil {
		t.Error("goes on after its end")
	}
}

// Expiry and audience are looked at each time, also of a token that is known.
func TestKnownTokensAreNotGoodForEver(t *testing.T) {
	timed(t, []string{"rsa"}, func(t *testing.T, i *issuer, v *bearer.JWT) {
		token := sign(t, "rsa", jose.RS256, i.claims(map[string]any{"exp": time.Now().Add(2 * time.Minute).Unix()}), nil)
		if _, err := ask(t, v, token); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, resource, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		_, err := v.Authenticate(t.Context(), r, []string{"https://elsewhere.example.com/mcp"})
		refused(t, "elsewhere", err, inbound.InvalidToken, "not for this server")
		time.Sleep(3*time.Minute - time.Second)
		if _, err := ask(t, v, token); err != nil {
			t.Error("within the leeway:", err)
		}
		time.Sleep(time.Second)
		_, err = ask(t, v, token)
		refused(t, "at the end", err, inbound.InvalidToken, "expired")
	})
}

func BenchmarkKnownToken(b *testing.B) { benchmark(b, "rsa", jose.RS256, true) }
func BenchmarkNewRS256(b *testing.B)   { benchmark(b, "rsa", jose.RS256, false) }
func BenchmarkNewES256(b *testing.B)   { benchmark(b, "p256", jose.ES256, false) }

func benchmark(b *testing.B, key string, alg jose.SignatureAlgorithm, known bool) {
	i := newIssuer(b, key)
	v := i.verifier(b, bearer.Options{})
	r := httptest.NewRequest(http.MethodPost, resource, nil)
	r.Header.Set("Authorization", "Bearer "+sign(b, key, alg, i.claims(nil), nil))
	b.ReportAllocs()
	for b.Loop() {
		if !known {
			v.Forget()
		}
		if _, err := v.Authenticate(b.Context(), r, []string{resource}); err != nil {
			b.Fatal(err)
		}
	}
}
