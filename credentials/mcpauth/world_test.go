package mcpauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
)

// issuer is an authorization server that does what it should, and notes what it
// was sent.
type issuer struct {
	name string
	doc  object // its metadata

	mu         sync.Mutex
	clients    int
	registered []object     // registration requests
	answer     object       // members of the answer to a registration that differ
	asked      []url.Values // token requests
	auth       []string     // their Authorization
	refuse     string       // error of token requests
	challenge  string       // of the code that was given last
	tokens     int
	revoked    []string // revocation requests
	scope      string   // granted, "" says nothing
}

func newIssuer(name string) *issuer { return &issuer{name: name, doc: honest(name)} }

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	reply := func(status int, o object) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(o)
	}
	switch r.URL.Path {
	case asPath:
		reply(200, i.doc)
	case "/register":
		var question object
		json.NewDecoder(r.Body).Decode(&question)
		i.registered = append(i.registered, question)
		i.clients++
		made := with(object{"client_id": fmt.Sprintf("client-%d-of-%s", i.clients, i.name), "redirect_uris": question["redirect_uris"]}, i.answer)
		if made["error"] != nil {
			reply(400, made)
			return
		}
		reply(201, made)
	case "/revoke":
		body, _ := io.ReadAll(r.Body)
		i.revoked = append(i.revoked, string(body))
	case "/token":
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		i.asked = append(i.asked, form)
		i.auth = append(i.auth, r.Header.Get("Authorization"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		switch {
		case i.refuse != "":
			reply(400, object{"error": i.refuse})
		case form.Get("grant_type") == "authorization_code" && base64.RawURLEncoding.EncodeToString(sum[:]) != i.challenge:
			reply(400, object{"error": "invalid_grant"})
		default:
			i.tokens++
			reply(200, with(object{
				"access_token": fmt.Sprintf("token-%d-of-%s", i.tokens, i.name), "refresh_token": fmt.Sprintf("refresh-%d-of-%s", i.tokens, i.name),
				"token_type": "Bearer", "expires_in": 3600,
			}, map[bool]object{true: {"scope": i.scope}}[i.scope != ""]))
		}
	default:
		http.NotFound(w, r)
	}
}

// browser is the way from the authorization URL back to us: what the person says
// yes to.
func (i *issuer) browser(t *testing.T, raw string) url.Values {
	t.Helper()
	if !strings.HasPrefix(raw, i.name+"/authorize?") {
		t.Fatalf("the browser goes to %s", raw)
	}
	q := queryOf(t, raw)
	if q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" {
		t.Errorf("%v", q)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.challenge = q.Get("code_challenge")
	return url.Values{"code": {"code"}, "state": {q.Get("state")}, "iss": {i.name}}
}

func (i *issuer) last() (form url.Values, auth string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.asked) == 0 {
		return nil, ""
	}
	return i.asked[len(i.asked)-1], i.auth[len(i.auth)-1]
}

// server is the MCP server: it refuses who has no token with its challenge, and
// others as need be.
type server struct {
	mu        sync.Mutex
	challenge string // "" answers everybody
	issuers   []string
	supported []string
	lacking   string // challenge of a 403
	got       string // the last Authorization that was good
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.URL.Path == prmPath+"/public/mcp":
		doc := protected(mcpURL, s.issuers...)
		if s.supported != nil {
			doc["scopes_supported"] = s.supported
		}
		json.NewEncoder(w).Encode(doc)
	case r.URL.Path != "/public/mcp":
		http.NotFound(w, r)
	case r.Header.Get("Authorization") == "" && s.challenge != "":
		w.Header().Set("WWW-Authenticate", s.challenge)
		w.WriteHeader(401)
	case r.Header.Get("Authorization") != "" && s.lacking != "":
		w.Header().Set("WWW-Authenticate", s.lacking)
		w.WriteHeader(403)
	default:
		s.got = r.Header.Get("Authorization") // an answer that repeats it would arrive blank
		io.WriteString(w, "seen")
	}
}

func (s *server) now(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// shelf is a store in memory.
type shelf struct {
	mu     sync.Mutex
	tokens map[string]credentials.Token
	broken bool
}

func (s *shelf) Load(_ context.Context, id string) (credentials.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[id]; ok {
		return t, nil
	}
	return credentials.Token{}, credentials.ErrNoToken
}

func (s *shelf) Save(_ context.Context, id string, t credentials.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return io.ErrShortWrite
	}
	if s.tokens == nil {
		s.tokens = map[string]credentials.Token{}
	}
	t.Values = maps.Clone(t.Values)
	s.tokens[id] = t
	return nil
}

func (s *shelf) Delete(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, id)
	return nil
}

func (s *shelf) Lock(context.Context, string) (func(), error) { return func() {}, nil }

// world is a server, two issuers of which it names the first, and us.
type world struct {
	*testing.T
	net    *strangers
	server *server
	one    *issuer
	other  *issuer
	shelf  *shelf
	opt    mcpauth.Options
	source *mcpauth.Source
	client *http.Client // with the token of source
}

func newWorld(t *testing.T, change func(*world)) *world {
	t.Helper()
	w := &world{T: t, one: newIssuer("https://auth.example"), other: newIssuer("https://other.example"), shelf: &shelf{}}
	w.server = &server{challenge: "Bearer", issuers: []string{w.one.name}}
	w.net = &strangers{hosts: map[string]http.Handler{"mcp.example": w.server, "auth.example": w.one, "other.example": w.other}}
	w.opt = options(w.net)
	w.opt.Store = w.shelf
	if change != nil {
		change(w)
	}
	w.restart()
	return w
}

// restart is a new process.
func (w *world) restart() {
	w.Helper()
	var err error
	if w.source, err = mcpauth.NewSource(w.opt); err != nil {
		w.Fatal(err)
	}
	grant, err := credentials.NewGrant(credentials.Spec{Name: "docs", Origins: []string{"https://mcp.example"}, Attach: credentials.BearerFrom(w.source)})
	if err != nil {
		w.Fatal(err)
	}
	w.client = grant.Client(w.source.Transport(w.net))
}

const page = "https://bulkhead.example/connect/docs"

// begin starts a signing in at i and returns it with the query that i answers.
func (w *world) begin(i *issuer) (*mcpauth.Login, url.Values) {
	w.Helper()
	l, err := w.source.Begin(w.Context(), page)
	if err != nil {
		w.Fatal(err)
	}
	return l, i.browser(w.T, l.URL)
}

// login signs in at i and returns what was asked for.
func (w *world) login(i *issuer) url.Values {
	w.Helper()
	l, back := w.begin(i)
	if err := l.Finish(w.Context(), back); err != nil {
		w.Fatal(err)
	}
	return queryOf(w.T, l.URL)
}

// call asks the server something, and returns what it answers.
func (w *world) call() (string, error) {
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, mcpURL, strings.NewReader("{}"))
	if err != nil {
		w.Fatal(err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return "", err.(*url.Error).Err //nolint:errorlint // as Do promises
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if string(body) == "seen" {
		w.server.now(func() { body = []byte(w.server.got) })
	}
	return fmt.Sprint(resp.StatusCode, " ", string(body)), err
}

func (w *world) mustCall(want string) {
	w.Helper()
	if got, err := w.call(); err != nil || got != want {
		w.Errorf("%q, %v; want %q", got, err, want)
	}
}
