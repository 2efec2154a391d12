package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// guarded is a document whose clients have to sign in.
func guarded(lines ...string) string {
	doc := "[server.auth]\n"
	for _, l := range lines {
		doc += l + "\n"
	}
	return doc + upstream(`sandbox = "crm"`)
}

func clientsOf(field func(config.Clients) any) func(*config.Config) any {
	return func(c *config.Config) any { return field(c.Server.Auth) }
}

const (
	oidc = "type = 'oidc'\nissuer = 'https://login.example.com/tenant'\n"
	ann  = "type = 'tokens'\nusers.ann = { token = { env = 'ANN' } }\n"
)

var clientBehaviour = map[string]behaves{
	"server.public_url": {"[server]\nlisten = '0.0.0.0:8808'\npublic_url = 'https://mcp.example.com:8443'\n" + guarded(oidc),
		func(c *config.Config) any { return c.Server.Listen + " " + c.Server.PublicURL }, "0.0.0.0:8808 https://mcp.example.com:8443"},
	"server.auth.type":          {guarded(`type = "none"`), clientsOf(func(a config.Clients) any { return a.Type }), "none"},
	"server.auth.issuer":        {guarded(oidc), clientsOf(func(a config.Clients) any { return a.Issuer }), "https://login.example.com/tenant"},
	"server.auth.audience":      {guarded(oidc, `audience = "api://bulkhead"`), clientsOf(func(a config.Clients) any { return a.Audience }), "api://bulkhead"},
	"server.auth.scopes":        {guarded(oidc, `scopes = ["mcp"]`), clientsOf(func(a config.Clients) any { return a.Scopes }), []string{"mcp"}},
	"server.auth.subject":       {guarded(oidc, `subject = "email"`), clientsOf(func(a config.Clients) any { return a.Subject }), "email"},
	"server.auth.token_type":    {guarded(oidc, `token_type = "jwt"`), clientsOf(func(a config.Clients) any { return a.TokenType }), "jwt"},
	"server.auth.allow_hosts":   {guarded(oidc, `allow_hosts = ["10.1.0.0/16"]`), clientsOf(func(a config.Clients) any { return a.AllowHosts }), []string{"10.1.0.0/16"}},
	"server.auth.client_id":     {guarded(oidc, `client_id = "pages"`), clientsOf(func(a config.Clients) any { return a.ClientID }), "pages"},
	"server.auth.client_secret": {guarded(oidc, `client_id = "pages"`, `client_secret = { env = 'S' }`), clientsOf(func(a config.Clients) any { return a.ClientSecret }), &config.Ref{Env: "S"}},
	"server.auth.users.*.token": {guarded(ann), clientsOf(func(a config.Clients) any { return a.Users }), map[string]*config.User{"ann": {Token: &config.Ref{Env: "ANN"}}}},
}

var clientFaults = []faultCase{
	{"auth of clients", guarded("type = 'basic'"), []string{`server.auth.type: cannot be "basic" | one of none, oidc, tokens`}},
	{"auth of clients without type", guarded("issuer = 'https://x'"), []string{"server.auth.type: is missing"}},
	{"issuer", guarded("type = 'oidc'"), []string{`server.auth.issuer: is missing: type "oidc" needs it | issuer = "https://`}},
	{"issuer over http", guarded("type = 'oidc'", "issuer = 'http://login.example.com'"), []string{"server.auth.issuer: is plain http to another machine | use https"}},
	{"issuer with a query", guarded("type = 'oidc'", "issuer = 'https://login.example.com?tenant=1'"), []string{"server.auth.issuer: has a query | exactly"}},
	{"issuer on this machine", guarded("type = 'oidc'", "issuer = 'http://127.0.0.1:9'"), nil},
	{"users of an issuer", guarded(oidc, "users.ann.token = { env = 'A' }"), []string{`server.auth.users: does not belong to type "oidc"`}},
	{"issuer of users", guarded(ann, "issuer = 'https://x'", "scopes = ['a']"), []string{
		`server.auth.issuer: does not belong to type "tokens"`, `server.auth.scopes: does not belong to type "tokens"`}},
	{"secret of no client", guarded(oidc, "client_secret = { env = 'S' }"), []string{"server.auth.client_id: is missing: a secret belongs to a client"}},
	{"users without a client", guarded(oidc) + ownAccounts("hr"), []string{"server.auth.client_id: is missing: users of hr sign in for themselves | /connect/callback below public_url"}},
	{"users with tokens", guarded(ann) + ownAccounts("hr"), nil},
	{"users of callback", guarded(ann) + ownAccounts("callback"), []string{"upstream.callback.auth.per: cannot be for an upstream called callback | another name"}},
	{"no users", guarded("type = 'tokens'"), []string{`server.auth.users: is missing: type "tokens" needs it | [server.auth.users.ann]`}},
	{"nobody", guarded("type = 'tokens'", "users = {}"), []string{"server.auth.users: names nobody | [server.auth.users.ann]"}},
	{"users", guarded(ann, "users.'a b' = {}", "users.bob = {}", "users.eve = { token = 'sesame' }"), []string{
		`server.auth.users."a b": is no name for a user`, "server.auth.users.bob.token: is missing", "server.auth.users.eve.token: a secret must not stand in the configuration"}},
	{"listen with auth none", "[server]\nlisten = '0.0.0.0:1'\n" + guarded("type = 'none'"), []string{`server.listen: "0.0.0.0:1" can be reached from other machines | [server.auth] and public_url`}},
	{"listen without public_url", "[server]\nlisten = '0.0.0.0:1'\n" + guarded(oidc), []string{"server.public_url: is missing: \"0.0.0.0:1\" can be reached from other machines | proxy that ends TLS"}},
	{"public_url for nobody", server("public_url = 'https://mcp.example.com'"), []string{"server.public_url: has no effect | add [server.auth]"}},
	{"public_url over http", "[server]\npublic_url = 'http://mcp.example.com'\n" + guarded(ann), []string{"server.public_url: must be https | proxy"}},
	{"public_url with a path", "[server]\npublic_url = 'https://mcp.example.com/'\n" + guarded(ann), []string{"server.public_url: must be an https origin"}},
	{"public_url on this machine", "[server]\npublic_url = 'http://localhost:8808'\n" + guarded(ann), nil},
}

func TestClientsByVariables(t *testing.T) {
	cfg := mustParse(t, guarded(ann, "users.'b.b'.token = { file = '/b' }"),
		"BULKHEAD_SERVER__PUBLIC_URL=https://mcp.example.com", "BULKHEAD_SERVER__AUTH__USERS__ann__TOKEN__ENV=OTHER",
		"BULKHEAD_SERVER__AUTH__USERS__b.b__TOKEN__COMMAND=pass,show")
	want := map[string]*config.User{"ann": {Token: &config.Ref{Env: "OTHER"}}, "b.b": {Token: &config.Ref{Command: []string{"pass", "show"}}}}
	if diff := cmp.Diff(want, cfg.Server.Auth.Users); diff != "" || cfg.Server.PublicURL != "https://mcp.example.com" {
		t.Error(diff, cfg.Server.PublicURL)
	}
	if cfg := mustParse(t, upstream(`sandbox = "crm"`)); cfg.Server.Auth.Type != "none" {
		t.Errorf("%+v", cfg.Server.Auth)
	}
}

// ownAccounts is an upstream that users sign in to for themselves.
func ownAccounts(name string) string {
	return "\n[upstream." + name + "]\nurl = 'https://x.example.com/mcp'\nauth = { type = 'mcp', per = 'user' }\n"
}
