package authserver

import (
	"crypto/rand"
	_ "embed"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// ask is a page that waits for a person to click.
type ask struct {
	client, redirect, state, challenge string
	scopes                             []string
	until                              time.Time
}

// code is what a client gets for a click, once.
type code struct {
	client, redirect, challenge string
	scopes                      []string
	until                       time.Time
	family                      *family // of the tokens it was exchanged for; nil before
}

// consentPage is to be formatted with a client's name, items of a list and an ask.
//
//go:embed consent.html
var consentPage string

var challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`) // RFC 7636, section 4.2, for S256

// authorize shows what a client asks for. What is wrong with the client or its
// address is told to the person; everything else to the client (RFC 6749, section
// 4.1.2.1).
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a := ask{client: q.Get("client_id"), redirect: q.Get("redirect_uri"), state: q.Get("state"), challenge: q.Get("code_challenge"), until: time.Now().Add(10 * codeLifetime)}
	c, known := s.opt.Clients[a.client]
	if !known || !loopback(a.redirect) {
		http.Error(w, "unknown client, or an address to return to that is not on this machine", http.StatusBadRequest)
		return
	}
	var no *refusal
	if a.scopes, no = scopes(q, s.opt.Scopes); no == nil {
		switch {
		case q.Get("response_type") != "code":
			no = &refusal{code: "unsupported_response_type"}
		case q.Get("code_challenge_method") != "S256" || !challengeForm.MatchString(a.challenge):
			no = &refusal{code: "invalid_request", why: "a code challenge with S256 is needed"}
		case q.Get("resource") != "" && q.Get("resource") != s.opt.Resource:
			no = &refusal{code: "invalid_target"}
		}
	}
	if no != nil {
		s.back(w, r, a, url.Values{"error": {no.code}, "error_description": {no.why}})
		return
	}
	id := rand.Text()
	s.mu.Lock()
	s.tidy()
	s.asks[id] = a
	s.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	var items strings.Builder
	for _, scope := range a.scopes {
		items.WriteString("<li><code>" + html.EscapeString(scope) + "</code></li>")
	}
	_, _ = fmt.Fprintf(w, consentPage, html.EscapeString(c.Name), items.String(), id) // whoever asked may have gone
}

// loopback holds RFC 8252, section 7.3: an address on this machine, any port.
func loopback(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.Fragment != "" || u.User != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}

// decide is the click.
func (s *Server) decide(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the body is no form", http.StatusBadRequest)
		return
	}
	id := r.PostForm.Get("id")
	s.mu.Lock()
	a, ok := s.asks[id]
	delete(s.asks, id)
	s.mu.Unlock()
	switch {
	case !ok || time.Now().After(a.until):
		http.Error(w, "this page has expired; begin again", http.StatusBadRequest)
	case r.PostForm.Get("answer") != "allow":
		s.back(w, r, a, url.Values{"error": {"access_denied"}})
	default:
		secret := rand.Text()
		s.mu.Lock()
		s.codes[hashed(secret)] = code{client: a.client, redirect: a.redirect, challenge: a.challenge, scopes: a.scopes, until: time.Now().Add(codeLifetime)}
		s.mu.Unlock()
		s.back(w, r, a, url.Values{"code": {secret}})
	}
}

// back returns to the client, with who we are (RFC 9207).
func (s *Server) back(w http.ResponseWriter, r *http.Request, a ask, with url.Values) {
	with.Set("iss", s.opt.Issuer)
	if a.state != "" {
		with.Set("state", a.state)
	}
	join := "?"
	if strings.Contains(a.redirect, "?") {
		join = "&"
	}
	http.Redirect(w, r, a.redirect+join+with.Encode(), http.StatusSeeOther)
}
