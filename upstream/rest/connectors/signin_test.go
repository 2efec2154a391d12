package connectors_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

var app = vendors.Client{ID: "3MVG9.app_id", Secret: "s3cret+of/the app"}

// fragment returns what a connector says of a type of sign-in, with the values
// in their places.
func fragment(t *testing.T, name, kind string, values map[string]string) map[string]any {
	t.Helper()
	def, err := connectors.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	filled, err := def.Fill(values)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(filled.Auth, func(a rest.Auth) bool { return a.Type == kind })
	if i < 0 {
		t.Fatalf("%s has no %s", name, kind)
	}
	return filled.Auth[i].Keys
}

func texts(v any) (out []string) {
	list, _ := v.([]any)
	for _, e := range list {
		out = append(out, e.(string))
	}
	return out
}

// tokenEndpoint is the one that a fragment describes, at the stand-in.
func tokenEndpoint(t *testing.T, keys map[string]any, at string) *credentials.Endpoint {
	t.Helper()
	u, err := url.Parse(keys["token_url"].(string))
	if err != nil || u.Scheme != "https" || strings.Contains(u.Host, "{") {
		t.Fatalf("the token URL is %v", keys["token_url"])
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	e := &credentials.Endpoint{Name: "src", URL: at + u.Path, Client: &http.Client{Transport: tr}, ClientID: app.ID, Params: url.Values{},
		Auth: credentials.BasicClient(credentials.NewSecret(app.Secret)), JSON: keys["token_request"] == "json"}
	if keys["client_auth"] == "post" {
		e.Auth = credentials.PostClient(credentials.NewSecret(app.Secret))
	}
	params, _ := keys["params"].(map[string]any)
	for name, v := range params {
		e.Params.Set(name, v.(string))
	}
	return e
}

// refresher is a source of tokens, and where it is to be had once there is an
// address.
type refresher struct {
	*credentials.Refresher
	fetch func(at string) credentials.Fetch
	first credentials.Token // what a person's sign-in brought
	ttl   time.Duration
}

func (r *refresher) attach(t *testing.T) func(string) credentials.Attachment {
	return func(at string) credentials.Attachment {
		r.Refresher = credentials.NewRefresher(credentials.SourceSpec{Name: "src", ID: "src", Fetch: r.fetch(at), Store: &credentials.MemoryStore{}, TTL: r.ttl})
		t.Cleanup(func() { r.Close(context.Background()) })
		if !r.first.Refresh.IsZero() {
			if err := r.Put(t.Context(), r.first); err != nil {
				t.Fatal(err)
			}
		}
		return credentials.BearerFrom(r)
	}
}

// person is who has signed in at a stand-in before.
func person(access, refresh string) credentials.Token {
	return credentials.Token{Access: credentials.NewSecret(access), Refresh: credentials.NewSecret(refresh), Expiry: time.Now().Add(time.Hour)}
}

// crowd makes eight calls at once; all must succeed.
func (c *connected) crowd(t *testing.T, tool, args string) {
	t.Helper()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, _, err := c.tell(t.Context(), tool, args); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A person's tokens are renewed once for all who wait, by each vendor's rules;
// when the refresh token has ended too, somebody has to sign in.
func TestRefreshedTokens(t *testing.T) {
	snowflakeValues := map[string]string{"account": "a", "token_type": "OAUTH"}
	hubspotScopes := texts(fragment(t, "hubspot", "authorization_code", nil)["scopes"])
	for name, c := range map[string]issued{
		"zendesk":               issuedBy("zendesk", "list_tickets", map[string]string{"subdomain": "acme"}, vendors.NewZendesk(vendors.ZendeskOptions{Client: app}), true, "read"),
		"hubspot":               issuedBy("hubspot", "list_deals", nil, vendors.NewHubSpot(vendors.HubSpotOptions{Client: app}), false, hubspotScopes...),
		"salesforce":            issuedBy("salesforce", "list_objects", map[string]string{"domain": "acme"}, vendors.NewSalesforce(vendors.SalesforceOptions{Client: app}), false, "api", "refresh_token"),
		"salesforce, rotating":  issuedBy("salesforce", "list_objects", map[string]string{"domain": "acme"}, vendors.NewSalesforce(vendors.SalesforceOptions{Client: app, Rotate: true}), true, "api", "refresh_token"),
		"snowflake":             issuedBy("snowflake", "list_databases", snowflakeValues, vendors.NewSnowflake(vendors.SnowflakeOptions{Client: app}), false, "refresh_token", "session:role:READER"),
		"snowflake, single use": issuedBy("snowflake", "list_databases", snowflakeValues, vendors.NewSnowflake(vendors.SnowflakeOptions{Client: app, SingleUse: true}), true, "refresh_token", "session:role:READER"),
	} {
		t.Run(name, func(t *testing.T) {
			keys := fragment(t, c.name, "authorization_code", c.values)
			r := &refresher{first: person(c.tokens.SignIn(c.scopes...)), fetch: func(at string) credentials.Fetch {
				return credentials.RefreshToken(tokenEndpoint(t, keys, at), c.scopes)
			}}
			s := connect(t, c.name, c.acc, c.values, r.attach(t))
			s.crowd(t, c.tool, `{}`)
			for n := 1; n <= 2; n++ {
				c.tokens.EndAll()
				s.crowd(t, c.tool, `{}`)
				if got := c.tokens.Granted("refresh_token"); got != n {
					t.Fatalf("tokens were refreshed %d times, want %d", got, n)
				}
			}
			if c.rotates { // somebody else uses it: for us it is spent
				c.tokens.Spend()
				c.tokens.EndAll()
				_, err := s.called(t, c.tool)
				if e := upstream.AsError("", "", err); err == nil || e.Kind != upstream.NeedsLogin || e.Sent {
					t.Errorf("after a refresh that somebody else made: %v", err)
				}
			}
		})
	}
}

// issued is a stand-in whose tokens are under test.
type issued struct {
	name, tool string
	values     map[string]string
	acc        account
	tokens     *vendors.Issued
	scopes     []string
	rotates    bool
}

func issuedBy(name, tool string, values map[string]string, acc account, rotates bool, scopes ...string) issued {
	i := issued{name: name, tool: tool, values: values, acc: acc, scopes: scopes, rotates: rotates}
	switch a := acc.(type) {
	case *vendors.Zendesk:
		i.tokens = a.Issued
	case *vendors.HubSpot:
		i.tokens = a.Issued
	case *vendors.Salesforce:
		i.tokens = a.Issued
	case *vendors.Snowflake:
		i.tokens = a.Issued
	}
	return i
}

// What the client is told when its refresh token is none.
func TestRefusedRefreshes(t *testing.T) {
	for name, acc := range map[string]account{
		"zendesk": vendors.NewZendesk(vendors.ZendeskOptions{Client: app}), "hubspot": vendors.NewHubSpot(vendors.HubSpotOptions{Client: app}),
		"salesforce": vendors.NewSalesforce(vendors.SalesforceOptions{Client: app}), "snowflake": vendors.NewSnowflake(vendors.SnowflakeOptions{Client: app}),
	} {
		values := map[string]map[string]string{"zendesk": {"subdomain": "acme"}, "salesforce": {"domain": "acme"}, "snowflake": {"account": "a", "token_type": "OAUTH"}}[name]
		keys := fragment(t, name, "authorization_code", values)
		var end *credentials.Endpoint
		c := connect(t, name, acc, values, func(at string) credentials.Attachment {
			end = tokenEndpoint(t, keys, at)
			return credentials.Bearer(credentials.NewSecret("nothing"))
		})
		_, err := credentials.RefreshToken(end, nil)(t.Context(), person("ended", "never-issued"))
		if e, ok := errors.AsType[*credentials.TokenError](err); !ok || e.Trouble != credentials.NeedsLogin {
			t.Errorf("%s: a refresh token that is none: %v", name, err)
		}
		end.Auth = credentials.PostClient(credentials.NewSecret("wrong"))
		_, err = credentials.RefreshToken(end, nil)(t.Context(), person("ended", "never-issued"))
		if e, ok := errors.AsType[*credentials.TokenError](err); !ok || e.Trouble != credentials.Misconfigured {
			t.Errorf("%s: a client whose secret is wrong: %v", name, err)
		}
		if _, err := c.called(t, map[string]string{"zendesk": "list_tickets", "hubspot": "list_deals", "salesforce": "list_objects", "snowflake": "list_databases"}[name]); upstream.AsError("", "", err).Kind != upstream.NeedsLogin {
			t.Errorf("%s: a token that is none: %v", name, err)
		}
	}
}

// Bulkhead's own tokens: what they may do is what was asked for.
func TestClientCredentials(t *testing.T) {
	zen := vendors.NewZendesk(vendors.ZendeskOptions{Client: app})
	values := map[string]string{"subdomain": "acme"}
	keys := fragment(t, "zendesk", "client_credentials", values)
	for which, want := range map[string]upstream.Kind{"scopes": upstream.Denied, "write_scopes": upstream.Internal} {
		r := &refresher{fetch: func(at string) credentials.Fetch {
			return credentials.ClientCredentials(tokenEndpoint(t, keys, at), texts(keys[which]))
		}}
		c := connect(t, "zendesk", zen, values, r.attach(t))
		c.crowd(t, "list_tickets", `{}`)
		_, _, err := c.tell(t.Context(), "create_ticket", `{"subject":"s","comment":"c"}`)
		if err != nil && upstream.AsError("", "", err).Kind != want || (err == nil) != (want == upstream.Internal) {
			t.Errorf("%s: %v", which, err)
		}
		if token, err := r.Token(t.Context()); err != nil || time.Until(token.Expiry) < 119*time.Minute || time.Until(token.Expiry) > 2*time.Hour {
			t.Errorf("a token until %s, %v", token.Expiry, err)
		}
	}
	if n := zen.Granted("client_credentials"); n != 2 {
		t.Errorf("%d tokens", n)
	}

	force := vendors.NewSalesforce(vendors.SalesforceOptions{Client: app})
	values = map[string]string{"domain": "acme"}
	keys = fragment(t, "salesforce", "client_credentials", values)
	ttl, err := time.ParseDuration(keys["lifetime"].(string))
	if err != nil {
		t.Fatal(err)
	}
	r := &refresher{ttl: ttl, fetch: func(at string) credentials.Fetch {
		e := tokenEndpoint(t, keys, at)
		e.Values = []string{"instance_url"}
		return credentials.ClientCredentials(e, texts(keys["scopes"]))
	}}
	c := connect(t, "salesforce", force, values, r.attach(t))
	c.crowd(t, "list_objects", `{}`)
	force.EndAll() // the session was shorter than anybody said
	c.crowd(t, "list_objects", `{}`)
	if n := force.Granted("client_credentials"); n != 2 {
		t.Errorf("%d tokens of Salesforce", n)
	}
	if token, err := r.Token(t.Context()); err != nil || token.Values["instance_url"] != c.url {
		t.Errorf("it is good at %q, %v", token.Values["instance_url"], err)
	}
}

// Keys: Salesforce takes an assertion, Snowflake a token that we sign ourselves.
func TestSignedTokens(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})
	key, err := credentials.ParseKey(credentials.NewSecret(string(text)), "")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{"domain": "acme"}
	keys := fragment(t, "salesforce", "jwt_bearer", values)
	r := &refresher{fetch: func(at string) credentials.Fetch {
		e := tokenEndpoint(t, keys, at)
		e.ClientID, e.Auth = "", credentials.PublicClient()
		return credentials.JWTBearer(e, credentials.Assertion{Key: key, Issuer: app.ID, Subject: "bulkhead@acme.example", Audience: keys["audience"].(string)}, nil)
	}}
	force := vendors.NewSalesforce(vendors.SalesforceOptions{Client: app, Key: &private.PublicKey, User: "bulkhead@acme.example"})
	connect(t, "salesforce", force, values, r.attach(t)).crowd(t, "list_objects", `{}`)

	snow := vendors.NewSnowflake(vendors.SnowflakeOptions{Account: "MYORG-MYACCOUNT", User: "READER", Key: &private.PublicKey})
	values = map[string]string{"account": "myorg-myaccount"}
	account := fragment(t, "snowflake", "snowflake", values)["account"].(string)
	fetch, err := credentials.SnowflakeKeyPair(account, "reader", key)
	if err != nil {
		t.Fatal(err)
	}
	r = &refresher{fetch: func(string) credentials.Fetch { return fetch }}
	c := connect(t, "snowflake", snow, values, r.attach(t))
	c.crowd(t, "list_databases", `{}`)
	if h := snow.Last().Header.Get("X-Snowflake-Authorization-Token-Type"); h != "KEYPAIR_JWT" {
		t.Errorf("the kind of token is said to be %q", h)
	}
	other, _ := credentials.SnowflakeKeyPair("another", "reader", key)
	r = &refresher{fetch: func(string) credentials.Fetch { return other }}
	if _, err := connect(t, "snowflake", snow, values, r.attach(t)).called(t, "list_databases"); upstream.AsError("", "", err).Kind != upstream.NeedsLogin {
		t.Errorf("a token for another account: %v", err)
	}
}
