package mutants_test

// bleeding are bugs by which a secret gets where it does not belong: to another
// origin, another user's request, a child, a disk, an error, a log.
var bleeding = []mutant{
	// Requests.
	{"all upstreams share a client", "credentials/grant.go", "", "TestTwoGrantsAtOnce", changes{
		`return &http.Client{Transport: t, CheckRedirect: t.redirect}
}`, `oneForAll.Do(func() { theClient = &http.Client{Transport: t, CheckRedirect: t.redirect} })
	return theClient
}
var oneForAll sync.Once
var theClient *http.Client`,
		`"sync/atomic"`, `"sync"
	"sync/atomic"`}},
	{"the default transport is used", "credentials/grant.go", "", "TestRedirectsWithinTheOrigin", changes{
		`base = &http.Transport{}`, `base = http.DefaultTransport`}},
	{"one grant serves two", "credentials/grant.go", "", "TestRequestsThatAreRefused", changes{
		`if !g.taken.CompareAndSwap(false, true) {`, `if false {`}},
	{"a set of scopes that nobody has named gets the usual token", "credentials/grant.go", "", "TestScopeSets", changes{
		`return &Grant{spec: Spec{Name: g.spec.Name}}`, `return &Grant{spec: g.spec, origins: g.origins}`}},
	{"there is a cookie jar", "credentials/grant.go", "", "TestCredentialInItsFieldOnly", changes{
		`return &http.Client{Transport: t, CheckRedirect: t.redirect}`, `jar, _ := cookiejar.New(nil)
	return &http.Client{Transport: t, CheckRedirect: t.redirect, Jar: jar}`,
		`"net/http"`, `"net/http"
	"net/http/cookiejar"`}},
	{"the transport does not look where a request goes", "credentials/bound.go", "", "TestRequestsThatAreRefused", changes{
		`err := t.allowed(req.URL)
	var token`, `var err error
	var token`}},
	{"redirects are followed by net/http's rules", "credentials/grant.go", "", "TestRedirectsWithinTheOrigin", changes{
		`t.attach, t.spent = nil, nil, Attachment{}, true
	}
	return &http.Client{Transport: t, CheckRedirect: t.redirect}`, `t.attach, t.spent = nil, nil, Attachment{}, true
	}
	return &http.Client{Transport: t}`}},
	{"redirects lead to any of a grant's origins", "credentials/bound.go", "", "TestRedirectBetweenOwnOrigins", changes{
		`case originOf(last.URL) != originOf(req.URL):`, `case false:`}},
	{"an origin has no port", "credentials/bound.go", "", "TestRequestsThatAreRefused", changes{
		`strings.ToLower(u.Hostname()), u.Port()}`, `strings.ToLower(u.Hostname()), "1"}`}},
	{"an origin has no scheme", "credentials/bound.go", "", "TestRequestsThatAreRefused", changes{
		`o := origin{strings.ToLower(u.Scheme),`, `o := origin{"http",`}},
	{"hosts below an origin's are taken for it", "credentials/bound.go", "", "TestRedirectMatrix", changes{
		`case !t.origins[o] &&`, `case !t.origins[o] && !t.origins[origin{o.scheme, strings.TrimPrefix(o.host, "sub."), o.port}] &&`}},
	{"a caller's Authorization goes on", "credentials/bound.go", "", "TestCredentialInItsFieldOnly", changes{
		`{"Authorization", "Proxy-Authorization",`, `{"Proxy-Authorization",`}},
	{"a caller's cookie goes on", "credentials/bound.go", "", "TestCredentialInItsFieldOnly", changes{
		`"Cookie", "Referer",`, `"Referer",`}},
	{"the referer goes on", "credentials/bound.go", "", "TestCredentialInItsFieldOnly", changes{
		`"Cookie", "Referer",`, `"Cookie",`}},
	{"a caller's credential goes on in other letters", "credentials/bound.go", "", "TestCredentialInItsFieldOnly", changes{
		`if strings.EqualFold(name, field) {`, `if name == field {`}},
	{"a caller chooses the Host", "credentials/bound.go", "", "TestCredentialInItsFieldOnly", changes{
		`	out.Host = ""      // what is dialled is what is asked for
`, ``}},
	{"a user in the URL goes on", "credentials/bound.go", "", "TestBaseSeesNothingForeign", changes{
		`	out.URL.User = nil // would become an Authorization field
`, ``}},
	{"the response carries the credential back", "credentials/bound.go", "", "TestCredentialInItsFieldOnly", changes{
		`		resp.Request = req // the copy holds the credential
`, ``}},
	{"the caller's own request gets the credential", "credentials/bound.go", "", "TestCredentialInItsFieldOnly", changes{
		`out := req.Clone(req.Context())`, `out := req`}},
	{"an answer may repeat the credential", "credentials/bound.go", "", "TestAnswersDoNotRepeatTheCredential", changes{
		`resp, err = t.scrubber(token).response(resp, err)
`, ``}},
	{"an answer may repeat the credential in two pieces", "credentials/scrub.go", "", "TestScrubbedInPieces", changes{
		`keep = s.by.begun(text)`, `keep = 0`}},
	{"an answer may repeat the credential of after the refresh", "credentials/bound.go", "", "TestAnswersDoNotRepeatTheCredential", changes{
		`if s == nil || s.of != secrets[0].p {`, `if s == nil {`}},
	{"a challenge may repeat the token", "credentials/mcpauth/transport.go", "", "TestChallengeRepeatsTheToken", changes{
		`token != "" { // what`, `token == "" { // what`}},
	{"a proxy is taken from the environment", "internal/egress/egress.go", "", "TestNoProxyFromTheEnvironment", changes{
		`Proxy:                  once,`, `Proxy: http.ProxyFromEnvironment,`}},
	{"a request of which nothing left is not sent on another connection", "internal/egress/once.go", "", "TestWhatNeverLeftIsSent", changes{
		`b.conn == nil || b.conn.n.Load() != b.from`, `true`}},
	{"net/http's defaults stay open", "internal/egress/poison.go", "", "TestDefaultsAreShut", changes{
		`tr.Proxy, tr.DialContext, tr.DialTLSContext = nil, refuse, refuse`, `_, _ = tr, refuse`}},

	// Whose it is.
	{"a token's key has no upstream", "credentials/identity.go", "", "TestIdentity", changes{
		`[]string{i.Upstream, i.Subject, `, `[]string{i.Subject, `,
		`return i.Upstream + "-"`, `return "crm-"`}},
	{"a token's key has no principal", "credentials/identity.go", "", "TestPrincipalsAreApart", changes{
		`i.Upstream, i.Subject, `, `i.Upstream, `}},
	{"a token's key has no issuer", "credentials/identity.go", "", "TestIdentity", changes{
		`i.Subject, i.Issuer, `, `i.Subject, `}},
	{"a token's key has no client", "credentials/identity.go", "", "TestIdentity", changes{
		`i.ClientID, i.Resource}`, `i.Resource}`}},
	{"a token's key has no resource", "credentials/identity.go", "", "TestIdentity", changes{
		`i.ClientID, i.Resource}`, `i.ClientID}`}},
	{"a token's key has no scopes", "credentials/identity.go", "", "TestIdentity", changes{
		`i.ClientID, i.Resource}, slices.Compact(scopes)...)`, `i.ClientID, i.Resource})`}},
	{"the parts of a token's key run into each other", "credentials/identity.go", "", "TestIdentity", changes{
		`uint64(len(part))))`, `uint64(0*len(part))))`,
		`h.Write([]byte(part))`, `h.Write([]byte(strings.TrimLeft(part, "\x00")))`,
		`"slices"`, `"slices"
	"strings"`,
		`h.Write(binary.`, `_ = (binary.`}},
	{"a fingerprint has no credential", "credentials/grant.go", "", "TestFingerprint", changes{
		`a.kind, a.field, a.value.reveal(), a.id,`, `a.kind, a.field, a.id,`}},
	{"a fingerprint has no token source", "credentials/grant.go", "", "TestFingerprintOfSources", changes{
		`a.kind, a.field, a.value.reveal(), a.id,`, `a.kind, a.field, a.value.reveal(),`}},
	{"a fingerprint does not know a child's environment", "credentials/grant.go", "", "TestFingerprint", changes{
		`	write(env...)
`, ``}},

	// Tokens that end.
	{"every caller refreshes", "credentials/refresh.go", "", "TestManyCallersMakeOneRefresh", changes{
		`if r.flight == nil && failure == nil {`, `if failure == nil {`}},
	{"a late word about an old token ends the new one", "credentials/refresh.go", "", "TestInvalidate", changes{
		`if h == nil || !h.Same(used) || now`, `if h == nil || now`}},
	{"a late refresh replaces what a sign-in has brought", "credentials/renew.go", "", "TestLateRefreshDoesNotOverwrite", changes{
		`f, own := r.flight, r.flight == nil`, `f, own := r.flight, true`}},
	{"a token is given out before it is saved", "credentials/renew.go", "", "TestInterleavings", changes{
		`	_ = r.save(ctx, t) // is reported; the token is good all the same
`, `	go func() { time.Sleep(time.Millisecond); _ = r.save(context.WithoutCancel(ctx), t) }()
`}},
	{"two processes refresh at once", "credentials/renew.go", "", "TestInterleavings", changes{
		`	if r.spec.Store == nil {
		return func() {}, nil
	}
	unlock, err :=`, `	if true {
		return func() {}, nil
	}
	unlock, err :=`}},
	{"what another process has refreshed is refreshed again", "credentials/renew.go", "", "TestTheOtherProcessWasFaster", changes{
		`case other && !from.Access.IsZero() && time.Until(from.Expiry) > time.Second:`, `case other && false:`}},
	{"signing out leaves the token on disk", "credentials/renew.go", "", "TestForget", changes{
		`if err := r.spec.Store.Delete(ctx, r.spec.ID); err != nil {`, `if err := error(nil); err != nil {`}},
	{"a refused token is tried again and again", "credentials/bound.go", "", "TestRefusedTokenIsReplacedOnce", changes{
		`	return t.send(req, body, other)
`, `	req2 := req.Clone(req.Context())
	req2.Body = body
	return t.RoundTrip(req2)
`}},

	// Authorization servers.
	{"the token endpoint may redirect", "credentials/endpoint.go", "", "TestTokenRequestIsNotRedirected", changes{
		`return http.ErrUseLastResponse }}`, `return nil }}`}},
	{"more scopes are taken than were asked for", "credentials/endpoint.go", "", "TestRefusals", changes{
		`extra > 0 {`, `extra > 1000 {`}},
	{"the secret goes over plain http", "credentials/endpoint.go", "", "TestEndpointsThatAreRefused", changes{
		`u.Scheme == "http" && loopback(u.Hostname()):`, `u.Scheme == "http":`}},
	{"nobody looks which server has answered", "credentials/codeflow.go", "", "TestCodeAnswers", changes{
		`len(iss) > 1, len(iss) == 1 && p.flow.Issuer != "" && iss[0] != p.flow.Issuer:`, `len(iss) > 1:`}},
	{"a server may leave out who it is", "credentials/codeflow.go", "", "TestCodeAnswers", changes{
		`case len(iss) == 0 && p.flow.IssuerSent:`, `case false:`}},
	{"any state will do", "credentials/codeflow.go", "", "TestCodeAnswers", changes{
		`return len(query["state"]) == 1 && subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(p.state.reveal())) == 1`,
		`_ = subtle.ConstantTimeEq
	return len(query["state"]) == 1`}},
	{"a code is taken twice", "credentials/codeflow.go", "", "TestCodeAnswers", changes{
		`if !p.done.CompareAndSwap(false, true) {`, `if false {`}},
	{"PKCE is plain", "credentials/codeflow.go", "", "TestCodeLogin", changes{
		`base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",`,
		`p.verifier.reveal(), "code_challenge_method": "plain",`,
		`sum := sha256.Sum256([]byte(p.verifier.reveal()))`, `_, _ = sha256.Sum256, base64.RawURLEncoding`}},
	{"the redirect answers to any name", "credentials/loopback.go", "", "TestCodeLogin", changes{
		`case r.Host != back.Host, `, `case `}},
	{"the redirect listens on every address", "credentials/loopback.go", "", "TestLoopbackListensOnOneAddress", changes{
		`Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", `, `Listen(ctx, "tcp", net.JoinHostPort("", `}},
	{"a refresh token goes to another issuer", "credentials/mcpauth/source.go", "", "TestTokenStaysWhereItBelongs", changes{
		`case server.Issuer != last.Values[keyIssuer]:`, `case false:`}},
	{"a refresh token goes to another token endpoint", "credentials/mcpauth/source.go", "", "TestTokenStaysWhereItBelongs", changes{
		`case server.tokenOrigin() != last.Values[keyToken]:`, `case false:`}},
	{"issuers share what is registered", "credentials/mcpauth/register.go", "", "TestMigration", changes{
		`Subject: "registration", Issuer: issuer, `, `Subject: "registration", `,
		`t.Values[keyIssuer] == s.Issuer && t.Values[keyToken] == s.tokenOrigin() &&`, ``}},
	{"the operator's client goes to any issuer", "credentials/mcpauth/register.go", "", "TestClientIsPinned", changes{
		`if err == nil && there && d.opt.ClientID != "" {`, `if false {`}},
	{"metadata of another issuer are believed", "credentials/mcpauth/discover.go", "", "TestHostileIssuer", changes{
		`if s.Issuer != issuer {`, `if false {`}},
	{"metadata of another server are believed", "credentials/mcpauth/discover.go", "", "TestHostileResource", changes{
		`	default:
		return resource{}, fmt.Errorf("the server's metadata are about another`, `	case false:
		return resource{}, fmt.Errorf("the server's metadata are about another`}},
	{"tokens are for any server", "credentials/mcpauth/source.go", "", "TestRegistrationOrder", changes{
		`Params: url.Values{"resource": {plan.Resource}}, Accept`, `Params: url.Values{}, Accept`}},

	// Addresses that others give us.
	{"one address of a name is checked", "internal/egress/guard.go", "", "TestEveryAddressIsChecked", changes{
		`for _, addr := range addrs {
		err := refused`, `for _, addr := range addrs[:1] {
		err := refused`}},
	{"what was checked is looked up again", "internal/egress/guard.go", "", "TestNameThatChangesItsAddress", changes{
		`conn, err = g.try(ctx, network, netip.AddrPortFrom(addr, t.port), len(addrs)-i)`,
		`again, _ := g.lookup(ctx, "ip", t.host)
		conn, err = g.try(ctx, network, netip.AddrPortFrom(append(again, addr)[0], t.port), len(addrs)-i)`}},
	{"addresses inside NAT64 are not seen", "internal/egress/special.go", "", "TestAllowed", changes{
		`	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},
`, ``}},
	{"6to4 is public", "internal/egress/special.go", "", "TestAddresses", changes{
		`	row("2002::/16", "6to4", "RFC 3056"),
`, ``}},
	{"metadata services can be allowed", "internal/egress/host.go", "", "TestAllowed", changes{
		`if s := classify(at); s != nil && s.never {
			return s`, `if s := classify(at); s != nil && false {
			return s`}},
	{"the guard follows a 307", "internal/egress/guard.go", "", "TestNoRedirect", changes{
		`http.StatusTemporaryRedirect, http.StatusPermanentRedirect:`, `http.StatusPermanentRedirect:`}},

	// Children, disk, errors and logs.
	{"a child inherits everything", "credentials/environ.go", "", "TestCommandEnvironmentIsSealed", changes{
		`cmd.Env = sealed(extra)`, `cmd.Env = append(os.Environ(), sealed(extra)...)`}},
	{"a child inherits everything, unless it is named", "credentials/environ.go", "", "TestCommandEnvironmentIsSealed", changes{
		`if !slices.ContainsFunc(names, same) && !strings.HasPrefix(name, "LC_") {`, `if false && slices.ContainsFunc(names, same) {`}},
	{"what is on disk can be read", "credentials/store_seal.go", "", "TestSealedAndPrivate", changes{
		`w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, err
	}
	if _, err = w.Write(plain); err == nil {
		err = w.Close()
	}
	return out.Bytes(), err`, `out.Write(plain)
	return out.Bytes(), nil`}},
	{"others may read what is on disk", "credentials/store_file.go", "", "TestSealedAndPrivate", changes{
		`	_, err = f.Write(data)
`, `	_ = f.Chmod(0o644)
	_, err = f.Write(data)
`}},
	{"a file may be put in another's place", "credentials/store.go", "", "TestFilesThatAreRefused", changes{
		`if err == nil && s.path(string(r.ID)) != path {`, `if false {`}},
	{"a secret file may be anybody's to read", "credentials/resolve.go", "", "TestResolveRefusesExposedFiles", changes{
		`exposed(`, `exposed("", 0) && exposed(`}},
	{"an error repeats what a server wrote as its code", "credentials/refusal.go", "", "TestErrorsGiveNothingAway", changes{
		`e.Code = "unknown"`, `e.Code = code`}},
	{"an error repeats what the transport says", "credentials/endpoint.go", "", "TestErrorsGiveNothingAway", changes{
		`	return errors.New("the connection failed, or the answer is no HTTP")`, `	return err`}},
	{"a panic's value gets into an error", "credentials/refresh.go", "", "TestPanicsAndTokensThatAreNone", changes{
		`fmt.Errorf("panic: %T", v)`, `fmt.Errorf("panic: %v", v)`}},
	{"a secret is printed", "credentials/secret.go", "", "TestSecretIsNeverPrinted", changes{
		`_, _ = io.WriteString(f, redacted)`, `_, _ = io.WriteString(f, s.reveal())`,
		`func (s Secret) Format`, `func (s Secret) Format`}},
	{"a secret is logged", "credentials/secret.go", "", "TestSecretIsNeverPrinted", changes{
		`return slog.StringValue(redacted)`, `return slog.StringValue(s.reveal())`}},
	{"a secret is encoded", "credentials/secret.go", "", "TestSecretIsNeverPrinted", changes{
		`MarshalText() ([]byte, error) { return []byte(redacted), nil }`, `MarshalText() ([]byte, error) { return []byte(s.reveal()), nil }`}},
	{"the log writes what an attribute calls a token", "internal/telemetry/telemetry.go", "", "TestLogLines", changes{
		`return secretKeys[string(folded[:n])]`, `return false && secretKeys[string(folded[:n])]`}},
}
