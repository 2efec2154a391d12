package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Auth is how Bulkhead signs in to an upstream. Which fields are set depends on
// the type; see [Auth.Tokens] for those that have an authorization server.
type Auth struct {
	Type     string // "none", "bearer", "header", "basic", or a type that gets tokens
	Per      string // "user" where each user signs in for himself; else the operator does for all
	Token    *Ref   // bearer: the token; token_exchange: the one to exchange
	Header   string // the field's name; "" is Authorization
	Prefix   *string
	Value    *Ref   // header
	User     string // basic, snowflake
	Password *Ref   // basic

	TokenURL, AuthorizationURL, DeviceURL, RevocationURL, APIURL string

	Issuer       string // of the authorization server; jwt_bearer: who we claim to be
	ClientID     string
	ClientSecret *Ref
	ClientAuth   string // "basic", "post", "none" or "private_key_jwt"
	Key          *Ref   // private, PEM
	KeyID        string
	Scopes       []string
	WriteScopes  []string // nil is Scopes
	Audience     string
	Resource     string
	Subject      string              // jwt_bearer
	Params       map[string]EnvValue // of token requests, beside these
	TokenRequest string              // "form" or "json"
	TokenMember  string              // of the answer that holds the token; "" is the answer itself
	ScopeClaim   bool                // jwt_bearer: the scopes are in the assertion
	Lifetime     time.Duration       // of tokens whose server does not say
	RedirectPort int                 // 0 is any
	Account      string              // snowflake
	Installation int                 // github_app
	AllowHosts   []string            // mcp: what may be asked though it is not on the public internet
}

// Tokens reports whether the type gets tokens that end, for scopes.
func (a Auth) Tokens() bool {
	switch a.Type {
	case "", "none", "bearer", "header", "basic":
		return false
	}
	return true
}

// Interactive reports whether a person has to sign in.
func (a Auth) Interactive() bool {
	switch a.Type {
	case "authorization_code", "device_code", "mcp":
		return true
	}
	return false
}

// PerUser reports whether each user signs in for himself.
func (a Auth) PerUser() bool { return a.Per == "user" }

// checkAuth applies the rules that hold between the keys of a sign-in.
func (d *decoder) checkAuth(at string, a *Auth) {
	if !d.given[at] {
		a.Type = "none"
	}
	if !a.Tokens() {
		a.Lifetime, a.TokenRequest = 0, "" // the defaults are for the others
	}
	if !d.given[at] {
		return
	}
	parts, known := authTypes[a.Type]
	if !known {
		return // a fault already
	}
	for i := range authKeys {
		k := &authKeys[i]
		p := join(at, k.name)
		switch needed := slices.Contains(parts.needs, k.name); {
		case needed && !d.given[p]:
			missing(d, p, ": type "+strconv.Quote(a.Type)+" needs it", "for example "+k.line())
		case !needed && !slices.Contains(parts.may, k.name) && d.given[p] && k.name != "type":
			d.fault(p, "does not belong to type "+strconv.Quote(a.Type), "remove it or change the type")
		}
	}
	if slices.Contains(parts.may, "client_secret") && !d.partial {
		checkClient(d, at, a)
	}
}

// checkClient settles how the client itself signs in at the authorization
// server.
func checkClient(d *decoder, at string, a *Auth) {
	given := func(name string) bool { return d.given[join(at, name)] }
	if a.ClientAuth == "" {
		switch {
		case given("client_secret"):
			a.ClientAuth = "basic"
		case given("key") && slices.Contains(authTypes[a.Type].may, "key"):
			a.ClientAuth = "private_key_jwt"
		default:
			a.ClientAuth = "none"
		}
	}
	secret := a.ClientAuth == "basic" || a.ClientAuth == "post"
	switch {
	case a.Type == "client_credentials" && a.ClientAuth == "none":
		d.fault(at, "has nothing to sign in with: a client without a secret or key cannot get tokens of its own", `add client_secret = { env = "NAME" }, or key = { file = "..." }`)
	case secret && !given("client_secret"):
		d.fault(join(at, "client_secret"), fmt.Sprintf("is missing: client_auth %q needs it", a.ClientAuth), `for example client_secret = { env = "CRM_CLIENT_SECRET" }`)
	case !secret && given("client_secret"):
		d.fault(join(at, "client_secret"), fmt.Sprintf("has no effect with client_auth %q", a.ClientAuth), "remove one of them")
	case a.ClientAuth == "private_key_jwt" && !given("key"):
		d.fault(join(at, "key"), `is missing: client_auth "private_key_jwt" needs it`, `for example key = { file = "~/.secrets/crm.pem" }`)
	case given("client_secret") && !given("client_id") && slices.Contains(authTypes[a.Type].may, "client_id"):
		d.fault(join(at, "client_id"), "is missing: a secret belongs to a client", `for example client_id = "bulkhead"`)
	}
}

// checkAllowed takes what a guard lets through: a host, with a port or without, or
// a network.
func checkAllowed(v string) (problem, hint string) {
	if p, err := netip.ParsePrefix(v); err == nil && p.Masked() == p || hostForm.MatchString(v) {
		return "", ""
	}
	return quote(v) + " is neither a host nor a network", `for example "login.internal", "login.internal:8443" or "10.1.0.0/16"`
}

func checkEndpoint(v string) (problem, hint string) {
	if problem, hint = checkURL(v); problem == "" && !secure(v) {
		return "is plain http to another machine: what is sent there can be read on the way, secrets included", "use https"
	}
	return problem, hint
}
