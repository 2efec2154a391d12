package connectors_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// keys returns the connector's table of a sign-in.
func (s *stage) keys(t *testing.T, kind string) map[string]any {
	t.Helper()
	for _, a := range s.def.Auth {
		if a.Type == kind {
			return a.Keys
		}
	}
	t.Fatalf("there is no %s", kind)
	return nil
}

// endpoint is the token endpoint as the connector describes it, at the fake.
func (s *stage) endpoint(t *testing.T, keys map[string]any) *credentials.Endpoint {
	t.Helper()
	u, err := url.Parse(strings.ReplaceAll(keys["token_url"].(string), "{shop}", "acme"))
	if err != nil || u.Scheme != "https" {
		t.Fatalf("token_url is %v", keys["token_url"])
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	e := &credentials.Endpoint{Name: "saas", URL: s.url + u.Path, Client: &http.Client{Transport: tr}, ClientID: vendors.ID, Params: url.Values{}}
	switch secret := credentials.NewSecret(vendors.Secret); keys["client_auth"] {
	case "basic":
		e.Auth = credentials.BasicClient(secret)
	case "post":
		e.Auth = credentials.PostClient(secret)
	}
	if params, ok := keys["params"].(map[string]any); ok {
		for name, v := range params {
			e.Params.Set(name, v.(string))
		}
	}
	e.JSON = keys["token_request"] == "json"
	return e
}

// signed makes the adapter anew, with the tokens that fetch gets; access, if it is
// not "", is that of a person who has signed in before.
func (s *stage) signed(t *testing.T, v saas, keys map[string]any, fetch credentials.Fetch, access string) {
	t.Helper()
	stored := &credentials.MemoryStore{}
	if access != "" {
		first := credentials.Token{Access: credentials.NewSecret(access), Refresh: credentials.NewSecret(vendors.Refresh), Expiry: time.Now().Add(time.Hour)}
		if err := stored.Save(t.Context(), "saas", first); err != nil {
			t.Fatal(err)
		}
	}
	lifetime, _ := time.ParseDuration(fmt.Sprint(keys["lifetime"]))
	source := credentials.NewRefresher(credentials.SourceSpec{Name: "saas", ID: "saas", Fetch: fetch, Store: stored, TTL: lifetime})
	attach := credentials.BearerFrom(source)
	if field, ok := keys["header"].(string); ok {
		attach = credentials.HeaderFrom(field, keys["prefix"].(string), source)
	}
	g, err := credentials.NewGrant(credentials.Spec{Name: "saas", Origins: []string{s.url}, Attach: attach})
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(func() {
		source.Close(context.Background())
		tr.CloseIdleConnections()
	})
	s.hc = g.Client(tr)
	s.a = s.adapter(t, v.values, true)
}

// TestTokensOfPersons: tokens end and are renewed by each vendor's own rules, once
// for all who wait, and what replaces a refresh token is used the next time.
func TestTokensOfPersons(t *testing.T) {
	for name, rotates := range map[string]bool{"github": true, "slack": true, "jira": true, "notion": true, "linear": true, "shopify": true, "bigquery": false} {
		t.Run(name, func(t *testing.T) {
			v := all()[name]
			s := v.open(t, name, true)
			keys := s.keys(t, "authorization_code")
			s.signed(t, v, keys, credentials.RefreshToken(s.endpoint(t, keys), nil), vendors.Ended)
			probe := v.steps[v.probe]
			many := func() {
				t.Helper()
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						if _, err := s.call(t.Context(), "c", probe.tool, probe.args); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			many()
			if n := len(s.Tokens.Asked()); n != 1 {
				t.Errorf("8 calls with a token that had ended refreshed it %d times", n)
			}
			s.Tokens.Expire()
			many()
			asked := s.Tokens.Asked()
			if len(asked) != 2 {
				t.Fatalf("it was refreshed %d times, want 2", len(asked))
			}
			if again := asked[1].Get("refresh_token") == vendors.Refresh; again == rotates {
				t.Errorf("the second refresh was with %q", asked[1].Get("refresh_token"))
			}
			s.Tokens.Revoke()
			_, err := s.call(t.Context(), "c", probe.tool, probe.args)
			if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Kind != upstream.NeedsLogin || e.Sent {
				t.Errorf("after the sign-in was taken back: %v, want needs_login", err)
			}
		})
	}
}

// TestTokenRefusedInA200: what Slack says of a token in a body counts as much as a
// 401. A write that was refused is made once more, and once only; where no token
// will do somebody has to sign in.
func TestTokenRefusedInA200(t *testing.T) {
	v := slack()
	s := v.open(t, "slack", true)
	keys := s.keys(t, "authorization_code")
	s.signed(t, v, keys, credentials.RefreshToken(s.endpoint(t, keys), nil), vendors.Ended)
	for i := range 2 {
		if _, err := s.call(t.Context(), "c", "create_message", `{"channel":"C1","text":"x"}`); err != nil {
			t.Fatal(err)
		}
		if asked, refreshed := len(s.Requests()), len(s.Tokens.Asked()); asked != 2+i || refreshed != 1 || s.Writes() != 1+i {
			t.Errorf("%d calls: %d requests, %d refreshes, %d writes", i+1, asked, refreshed, s.Writes())
		}
	}
	for range 2 {
		s.Fail("token_expired")
	}
	before := len(s.Requests())
	_, err := s.call(t.Context(), "c", "create_message", `{"channel":"C1","text":"x"}`)
	if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Kind != upstream.NeedsLogin || e.Sent || len(s.Requests()) != before+2 || len(s.Tokens.Asked()) != 2 || s.Writes() != 2 {
		t.Errorf("no token is good: %v after %d requests and %d refreshes", err, len(s.Requests())-before, len(s.Tokens.Asked()))
	}
	s.Fail("account_inactive") // which no other token helps
	if _, err = s.call(t.Context(), "c", "list_users", `{}`); upstream.AsError("", "", err).Kind != upstream.NeedsLogin || len(s.Tokens.Asked()) != 2 {
		t.Errorf("%v, %d refreshes", err, len(s.Tokens.Asked()))
	}
	s.Tokens.Revoke()
	before = len(s.Requests())
	_, err = s.call(t.Context(), "c", "list_users", `{}`)
	if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Kind != upstream.NeedsLogin || e.Sent || len(s.Requests()) != before+1 {
		t.Errorf("the sign-in was taken back: %v after %d requests", err, len(s.Requests())-before)
	}
}

// TestShopifyKeepsTheOldRefreshToken: a refresh whose answer was lost can be made
// again.
func TestShopifyKeepsTheOldRefreshToken(t *testing.T) {
	v := shopify()
	s := v.open(t, "shopify", false)
	keys := s.keys(t, "authorization_code")
	fetch := credentials.RefreshToken(s.endpoint(t, keys), nil)
	last := credentials.Token{Refresh: credentials.NewSecret(vendors.Refresh)}
	for range 2 {
		if _, err := fetch(t.Context(), last); err != nil {
			t.Fatal(err)
		}
	}
	if form := s.Tokens.Asked()[0]; form.Get("expiring") != "1" {
		t.Errorf("it asked with %v", form)
	}
	s.signed(t, v, keys, fetch, vendors.Ended)
	if _, err := s.call(t.Context(), "c", "get_shop", `{}`); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(t.Context(), last); err == nil {
		t.Error("the old refresh token is good although the new token was used")
	}
}

// TestShopifyRefusesInput: a mutation that was not taken is no success.
func TestShopifyRefusesInput(t *testing.T) {
	s := shopify().open(t, "shopify", true)
	r, err := s.call(t.Context(), "c", "update_order", `{"order":"gid://shopify/Order/2","note":"refuse"}`)
	if err != nil || !r.IsError || !strings.Contains(string(r.Raw), "it refuses this: note: Note is not allowed") {
		t.Errorf("%s, %v", r.Raw, err)
	}
}

// TestTokensOfApps: tokens of the client itself, as the connectors ask for them.
func TestTokensOfApps(t *testing.T) {
	for _, name := range []string{"jira", "linear", "shopify"} {
		t.Run(name, func(t *testing.T) {
			v := all()[name]
			s := v.open(t, name, true)
			keys := s.keys(t, "client_credentials")
			var scopes []string
			list, _ := keys["write_scopes"].([]any)
			for _, scope := range list {
				scopes = append(scopes, scope.(string))
			}
			s.signed(t, v, keys, credentials.ClientCredentials(s.endpoint(t, keys), scopes), "")
			for _, st := range v.steps[:2] {
				if _, err := s.call(t.Context(), "c", st.tool, st.args); err != nil {
					t.Error(err)
				}
			}
			s.Tokens.Expire()
			if _, err := s.call(t.Context(), "c", v.steps[1].tool, v.steps[1].args); err != nil {
				t.Error(err)
			}
			if n := len(s.Tokens.Asked()); n != 2 {
				t.Errorf("%d tokens, want 2", n)
			}
		})
	}
}

// TestServiceAccount: a token that may only read changes nothing.
func TestServiceAccount(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := credentials.ParseKey(credentials.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), "")
	if err != nil {
		t.Fatal(err)
	}
	v := bigquery()
	for _, set := range []string{"scopes", "write_scopes"} {
		s := v.open(t, "bigquery", true)
		keys := s.keys(t, "jwt_bearer")
		var scopes []string
		for _, scope := range keys[set].([]any) {
			scopes = append(scopes, scope.(string))
		}
		claim := credentials.Assertion{Key: key, Issuer: "bulkhead@acme-warehouse.iam.gserviceaccount.com", Audience: keys["audience"].(string), ScopeClaim: keys["scope_claim"] == true}
		s.signed(t, v, keys, credentials.JWTBearer(s.endpoint(t, keys), claim, scopes), "")
		if _, err := s.call(t.Context(), "c", "query_rows", `{"sql":"SELECT 1"}`); err != nil {
			t.Errorf("%s: %v", set, err)
		}
		_, err := s.call(t.Context(), "c", "update_rows", `{"sql":"DELETE FROM crm.accounts WHERE true"}`)
		if e, ok := errors.AsType[*upstream.Error](err); (set == "scopes") != (ok && e.Kind == upstream.Denied) || (set == "scopes") != (s.Writes() == 0) {
			t.Errorf("with %s: %v, %d writes", set, err, s.Writes())
		}
	}
}

// TestStripeIdempotency: an attempt again has the same key, another call another.
func TestStripeIdempotency(t *testing.T) {
	s := stripe().open(t, "stripe", true)
	for _, id := range []string{"a", "a", "b"} {
		if _, err := s.call(t.Context(), id, "create_refund", `{"payment_intent":"pi_1"}`); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]int{}
	for _, r := range s.Requests() {
		keys[r.Header.Get("Idempotency-Key")]++
	}
	if len(keys) != 2 || keys[""] != 0 || s.Writes() != 2 {
		t.Errorf("the keys are %v, and %d refunds were made", keys, s.Writes())
	}
}
