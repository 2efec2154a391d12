// Package authserver is the authorization server of the sample sources: small,
// kept in memory, and as strict as a real one, so that signing in can be tried
// and tested without an account anywhere.
//
// Job: client credentials, authorization code with PKCE, and refresh tokens that
// rotate (RFC 6749, RFC 7636, RFC 9700), its metadata (RFC 8414) and that of the
// resource it guards (RFC 9728), revocation (RFC 7009), and a guard that lets
// nobody through without a token of the right scope.
//
// It owns codes and tokens, which are gone with it. It must not know what it
// guards; it imports no package of ours.
package authserver

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultLifetime is how long an access token is good.
const DefaultLifetime = 2 * time.Minute

const (
	codeLifetime    = time.Minute // RFC 6749, section 4.1.2, allows ten
	refreshLifetime = 24 * time.Hour
	maxGrants       = 10_000 // codes and families of tokens that are kept
)

// Options describe a server. Issuer and Resource are addresses without a slash at
// the end.
type Options struct {
	Issuer   string // its own address
	Resource string // what it guards; tokens are good for nothing else
	Scopes   []string
	Clients  map[string]Client // by id
	Lifetime time.Duration     // of access tokens; 0 is [DefaultLifetime]
}

// Client may ask for tokens.
type Client struct {
	Secret string // "" for a public client, which proves itself by PKCE only
	Name   string // for the page that asks for consent
}

// Server is an authorization server. It is safe for concurrent use.
type Server struct {
	opt Options
	mux *http.ServeMux

	mu       sync.Mutex
	families map[string]*family  // by id
	access   map[[32]byte]access // by hash of the token
	refresh  map[[32]byte]renewal
	codes    map[[32]byte]code
	asks     map[string]ask // pages that wait for a click, by id
	issued   int
}

// family is all tokens that come of one consent or one sign-in of a client. A
// refresh token that is used twice ends it (RFC 9700, section 4.14.2).
type family struct {
	client string
	scopes []string
	ended  bool
	until  time.Time
}

type access struct {
	family *family
	scopes []string
	until  time.Time
}

type renewal struct {
	family *family
	used   bool
}

// New returns a server.
func New(opt Options) *Server {
	if opt.Lifetime <= 0 {
		opt.Lifetime = DefaultLifetime
	}
	s := &Server{
		opt: opt, mux: http.NewServeMux(), families: map[string]*family{}, access: map[[32]byte]access{},
		refresh: map[[32]byte]renewal{}, codes: map[[32]byte]code{}, asks: map[string]ask{},
	}
	s.mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.metadata)
	s.mux.HandleFunc("GET /.well-known/oauth-protected-resource", s.resource)
	s.mux.HandleFunc("GET /.well-known/oauth-protected-resource/", s.resource)
	s.mux.HandleFunc("GET /authorize", s.authorize)
	s.mux.HandleFunc("POST /authorize", s.decide)
	s.mux.HandleFunc("POST /token", s.token)
	s.mux.HandleFunc("POST /revoke", s.revoke)
	return s
}

// ServeHTTP serves the endpoints.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Issued returns how many access tokens have been given out.
func (s *Server) Issued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer":                                         s.opt.Issuer,
		"authorization_endpoint":                         s.opt.Issuer + "/authorize",
		"token_endpoint":                                 s.opt.Issuer + "/token",
		"revocation_endpoint":                            s.opt.Issuer + "/revoke",
		"response_types_supported":                       []string{"code"},
		"grant_types_supported":                          []string{"authorization_code", "client_credentials", "refresh_token"},
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post", "none"},
		"scopes_supported":                               s.opt.Scopes,
		"authorization_response_iss_parameter_supported": true,
	})
}

func (s *Server) resource(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"resource":                 s.opt.Resource,
		"authorization_servers":    []string{s.opt.Issuer},
		"scopes_supported":         s.opt.Scopes,
		"bearer_methods_supported": []string{"header"},
	})
}

// Guard lets requests through to next that carry a token with the scope that
// need names for them; what lacks one is told where to get it (RFC 6750, section
// 3; RFC 9728, section 5.1).
func (s *Server) Guard(next http.Handler, need func(*http.Request) (scope string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope := need(r)
		challenge := `Bearer resource_metadata="` + s.opt.Issuer + `/.well-known/oauth-protected-resource"`
		token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !found {
			w.Header().Set("WWW-Authenticate", challenge+`, scope="`+scope+`"`)
			http.Error(w, "a token is needed", http.StatusUnauthorized)
			return
		}
		scopes, good := s.good(token)
		switch {
		case !good:
			w.Header().Set("WWW-Authenticate", challenge+`, error="invalid_token"`)
			http.Error(w, "the token is not valid", http.StatusUnauthorized)
		case !slices.Contains(scopes, scope):
			w.Header().Set("WWW-Authenticate", challenge+`, error="insufficient_scope", scope="`+scope+`"`)
			http.Error(w, "the token does not allow this", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// good returns the scopes of an access token, and whether it is valid now.
func (s *Server) good(token string) ([]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.access[hashed(token)]
	return a.scopes, ok && !a.family.ended && time.Now().Before(a.until)
}

func hashed(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func same(a, b string) bool {
	x, y := hashed(a), hashed(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // RFC 6749, section 5.1
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked has gone
}
