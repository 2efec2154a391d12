package config

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
)

// Clients is the [server.auth] table: how clients over HTTP prove who they are.
type Clients struct {
	Type         string   // "none", "oidc" or "tokens"
	Issuer       string   // oidc
	Audience     string   // oidc; "" is the address that a client asks
	Scopes       []string // oidc: that every token needs
	Subject      string   // oidc: the claim that says who it is
	TokenType    string   // oidc: "at+jwt" or "jwt"
	AllowHosts   []string // oidc: what may be asked though it is not on the public internet
	ClientID     string   // oidc: of the pages where users connect their own accounts
	ClientSecret *Ref
	Users        map[string]*User
}

// User is somebody with a token of its own.
type User struct{ Token *Ref }

var clientName = newForm(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// clientTypes says which keys each type of authentication needs and which it may
// have.
var clientTypes = map[string]authType{
	"none":   {},
	"oidc":   {[]string{"issuer"}, []string{"audience", "scopes", "subject", "token_type", "allow_hosts", "client_id", "client_secret"}},
	"tokens": {[]string{"users"}, nil},
}

var publicURL = key{name: "public_url", kind: text, example: "https://mcp.example.com", pattern: originForm, expect: "an https origin, scheme://host or scheme://host:port, with nothing behind it", check: checkPublic,
	doc:   "Where clients reach Bulkhead, if `listen` is not what they write: scheme, host and port, without a path. Bulkhead itself speaks plain HTTP, so what is here is a proxy that ends TLS and passes on the paths as they are, `/.well-known/oauth-protected-resource` and those below it included. Needs `[server.auth]`. Its host is accepted in the `Host` header.",
	field: func(t target) any { return &t.server.PublicURL }}

var clientSections = []section{
	{
		path: "server.auth",
		doc:  "How clients over HTTP prove who they are. Each is then somebody of its own: sessions, open questions, kept answers and turns in queues are not shared between two. Clients over standard input and output, and `bulkhead sources` and its like, are not asked. What a client signs in with is never sent to an upstream.",
		keys: []key{
			{name: "type", kind: text, example: "oidc", required: true, enum: []string{"none", "oidc", "tokens"},
				doc:   "`none` takes every process on this machine for the same user; `listen` must then be a loopback address. `oidc` takes access tokens that an authorization server has signed (JSON Web Tokens, RFC 9068), and tells clients where to get them (RFC 9728). `tokens` takes one token for each user, for small teams.",
				field: func(t target) any { return &t.server.Auth.Type }},
			{name: "issuer", kind: text, example: "https://login.example.com", pattern: urlForm, expect: "an https URL with a host, without user name and fragment", check: checkIssuer,
				doc:   "The authorization server, exactly as it names itself: tokens of no other are taken. Its keys are found through its metadata (RFC 8414, OpenID Connect Discovery) and asked for again when they change; only those of asymmetric algorithms count.",
				field: func(t target) any { return &t.server.Auth.Issuer }},
			wordKey("audience", "api://bulkhead",
				"What tokens must be for (`aud`). Left out, it is the address that the client asks, such as `https://mcp.example.com/mcp`, which clients name to the authorization server as the resource (RFC 8707); a token for the origin, `/mcp` or `/sse` is good for the endpoints of single upstreams too, not the other way round. Set it for an authorization server that knows no resources.",
				func(t target) any { return &t.server.Auth.Audience }),
			scopesKey("scopes", []any{"mcp"},
				"Scopes that every token needs (`scope` or `scp`). Clients are told to ask for them.",
				func(t target) any { return &t.server.Auth.Scopes }),
			wordKey("subject", "email",
				"The claim that says who it is. Left out, it is `sub`. It must be one that nobody can choose for themselves, and that is never given to somebody else.",
				func(t target) any { return &t.server.Auth.Subject }),
			{name: "token_type", kind: text, example: "jwt", enum: []string{"at+jwt", "jwt"},
				doc:   "What tokens say that they are (`typ`). Left out, it is `at+jwt`, as RFC 9068 has it. `jwt` takes those that are just some JSON Web Token too, for authorization servers such as Keycloak and Entra; set `audience` or `scopes` so that no token that was meant for something else will do.",
				field: func(t target) any { return &t.server.Auth.TokenType }},
			{name: "allow_hosts", kind: list, example: []any{"login.internal:8443", "10.1.0.0/16"}, pattern: wordForm, expect: "1 to 1000 characters on one line", check: checkAllowed,
				doc:   "Hosts, with a port or without, and networks that may be asked for keys though they are not on the public internet. The issuer's own host always may.",
				field: func(t target) any { return &t.server.Auth.AllowHosts }},
			wordKey("client_id", "bulkhead-pages",
				"A client of Bulkhead's own at the issuer, with the redirect URI `/connect/callback` below `public_url`: users who connect an account of their own (`auth.per = \"user\"` of an upstream) show with it who they are, by signing in with a browser. With type `tokens` they enter their token instead.",
				func(t target) any { return &t.server.Auth.ClientID }),
			{name: "client_secret", kind: secret, example: map[string]any{"env": "PAGES_SECRET"},
				doc:   "The secret of that client; left out it is a public one.",
				field: func(t target) any { return &t.server.Auth.ClientSecret }},
		},
	},
	{
		path: "server.auth.users.*",
		doc:  "Somebody with a token. The name begins with a letter or digit and has at most 64 of these, `.`, `_`, `@` and `-`. With type `tokens`.",
		keys: []key{
			{name: "token", kind: secret, example: map[string]any{"env": "ANN_TOKEN"}, required: true,
				doc:   "What the user's client sends as `Authorization: Bearer`: at least 20 characters of letters, digits and `-._~+/`, and different from everybody else's. `openssl rand -hex 32` makes a good one. If one cannot be fetched, Bulkhead does not start.",
				field: func(t target) any { return &t.user.Token }},
		},
		each: func(t target, name string) target {
			u := &User{}
			if t.server.Auth.Users == nil {
				t.server.Auth.Users = make(map[string]*User)
			}
			t.server.Auth.Users[name] = u
			return target{user: u}
		},
		named: naming{clientName, "is no name for a user", "begin with a letter or digit and use at most 64 of these, ., _, @ and -", "NAME"},
	},
}

// checkClients applies the rules that hold between the keys of [server] and
// [server.auth].
func checkClients(d *decoder, s *Server) {
	const at = "server.auth"
	if !d.given[at] {
		s.Auth.Type = "none"
	}
	host, _, err := net.SplitHostPort(s.Listen)
	remote := err == nil && !loopback(host)
	switch {
	case remote && s.Auth.Type == "none":
		d.fault("server.listen", quote(s.Listen)+" can be reached from other machines, and clients do not have to say who they are",
			`for example listen = "127.0.0.1:8808"; or add [server.auth] and public_url, with a proxy before it that ends TLS`)
	case remote && s.PublicURL == "" && s.Auth.Type != "":
		d.fault("server.public_url", "is missing: "+quote(s.Listen)+" can be reached from other machines, whose tokens must not be read on the way",
			"put a proxy that ends TLS before it, and write its address: "+publicURL.line())
	case s.PublicURL != "" && s.Auth.Type == "none":
		d.fault("server.public_url", "has no effect: only this machine is served", `remove it, or add [server.auth] with a type of "oidc" or "tokens"`)
	}
	parts, known := clientTypes[s.Auth.Type]
	if !known {
		return // a fault already
	}
	section := sectionAt(at)
	for _, name := range section.names() {
		p := join(at, name)
		hint := "for example [server.auth.users.ann] with token = { env = \"ANN_TOKEN\" }"
		if k := section.key(name); k != nil {
			hint = "for example " + k.line()
		}
		switch needed := slices.Contains(parts.needs, name); {
		case needed && !d.given[p]:
			d.fault(p, "is missing: type "+strconv.Quote(s.Auth.Type)+" needs it", hint)
		case !needed && !slices.Contains(parts.may, name) && d.given[p] && name != "type":
			d.fault(p, "does not belong to type "+strconv.Quote(s.Auth.Type), "remove it or change the type")
		}
	}
	if d.given[join(at, "client_secret")] && !d.given[join(at, "client_id")] && s.Auth.Type == "oidc" {
		d.fault(join(at, "client_id"), "is missing: a secret belongs to a client", `for example client_id = "bulkhead-pages"`)
	}
	if s.Auth.Type == "tokens" && d.given[join(at, "users")] && len(s.Auth.Users) == 0 {
		d.fault(join(at, "users"), "names nobody", "for example [server.auth.users.ann] with token = { env = \"ANN_TOKEN\" }")
	}
}

// clientRules says the same to editors.
func clientRules() []any {
	var rules []any
	section := sectionAt("server.auth")
	for _, kind := range slices.Sorted(maps.Keys(clientTypes)) {
		need, refuse := []any{}, object{}
		for _, name := range section.names() {
			switch {
			case slices.Contains(clientTypes[kind].needs, name):
				need = append(need, name)
			case name != "type" && !slices.Contains(clientTypes[kind].may, name):
				refuse[name] = false
			}
		}
		rules = append(rules, object{
			"if":   object{"properties": object{"type": object{"const": kind}}, "required": []any{"type"}},
			"then": object{"required": need, "properties": refuse},
		})
	}
	return rules
}

func checkPublic(v string) (problem, hint string) {
	if u, err := url.Parse(v); v != "" && (err != nil || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname()))) {
		return "must be https: tokens could be read on the way", "put a proxy before Bulkhead that ends TLS, and write its address"
	}
	return "", ""
}

func checkIssuer(v string) (problem, hint string) {
	problem, hint = checkEndpoint(v)
	if u, err := url.Parse(v); problem == "" && (err != nil || u.RawQuery != "" || u.ForceQuery) {
		return "has a query, which an issuer never has", "write it exactly as the authorization server does in its metadata" // RFC 8414, section 2
	}
	return problem, hint
}
