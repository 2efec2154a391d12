package authserver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// refusal is an OAuth error (RFC 6749, section 5.2).
type refusal struct{ code, why string }

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	id, no := s.client(w, r)
	if no != nil {
		refuse(w, no)
		return
	}
	if to := r.PostForm.Get("resource"); to != "" && to != s.opt.Resource {
		refuse(w, &refusal{"invalid_target", "tokens are for " + s.opt.Resource}) // RFC 8707, section 2
		return
	}
	var out map[string]any
	switch r.PostForm.Get("grant_type") {
	case "client_credentials":
		out, no = s.ownToken(id, r.PostForm)
	case "authorization_code":
		out, no = s.exchange(id, r.PostForm)
	case "refresh_token":
		out, no = s.renew(id, r.PostForm)
	default:
		no = &refusal{"unsupported_grant_type", "this grant type is not served"}
	}
	if no != nil {
		refuse(w, no)
		return
	}
	answer(w, http.StatusOK, out)
}

func refuse(w http.ResponseWriter, no *refusal) {
	status := http.StatusBadRequest
	if no.code == "invalid_client" {
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Basic realm="sandbox"`)
	}
	answer(w, status, map[string]string{"error": no.code, "error_description": no.why})
}

// client reads the form and finds out who asks: by the Authorization field or by
// the form, and not by both (RFC 6749, section 2.3).
func (s *Server) client(w http.ResponseWriter, r *http.Request) (string, *refusal) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return "", &refusal{"invalid_request", "the body is no form"}
	}
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		if secret != "" {
			return "", &refusal{"invalid_request", "the client authenticates in two ways"}
		}
		var err1, err2 error
		id, err1 = url.QueryUnescape(user) // section 2.3.1
		secret, err2 = url.QueryUnescape(password)
		if err1 != nil || err2 != nil {
			return "", &refusal{"invalid_client", "the credentials are not form-encoded"}
		}
	}
	c, ok := s.opt.Clients[id]
	if !ok || !same(c.Secret, secret) {
		return "", &refusal{"invalid_client", "unknown client or wrong secret"}
	}
	return id, nil
}

// scopes reads the scopes that are asked for; none is all there are in most.
func scopes(form url.Values, most []string) ([]string, *refusal) {
	asked := strings.Fields(form.Get("scope"))
	if len(asked) == 0 {
		return most, nil
	}
	for _, name := range asked {
		if !slices.Contains(most, name) {
			return nil, &refusal{"invalid_scope", "only these can be had: " + strings.Join(most, " ")}
		}
	}
	return asked, nil
}

func (s *Server) ownToken(id string, form url.Values) (map[string]any, *refusal) {
	if s.opt.Clients[id].Secret == "" {
		return nil, &refusal{"unauthorized_client", "a public client cannot sign in for itself"}
	}
	granted, no := scopes(form, s.opt.Scopes)
	if no != nil {
		return nil, no
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// No refresh token: the client can ask again (RFC 6749, section 4.4.3).
	return s.issue(s.found(id, granted, s.opt.Lifetime), granted, false), nil
}

func (s *Server) exchange(id string, form url.Values) (map[string]any, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := hashed(form.Get("code"))
	c, ok := s.codes[key]
	if !ok || c.client != id || time.Now().After(c.until) || c.redirect != form.Get("redirect_uri") {
		return nil, &refusal{"invalid_grant", "the code is unknown, used, expired or another's"}
	}
	if c.family != nil { // used before: what it gave is worth nothing either
		c.family.ended = true
		return nil, &refusal{"invalid_grant", "the code has been used"}
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	if !same(c.challenge, base64.RawURLEncoding.EncodeToString(sum[:])) {
		delete(s.codes, key)
		return nil, &refusal{"invalid_grant", "the code verifier does not fit"}
	}
	c.family = s.found(id, c.scopes, refreshLifetime)
	s.codes[key] = c
	return s.issue(c.family, c.scopes, true), nil
}

func (s *Server) renew(id string, form url.Values) (map[string]any, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := hashed(form.Get("refresh_token"))
	r, ok := s.refresh[key]
	if !ok || r.family.client != id || r.family.ended || time.Now().After(r.family.until) {
		return nil, &refusal{"invalid_grant", "the refresh token is not valid"}
	}
	if r.used {
		r.family.ended = true // somebody else has it too
		return nil, &refusal{"invalid_grant", "the refresh token has been used; all tokens of this sign-in are revoked"}
	}
	granted, no := scopes(form, r.family.scopes)
	if no != nil {
		return nil, no
	}
	r.used = true
	s.refresh[key] = r
	return s.issue(r.family, granted, true), nil
}

// found begins a family. s.mu is held.
func (s *Server) found(client string, granted []string, lifetime time.Duration) *family {
	s.tidy()
	f := &family{client: client, scopes: granted, until: time.Now().Add(lifetime)}
	s.families[rand.Text()] = f
	return f
}

// issue makes tokens of a family. s.mu is held.
func (s *Server) issue(f *family, granted []string, renewable bool) map[string]any {
	token := rand.Text() + rand.Text()
	s.access[hashed(token)] = access{f, granted, time.Now().Add(s.opt.Lifetime)}
	s.issued++
	out := map[string]any{
		"access_token": token, "token_type": "Bearer",
		"expires_in": int(s.opt.Lifetime.Seconds()), "scope": strings.Join(granted, " "),
	}
	if renewable {
		refresh := rand.Text() + rand.Text()
		s.refresh[hashed(refresh)] = renewal{family: f}
		out["refresh_token"] = refresh
	}
	return out
}

// tidy drops what is over, and everything if somebody asks for ever more. s.mu
// is held.
func (s *Server) tidy() {
	now := time.Now()
	over := func(f *family) bool { return f.ended || now.After(f.until) }
	maps.DeleteFunc(s.families, func(_ string, f *family) bool { return over(f) })
	maps.DeleteFunc(s.access, func(_ [32]byte, a access) bool { return over(a.family) || now.After(a.until) })
	maps.DeleteFunc(s.refresh, func(_ [32]byte, r renewal) bool { return over(r.family) })
	maps.DeleteFunc(s.codes, func(_ [32]byte, c code) bool { return now.After(c.until) })
	maps.DeleteFunc(s.asks, func(_ string, a ask) bool { return now.After(a.until) })
	if len(s.asks)+len(s.codes) >= maxGrants {
		clear(s.asks)
		clear(s.codes)
	}
	if len(s.families) >= maxGrants {
		for _, f := range s.families {
			f.ended = true
		}
		clear(s.families)
		clear(s.access)
		clear(s.refresh)
	}
}

// revoke ends the sign-in that a token comes of. It says nothing of tokens that
// it does not know (RFC 7009, section 2.2).
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	id, no := s.client(w, r)
	if no != nil {
		refuse(w, no)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := hashed(r.PostForm.Get("token"))
	for _, f := range []*family{s.access[key].family, s.refresh[key].family} {
		if f != nil && f.client == id {
			f.ended = true
		}
	}
	w.WriteHeader(http.StatusOK)
}
