package config_test

import (
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

func signIn(field func(config.Auth) any) func(*config.Config) any {
	return of(func(u config.Upstream) any { return field(u.Auth) })
}

const (
	machine = "type = 'client_credentials'\ntoken_url = 'https://login.example.com/token'\nclient_id = 'bulkhead'\nclient_secret = { env = 'S' }\n"
	person  = "type = 'authorization_code'\ntoken_url = 'https://login.example.com/token'\nauthorization_url = 'https://login.example.com/authorize'\nclient_id = 'bulkhead'\n"
	device  = "type = 'device_code'\ntoken_url = 'http://127.0.0.1:9/token'\ndevice_url = 'http://localhost:9/device'\nclient_id = 'bulkhead'\n"
	signed  = "type = 'jwt_bearer'\ntoken_url = 'https://login.example.com/token'\nissuer = 'reports@example.com'\nkey = { file = 'k.pem' }\n"
	github  = "type = 'github_app'\nclient_id = 'Iv1'\ninstallation = 42\nkey = { env = 'K' }\n"
	snow    = "type = 'snowflake'\naccount = 'org-acct'\nuser = 'REPORTS'\nkey = { env = 'K' }\n"
)

var authBehaviour = map[string]behaves{
	"upstream.*.auth.prefix":             {remote(machine, `prefix = ""`), signIn(func(a config.Auth) any { return *a.Prefix }), ""},
	"upstream.*.auth.token_url":          {remote(device), signIn(func(a config.Auth) any { return a.TokenURL }), "http://127.0.0.1:9/token"},
	"upstream.*.auth.authorization_url":  {remote(person), signIn(func(a config.Auth) any { return a.AuthorizationURL }), "https://login.example.com/authorize"},
	"upstream.*.auth.device_url":         {remote(device), signIn(func(a config.Auth) any { return a.DeviceURL }), "http://localhost:9/device"},
	"upstream.*.auth.revocation_url":     {remote(person, `revocation_url = "https://login.example.com/revoke"`), signIn(func(a config.Auth) any { return a.RevocationURL }), "https://login.example.com/revoke"},
	"upstream.*.auth.api_url":            {remote(github, `api_url = "https://github.example.com/api/v3"`), signIn(func(a config.Auth) any { return a.APIURL }), "https://github.example.com/api/v3"},
	"upstream.*.auth.issuer":             {remote(signed), signIn(func(a config.Auth) any { return a.Issuer }), "reports@example.com"},
	"upstream.*.auth.client_id":          {remote(github), signIn(func(a config.Auth) any { return a.ClientID }), "Iv1"},
	"upstream.*.auth.client_secret":      {remote(machine), signIn(func(a config.Auth) any { return [2]any{a.ClientSecret.Env, a.ClientAuth} }), [2]any{"S", "basic"}},
	"upstream.*.auth.client_auth":        {remote(machine, `client_auth = "post"`), signIn(func(a config.Auth) any { return a.ClientAuth }), "post"},
	"upstream.*.auth.key":                {remote(signed), signIn(func(a config.Auth) any { return a.Key }), &config.Ref{File: "/etc/bulkhead/k.pem"}},
	"upstream.*.auth.key_id":             {remote(signed, `key_id = "2026"`), signIn(func(a config.Auth) any { return a.KeyID }), "2026"},
	"upstream.*.auth.scopes":             {remote(machine, `scopes = ["read", "a:b/c"]`), signIn(func(a config.Auth) any { return a.Scopes }), []string{"read", "a:b/c"}},
	"upstream.*.auth.write_scopes":       {remote(machine, `write_scopes = ["write"]`), signIn(func(a config.Auth) any { return a.WriteScopes }), []string{"write"}},
	"upstream.*.auth.audience":           {remote(machine, `audience = "https://api"`), signIn(func(a config.Auth) any { return a.Audience }), "https://api"},
	"upstream.*.auth.resource":           {remote(machine, `resource = "https://api/mcp"`), signIn(func(a config.Auth) any { return a.Resource }), "https://api/mcp"},
	"upstream.*.auth.subject":            {remote(signed, `subject = "ann@example.com"`), signIn(func(a config.Auth) any { return a.Subject }), "ann@example.com"},
	"upstream.*.auth.params":             {remote(machine, `params = { tenant = "acme" }`), signIn(func(a config.Auth) any { return a.Params }), map[string]config.EnvValue{"tenant": {Literal: "acme"}}},
	"upstream.*.auth.token_request":      {remote(machine, `token_request = "json"`), signIn(func(a config.Auth) any { return a.TokenRequest }), "json"},
	"upstream.*.auth.token_member":       {remote(person, `token_member = "authed_user"`), signIn(func(a config.Auth) any { return a.TokenMember }), "authed_user"},
	"upstream.*.auth.scope_claim":        {remote(signed, `scope_claim = true`), signIn(func(a config.Auth) any { return a.ScopeClaim }), true},
	"upstream.*.auth.lifetime":           {remote(machine, `lifetime = "2h"`), signIn(func(a config.Auth) any { return a.Lifetime }), 2 * time.Hour},
	"upstream.*.auth.redirect_port":      {remote(person, `redirect_port = 8976`), signIn(func(a config.Auth) any { return a.RedirectPort }), 8976},
	"upstream.*.auth.per":                {remote(person, `per = "user"`), signIn(func(a config.Auth) any { return a.PerUser() }), true},
	"upstream.*.auth.account":            {remote(snow), signIn(func(a config.Auth) any { return a.Account }), "org-acct"},
	"upstream.*.auth.allow_hosts":        {remote("type = 'mcp'", "allow_hosts = ['login.internal:8443', '10.1.0.0/16']"), signIn(func(a config.Auth) any { return a.AllowHosts }), []string{"login.internal:8443", "10.1.0.0/16"}},
	"upstream.*.auth.installation":       {remote(github), signIn(func(a config.Auth) any { return a.Installation }), 42},
	"upstream.*.tools.override.*.scopes": {remote(machine) + "[upstream.crm.tools.override.purge]\nscopes = ['admin']", of(func(u config.Upstream) any { return u.Tools.Override["purge"].Scopes }), []string{"admin"}},
}

var authFaults = []faultCase{
	{"auth kinds", remote("type = 'oauth'"), []string{`upstream.crm.auth.type: cannot be "oauth" | one of none, bearer`}},
	{"per user without a user", remote(machine, "per = 'user'"), []string{`upstream.crm.auth.per: does not belong to type "client_credentials"`}},
	{"per user by a code", remote(device, "per = 'user'"), []string{`upstream.crm.auth.per: does not belong to type "device_code"`}},
	{"per nobody", remote(person, "per = 'session'"), []string{`upstream.crm.auth.per: cannot be "session" | one of operator, user`}},
	{"token url", remote("type = 'client_credentials'", "token_url = 'http://login.example.com/token'", "client_id = 'b'", "client_secret = { env = 'S' }"), []string{
		"upstream.crm.auth.token_url: is plain http to another machine | use https"}},
	{"token parts", remote(machine, "device_url = 'https://x/'", "account = 'x'"), []string{
		`upstream.crm.auth.account: does not belong to type "client_credentials"`, `upstream.crm.auth.device_url: does not belong`}},
	{"token needs", remote("type = 'device_code'"), []string{"upstream.crm.auth.client_id: is missing: type \"device_code\" needs it", "upstream.crm.auth.device_url: is missing", "upstream.crm.auth.token_url: is missing"}},
	{"secret inline", remote("type = 'client_credentials'", "token_url = 'https://login.example.com/token'", "client_id = 'b'", "client_secret = 'hunter2'"), []string{
		"upstream.crm.auth.client_secret: a secret must not stand in the configuration | env"}},
	{"no proof", remote("type = 'client_credentials'", "token_url = 'https://login.example.com/token'", "client_id = 'b'"), []string{
		"upstream.crm.auth: has nothing to sign in with | client_secret"}},
	{"half a client", remote(person, "client_auth = 'private_key_jwt'") + upstream2("type = 'mcp'", "client_secret = { env = 'S' }"), []string{
		`upstream.crm.auth.key: is missing: client_auth "private_key_jwt" needs it`, "upstream.two.auth.client_id: is missing: a secret belongs to a client"}},
	{"scope form", remote(machine, "scopes = ['a b']"), []string{"upstream.crm.auth.scopes[0]: must be a scope"}},
	{"tool scopes", remote("type = 'bearer'", "token = { env = 'T' }") + "[upstream.crm.tools.override.purge]\nscopes = ['admin']", []string{
		"upstream.crm.tools.override.purge.scopes: has no effect"}},
	{"allowed hosts", remote("type = 'mcp'", "allow_hosts = ['https://login.internal']"), []string{
		`upstream.crm.auth.allow_hosts[0]: "https://login.internal" is neither a host nor a network | for example`}},
	{"of the server's choice", remote("type = 'mcp'", "client_auth = 'none'", "lifetime = '1h'"), []string{
		`upstream.crm.auth.client_auth: does not belong to type "mcp"`, "upstream.crm.auth.lifetime: does not belong"}},
	{"mcp over plain http", "[upstream.crm]\nurl = 'http://mcp.internal/mcp'\nallow_http = true\nauth = { type = 'mcp' }\n", []string{
		"upstream.crm.url: plain http to another machine | use https"}},
	{"lifetime", remote(machine, "lifetime = '0s'", "redirect_port = 7"), []string{
		`upstream.crm.auth.lifetime: "0s" is out of range`, "upstream.crm.auth.redirect_port: does not belong"}},
}

func upstream2(auth ...string) string {
	text := "[upstream.two]\nurl = 'https://two.example.com/mcp'\n[upstream.two.auth]\n"
	for _, line := range auth {
		text += line + "\n"
	}
	return text
}
