package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// echo are authorization servers that say whatever they were sent wherever they
// can.
var echo = map[string]func(http.ResponseWriter, string){
	"body": func(w http.ResponseWriter, sent string) { w.WriteHeader(500); _, _ = fmt.Fprint(w, sent) },
	"description": func(w http.ResponseWriter, sent string) {
		w.WriteHeader(400)
		_, _ = fmt.Fprintf(w, `{"error":"invalid_request","error_description":%q,"error_uri":%q}`, sent, sent)
	},
	"code": func(w http.ResponseWriter, sent string) {
		w.WriteHeader(400)
		_, _ = fmt.Fprintf(w, `{"error":%q}`, sent)
	},
	"canary": func(w http.ResponseWriter, _ string) {
		w.WriteHeader(400)
		_, _ = fmt.Fprint(w, `{"error":"c4nary-secret"}`)
	},
	"location": func(w http.ResponseWriter, sent string) { w.Header().Set("Location", "/?"+sent); w.WriteHeader(307) },
	"expiry": func(w http.ResponseWriter, sent string) {
		_, _ = fmt.Fprintf(w, `{"access_token":"","expires_in":%q}`, sent)
	},
	"scope": func(w http.ResponseWriter, sent string) {
		_, _ = fmt.Fprintf(w, `{"access_token":"a","scope":%q}`, sent)
	},
	"token": func(w http.ResponseWriter, sent string) { _, _ = fmt.Fprintf(w, `{"access_token":%q}`, "\n"+sent) },
	"no HTTP": func(w http.ResponseWriter, sent string) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 c4nary%s\r\n\r\n", sent)
			_ = conn.Close()
		}
	},
	"field": func(w http.ResponseWriter, sent string) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: c4nary%s\r\n\r\n", sent)
			_ = conn.Close()
		}
	},
}

// No error, report or state has a word of what was secret, however hostile the
// server and however it is printed.
func TestErrorsGiveNothingAway(t *testing.T) {
	const mark = "c4nary"
	secret := func(what string) credentials.Secret { return credentials.NewSecret(mark + "-secret-" + what) }
	_, ecKey := keys()
	for name, answer := range echo {
		s := newAuthServer(t, nil)
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			a := s.asked[len(s.asked)-1]
			s.mu.Unlock()
			answer(w, fmt.Sprint(a.body, a.header, mark))
		}
		for kind, fetch := range map[string]credentials.Fetch{
			"client":  credentials.ClientCredentials(s.endpoint(credentials.PostClient(secret("client"))), []string{"read"}),
			"basic":   credentials.ClientCredentials(s.endpoint(credentials.BasicClient(secret("client"))), []string{"read"}),
			"refresh": credentials.RefreshToken(s.endpoint(credentials.PublicClient()), []string{"read"}),
			"bearer":  credentials.JWTBearer(s.endpoint(credentials.PublicClient()), credentials.Assertion{Key: parsed(t, pkcs8(t, ecKey), ""), Issuer: "me"}, []string{"read"}),
			"swap":    credentials.TokenExchange(s.endpoint(credentials.PublicClient()), credentials.Exchange{Subject: &fixed{[]string{mark + "-secret"}}}, []string{"read"}),
		} {
			var told error
			store := newMemory()
			store.tokens["crm-1"] = credentials.Token{Refresh: secret("refresh")}
			r := source(t, credentials.SourceSpec{Fetch: fetch, Store: store, Report: func(err error) { told = errors.Join(told, err) }})
			_, err := r.Token(context.WithoutCancel(t.Context()))
			if err == nil {
				t.Errorf("%s, %s: no error", name, kind)
			}
			for what, v := range map[string]any{"error": err, "report": told, "state": r.State(), "source": r} {
				for how, text := range renderings(t, v) {
					if strings.Contains(text, mark) {
						t.Errorf("%s, %s: %s by %s: %s", name, kind, what, how, text)
					}
				}
			}
			if len(s.asked) == 0 || !strings.Contains(fmt.Sprint(s.asked[0]), mark) && kind != "bearer" && kind != "basic" {
				t.Errorf("%s, %s: the secret was not sent", name, kind)
			}
			s.asked = nil
		}
	}
}
