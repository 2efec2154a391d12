package vendors

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// ID and Secret are the client that every vendor's token endpoint knows, Token
// is a token that never ends, Ended one that has, and Refresh one with which a
// person's signing in begins.
const (
	ID      = "vendor-client"
	Secret  = "vendor-client-secret" //nolint:gosec // of a client that exists nowhere
	Token   = "static-token-of-the-fake"
	Ended   = "token-that-has-ended"
	Refresh = "first-refresh-token"
)

// Tokens is a vendor's token endpoint, with the vendor's own rules. The zero
// value takes Basic and form, gives tokens for an hour and rotates nothing.
type Tokens struct {
	mu      sync.Mutex
	live    map[string]bool  // access tokens, and whether they are still good
	refresh map[string]grant // refresh tokens that are good
	fails   []Answer
	asked   []url.Values
	codes   map[string]url.Values // of people who have agreed, with what was asked for them

	proof    string // "basic", "post" or "either"
	json     bool   // it wants JSON, no form
	ttl      int    // seconds; 0 gives tokens without an end
	rotates  bool   // a refresh token is good once
	kills    bool   // a refresh ends the access token before
	lingers  bool   // the refresh token before stays good until the new access token is used
	grants   []string
	refusal  func(code string) Answer
	response func(access, refresh string, ttl int, form url.Values) any
}

// grant is one person's consent.
type grant struct{ access string }

// Good reports whether an access token is.
func (t *Tokens) Good(access string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if access == Token {
		return true
	}
	if t.lingers && t.live[access] {
		for r, g := range t.refresh {
			if g.access != access {
				delete(t.refresh, r) // the new one is in use
			}
		}
	}
	return t.live[access]
}

// Expire ends all access tokens at once.
func (t *Tokens) Expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for access := range t.live {
		t.live[access] = false
	}
}

// ended reports whether an access token was good once.
func (t *Tokens) ended(access string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	good, known := t.live[access]
	return known && !good
}

// Revoke ends the refresh tokens too.
func (t *Tokens) Revoke() {
	t.Expire()
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.refresh)
}

// Fail lets the next request be answered so.
func (t *Tokens) Fail(a Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fails = append(t.fails, a)
}

// Asked returns the parameters of the requests so far.
func (t *Tokens) Asked() []url.Values {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]url.Values(nil), t.asked...)
}

// endpoint makes s answer requests for tokens at a path, by rules.
func (s *Server) endpoint(path string, rules *Tokens) {
	rules.live, rules.refresh, rules.codes = map[string]bool{Ended: false}, map[string]grant{Refresh: {}}, map[string]url.Values{}
	if rules.refusal == nil {
		rules.refusal = func(code string) Answer {
			status := http.StatusBadRequest
			if code == "invalid_client" {
				status = http.StatusUnauthorized
			}
			return Answer{Status: status, Body: object{"error": code, "error_description": "the request was refused"}}
		}
	}
	if rules.response == nil {
		rules.response = func(access, refresh string, ttl int, _ url.Values) any {
			m := object{"access_token": access, "token_type": "Bearer", "expires_in": ttl}
			if refresh != "" {
				m["refresh_token"] = refresh
			}
			return m
		}
	}
	s.Tokens = rules
	s.mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { rules.answer(r).send(w) })
}

// consent makes s answer at a path to browsers: everybody agrees to everything.
func (s *Server) consent(path string) {
	s.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		back, err := url.Parse(q.Get("redirect_uri"))
		if q.Get("response_type") != "code" || q.Get("client_id") != ID || q.Get("state") == "" || err != nil || back.Hostname() != "127.0.0.1" && back.Hostname() != "localhost" {
			http.Error(w, "this request is not understood", http.StatusBadRequest)
			return
		}
		code := "code-" + rand.Text()
		s.Tokens.mu.Lock()
		s.Tokens.codes[code] = q
		s.Tokens.mu.Unlock()
		back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
		http.Redirect(w, r, back.String(), http.StatusFound) //nolint:gosec // to this machine, as was checked
	})
}

func (t *Tokens) answer(r *http.Request) Answer {
	form, ok := t.form(r)
	if !ok {
		return t.refusal("invalid_request")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = append(t.asked, form)
	if len(t.fails) > 0 {
		a := t.fails[0]
		t.fails = t.fails[1:]
		return a
	}
	kind := form.Get("grant_type")
	if !strings.HasSuffix(kind, "jwt-bearer") && !t.proven(r, form) { // there the assertion is the proof
		return t.refusal("invalid_client")
	}
	if !slices.Contains(t.grants, kind) {
		return t.refusal("unsupported_grant_type")
	}
	switch kind {
	case "refresh_token":
		before, known := t.refresh[form.Get("refresh_token")]
		if !known {
			return t.refusal("invalid_grant")
		}
		if t.kills {
			t.live[before.access] = false
		}
		return Answer{Body: t.renew(form)}
	case "authorization_code":
		agreed, known := t.codes[form.Get("code")]
		delete(t.codes, form.Get("code"))
		if !known || agreed.Get("redirect_uri") != form.Get("redirect_uri") {
			return t.refusal("invalid_grant")
		}
		return Answer{Body: t.renew(form)}
	}
	body := t.response(t.issue(), "", t.ttl, form)
	if m, ok := body.(object); ok && m["error"] != nil {
		return Answer{Status: http.StatusBadRequest, Body: body}
	}
	return Answer{Body: body}
}

// renew gives an access token and, where they rotate, a refresh token. t.mu is
// held.
func (t *Tokens) renew(form url.Values) any {
	access, old := t.issue(), form.Get("refresh_token")
	if old != "" && !t.rotates {
		t.refresh[old] = grant{access}
		return t.response(access, "", t.ttl, form)
	}
	next := "refresh-" + rand.Text()
	t.refresh[next] = grant{access}
	if !t.lingers {
		delete(t.refresh, old)
	}
	return t.response(access, next, t.ttl, form)
}

func (t *Tokens) issue() string {
	access := "access-" + rand.Text()
	t.live[access] = true
	return access
}

// form reads the parameters, in the form that the vendor wants.
func (t *Tokens) form(r *http.Request) (url.Values, bool) {
	data, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		return nil, false
	}
	kind := r.Header.Get("Content-Type")
	if t.json != strings.HasPrefix(kind, "application/json") {
		return nil, false
	}
	if !t.json {
		form, err := url.ParseQuery(string(data))
		return form, err == nil
	}
	var members map[string]any
	if json.Unmarshal(data, &members) != nil {
		return nil, false
	}
	form := url.Values{}
	for name, v := range members {
		form.Set(name, fmt.Sprint(v))
	}
	return form, true
}

func (t *Tokens) proven(r *http.Request, form url.Values) bool {
	id, secret, basic := r.BasicAuth()
	if basic && t.proof != "post" {
		return id == ID && secret == Secret
	}
	return t.proof != "basic" && form.Get("client_id") == ID && form.Get("client_secret") == Secret
}
