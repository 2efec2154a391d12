package config

import (
	"slices"
	"time"
)

var (
	wordForm   = newForm(`^[^\x00-\x1f\x7f]{1,1000}$`)
	prefixText = newForm(`^[ -~]{0,20}$`)
)

// authNames are the types of sign-in in the order of the reference page.
var authNames = []string{"none", "bearer", "header", "basic", "client_credentials", "authorization_code", "device_code",
	"jwt_bearer", "token_exchange", "snowflake", "github_app", "mcp"}

// authType says which keys a type of sign-in needs and which it may have; it
// takes no others.
type authType struct{ needs, may []string }

var (
	clientKeys = []string{"client_secret", "client_auth", "key", "key_id"}
	tokenKeys  = []string{"header", "prefix", "scopes", "write_scopes", "audience", "resource", "params", "token_request", "lifetime"}
	personKeys = []string{"revocation_url", "issuer"}
)

var authTypes = map[string]authType{
	"none":               {},
	"bearer":             {needs: []string{"token"}},
	"header":             {needs: []string{"header", "value"}},
	"basic":              {needs: []string{"user", "password"}},
	"client_credentials": {[]string{"token_url", "client_id"}, slices.Concat(clientKeys, tokenKeys)},
	"authorization_code": {[]string{"authorization_url", "token_url", "client_id"}, slices.Concat(clientKeys, tokenKeys, personKeys, []string{"device_url", "redirect_port", "per", "token_member"})},
	"device_code":        {[]string{"device_url", "token_url", "client_id"}, slices.Concat(clientKeys, tokenKeys, personKeys)},
	"jwt_bearer":         {[]string{"token_url", "issuer", "key"}, slices.Concat(tokenKeys, []string{"client_id", "client_secret", "client_auth", "key_id", "subject", "scope_claim"})},
	"token_exchange":     {[]string{"token_url", "token"}, slices.Concat([]string{"client_id"}, clientKeys, tokenKeys)},
	"snowflake":          {[]string{"account", "user", "key"}, []string{"key_id", "header", "prefix"}},
	"github_app":         {[]string{"client_id", "installation", "key"}, []string{"api_url", "header", "prefix", "scopes", "write_scopes"}},
	"mcp":                {nil, []string{"client_id", "client_secret", "issuer", "scopes", "write_scopes", "resource", "redirect_port", "allow_hosts", "per"}},
}

var authKeys = []key{
	{name: "type", kind: text, example: "bearer", required: true, enum: authNames,
		doc:   "`bearer` sends `token` as `Authorization: Bearer`, `header` sends `value` in the field `header`, `basic` sends `user` and `password` as `Authorization: Basic`. The others get tokens: `client_credentials` for Bulkhead itself; `authorization_code` and `device_code` for a person, who signs in once with `bulkhead login`; `jwt_bearer` for a signed assertion; `token_exchange` for another token; `snowflake` and `github_app` as these vendors have it; `mcp` finds everything out from an MCP server that asks for a sign-in.",
		field: func(t target) any { return &t.upstream.Auth.Type }},
	{name: "per", kind: text, example: "user", enum: []string{"operator", "user"},
		doc:   "Whose sign-in calls are made with: with `operator`, which it is where it is left out, that of whoever ran `bulkhead login`, for everybody; with `user` each user's own, who connects on a page of Bulkhead's (`/connect/NAME`) that a call without a sign-in leads to. Over standard input and output, and where clients do not sign in (`server.auth`), it is the operator's either way. With types `authorization_code` and `mcp`, for sources over HTTP of every kind.",
		field: func(t target) any { return &t.upstream.Auth.Per }},
	{name: "token", kind: secret, example: map[string]any{"env": "CRM_TOKEN"},
		doc:   "The token. With type `bearer`; with `token_exchange` it is the one that is exchanged.",
		field: func(t target) any { return &t.upstream.Auth.Token }},
	{name: "header", kind: text, example: "X-Api-Key", pattern: fieldForm, expect: "the name of an HTTP header field", check: checkField,
		doc:   "Name of the header field that carries the credential. Type `header` needs it; types that get tokens send them as `Authorization` where it is left out.",
		field: func(t target) any { return &t.upstream.Auth.Header }},
	{name: "prefix", kind: optional, example: "", pattern: prefixText, expect: "at most 20 printable characters",
		doc:   "What stands before a token in its header field. Left out it is `Bearer ` with the space. With types that get tokens only.",
		field: func(t target) any { return &t.upstream.Auth.Prefix }},
	{name: "value", kind: secret, example: map[string]any{"keyring": "bulkhead/crm"},
		doc:   "Value of the header field. With type `header`.",
		field: func(t target) any { return &t.upstream.Auth.Value }},
	{name: "user", kind: text, example: "reports", pattern: userForm, expect: "a user name without a colon",
		doc:   "User name. With types `basic` and `snowflake`.",
		field: func(t target) any { return &t.upstream.Auth.User }},
	{name: "password", kind: secret, example: map[string]any{"command": []any{"op", "read", "op://vault/crm/password"}},
		doc:   "Password. With type `basic`.",
		field: func(t target) any { return &t.upstream.Auth.Password }},
	endpointKey("token_url", "https://login.example.com/oauth/token",
		"Where tokens are had (RFC 6749, section 3.2). No redirect is followed from there.",
		func(t target) any { return &t.upstream.Auth.TokenURL }),
	endpointKey("authorization_url", "https://login.example.com/oauth/authorize",
		"Where a person's browser is sent (RFC 6749, section 3.1). With type `authorization_code`.",
		func(t target) any { return &t.upstream.Auth.AuthorizationURL }),
	endpointKey("device_url", "https://login.example.com/oauth/device",
		"Where a code for a person is had (RFC 8628). Type `device_code` needs it; with `authorization_code` it makes `bulkhead login --device` possible.",
		func(t target) any { return &t.upstream.Auth.DeviceURL }),
	endpointKey("revocation_url", "https://login.example.com/oauth/revoke",
		"Where `bulkhead logout` gives tokens back (RFC 7009). Left out they are only forgotten.",
		func(t target) any { return &t.upstream.Auth.RevocationURL }),
	endpointKey("api_url", "https://github.example.com/api/v3",
		"The API of a GitHub of one's own. With type `github_app`; left out it is `https://api.github.com`.",
		func(t target) any { return &t.upstream.Auth.APIURL }),
	wordKey("issuer", "https://login.example.com",
		"The authorization server's own name: an answer that comes back to a browser sign-in must bear it (RFC 9207), and type `mcp` uses no other. With `jwt_bearer` it is who the assertion is from, such as the address of a service account.",
		func(t target) any { return &t.upstream.Auth.Issuer }),
	wordKey("client_id", "bulkhead",
		"Who we are at the authorization server; with `github_app` the app. With type `mcp` it may be the https address of a client metadata document; left out, Bulkhead registers itself where the server allows that.",
		func(t target) any { return &t.upstream.Auth.ClientID }),
	{name: "client_secret", kind: secret, example: map[string]any{"env": "CRM_CLIENT_SECRET"},
		doc:   "The secret of that client.",
		field: func(t target) any { return &t.upstream.Auth.ClientSecret }},
	{name: "client_auth", kind: text, example: "post", enum: []string{"basic", "post", "none", "private_key_jwt"},
		doc:   "How the client proves itself: its secret in the `Authorization` field, or in the form, not at all, or by an assertion that it signs with `key` (RFC 7523). Left out it is `basic` where there is a secret, `private_key_jwt` where there is a key, and else `none`. It is never guessed by trying.",
		field: func(t target) any { return &t.upstream.Auth.ClientAuth }},
	{name: "key", kind: secret, example: map[string]any{"file": "~/.secrets/crm.pem"},
		doc:   "A private key in PEM, RSA or P-256, not encrypted.",
		field: func(t target) any { return &t.upstream.Auth.Key }},
	wordKey("key_id", "2026-11",
		"The name of that key where the server knows several.",
		func(t target) any { return &t.upstream.Auth.KeyID }),
	scopesKey("scopes", []any{"tickets.read"},
		"What tokens may do. A server that grants more than this is not believed.",
		func(t target) any { return &t.upstream.Auth.Scopes }),
	scopesKey("write_scopes", []any{"tickets.read", "tickets.write"},
		"The same for calls that do not say that they only read; they are made with a token of their own. Left out they use that of `scopes`.",
		func(t target) any { return &t.upstream.Auth.WriteScopes }),
	wordKey("audience", "https://api.example.com",
		"The parameter `audience` of token requests, where a server wants it; with `jwt_bearer` whom the assertion is for.",
		func(t target) any { return &t.upstream.Auth.Audience }),
	wordKey("resource", "https://api.example.com/mcp",
		"The parameter `resource` (RFC 8707): what tokens are good for. With type `mcp` it is needed only where the server's metadata are about another address than its `url`.",
		func(t target) any { return &t.upstream.Auth.Resource }),
	wordKey("subject", "reports@example.com",
		"Whom the assertion is about. With type `jwt_bearer`; left out it is `issuer`.",
		func(t target) any { return &t.upstream.Auth.Subject }),
	{name: "params", kind: envTable, example: map[string]any{"tenant": "acme"},
		doc:   "Other parameters of token requests. Values that look like secrets must be references.",
		field: func(t target) any { return &t.upstream.Auth.Params }},
	{name: "token_request", kind: text, def: "form", example: "json", enum: []string{"form", "json"},
		doc:   "What token requests are written in, for servers that take JSON only.",
		field: func(t target) any { return &t.upstream.Auth.TokenRequest }},
	wordKey("token_member", "authed_user",
		"The member of the token response that holds the token, where that is not the response itself. Slack has the tokens of users in `authed_user`. With type `authorization_code`.",
		func(t target) any { return &t.upstream.Auth.TokenMember }),
	{name: "scope_claim", kind: flag, def: false, example: true,
		doc:   "Whether the scopes stand in the assertion, as Google wants it, and not beside it. With type `jwt_bearer`.",
		field: func(t target) any { return &t.upstream.Auth.ScopeClaim }},
	{name: "lifetime", kind: duration, def: "1h", example: "2h", least: int64(time.Second), most: 24 * hour,
		doc:   "How long a token is taken to be good whose server does not say.",
		field: func(t target) any { return &t.upstream.Auth.Lifetime }},
	{name: "redirect_port", kind: number, def: int64(0), example: int64(8976), least: 0, most: 65_535,
		doc:   "The port of this machine to which the browser returns, for servers that know one only; `0` takes a free one.",
		field: func(t target) any { return &t.upstream.Auth.RedirectPort }},
	wordKey("account", "myorg-myaccount",
		"The account. With type `snowflake`.",
		func(t target) any { return &t.upstream.Auth.Account }),
	{name: "installation", kind: number, example: int64(12345678), least: 1, most: 1 << 53,
		doc:   "The number of the installation. With type `github_app`.",
		field: func(t target) any { return &t.upstream.Auth.Installation }},
	{name: "allow_hosts", kind: list, example: []any{"login.internal:8443"}, check: checkAllowed,
		doc:   "Hosts or networks that may be asked though they are not on the public internet: `host` (on the default port), `host:port`, or `10.1.0.0/16`. With type `mcp`, where the server names its authorization server itself; the server's own host and port always may.",
		field: func(t target) any { return &t.upstream.Auth.AllowHosts }},
}

// endpointKey is the URL of an endpoint that secrets are sent to.
func endpointKey(name, example, doc string, field func(target) any) key {
	return key{name: name, kind: text, example: example, pattern: urlForm, expect: "an https URL with a host, without user name and fragment", check: checkEndpoint, doc: doc, field: field}
}

// wordKey is a text on one line.
func wordKey(name, example, doc string, field func(target) any) key {
	return key{name: name, kind: text, example: example, pattern: wordForm, expect: "1 to 1000 characters on one line", doc: doc, field: field}
}

// scopesKey is a list of scopes.
func scopesKey(name string, example []any, doc string, field func(target) any) key {
	return key{name: name, kind: list, example: example, pattern: scopeForm, expect: "a scope: printable characters without spaces, quotes and backslashes", doc: doc, field: field}
}
