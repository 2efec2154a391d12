package mcpauth_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
)

// strangers is the internet: hosts that answer by their name, whatever the
// scheme. It notes every request, and so what was not asked.
type strangers struct {
	mu    sync.Mutex
	log   []string
	sent  []string // bodies, and what authenticates
	hosts map[string]http.Handler
}

func (n *strangers) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
		req.Body = io.NopCloser(strings.NewReader(string(body)))
	}
	n.mu.Lock()
	n.log = append(n.log, req.Method+" "+req.URL.String())
	n.sent = append(n.sent, req.URL.Host+" "+req.Header.Get("Authorization")+" "+string(body))
	handler := n.hosts[req.URL.Host]
	n.mu.Unlock()
	if handler == nil {
		return nil, fmt.Errorf("dial %s: no such host", req.URL.Host)
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

func (n *strangers) requests() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.log)
}

func (n *strangers) clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log, n.sent = nil, nil
}

func (n *strangers) set(host string, h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host] = h
}

func (n *strangers) client() *http.Client { return &http.Client{Transport: n} }

// pages answers paths with documents; other paths are not there. A document that
// is a func answers itself.
type pages map[string]any

func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch page := p[r.URL.Path].(type) {
	case nil:
		http.NotFound(w, r)
	case int:
		w.Header().Set("Location", "https://elsewhere.example/stolen")
		w.WriteHeader(page)
	case string:
		io.WriteString(w, page)
	case func(http.ResponseWriter, *http.Request):
		page(w, r)
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(page)
	}
}

type object = map[string]any

// with returns a copy of o with other members; nil takes one away.
func with(o object, more object) object {
	all := object{}
	maps.Copy(all, o)
	for k, v := range more {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	return all
}

// honest is the metadata of an issuer that does everything right.
func honest(issuer string) object {
	return object{
		"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token",
		"registration_endpoint": issuer + "/register", "code_challenge_methods_supported": []string{"S256"},
		"token_endpoint_auth_methods_supported":          []string{"none", "client_secret_basic"},
		"authorization_response_iss_parameter_supported": true,
	}
}

func protected(resource string, issuers ...string) object {
	return object{"resource": resource, "authorization_servers": issuers}
}

const (
	mcpURL   = "https://mcp.example/public/mcp"
	prmPath  = "/.well-known/oauth-protected-resource"
	asPath   = "/.well-known/oauth-authorization-server"
	oidcPath = "/.well-known/openid-configuration"
)

func options(n *strangers) mcpauth.Options {
	return mcpauth.Options{Name: "docs", Server: mcpURL, Client: n.client()}
}

// trouble returns err as a TokenError of this class, or fails.
func trouble(t *testing.T, err error, class credentials.Trouble) *credentials.TokenError {
	t.Helper()
	e, ok := err.(*credentials.TokenError) //nolint:errorlint // that is what is promised
	if !ok || e.Trouble != class || e.Name != "docs" {
		t.Fatalf("%T %v; want %v", err, err, class)
	}
	return e
}

func queryOf(t *testing.T, raw string) url.Values {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}
