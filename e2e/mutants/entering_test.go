package mutants_test

// entering are bugs by which a client comes in that should not, or becomes
// somebody else.
var entering = []mutant{
	{"a client's token of any issuer is taken", "internal/bearer/claims.go", "", "TestWrongClaims", changes{
		`issuer != j.opt.Issuer {`, `issuer == "" {`}},
	{"a client's token ends when it likes", "internal/bearer/claims.go", "", "TestWrongClaims", changes{
		`case !now.Before(ends.Add(leeway)):`, `case false:`}},
	{"a client's token begins when it likes", "internal/bearer/claims.go", "", "TestWrongClaims", changes{
		`case there && now.Add(leeway).Before(begins):`, `case there && begins.IsZero():`}},
	{"a client's token that is bound to a key is taken from anybody", "internal/bearer/claims.go", "", "TestWrongClaims", changes{
		`"cnf"`, `"cnf "`}},
	{"a client's token names somebody twice", "internal/bearer/claims.go", "", "TestWrongClaims", changes{
		`rawjson.Kind(text) != '{' || rawjson.Check(text, rawjson.Limits{Depth: maxDepth}) != nil`, `rawjson.Kind(text) != '{'`}},
	{"a client's token for another server is taken", "internal/bearer/jwt.go", "", "TestWrongClaims", changes{
		`return slices.Contains(resources, a)`, `return len(resources) > 0`}},
	{"a client's token is not for every server once it is known", "internal/bearer/jwt.go", "", "TestKnownTokensAreNotGoodForEver", changes{
		`	if g == nil {
		if g, err`, `	if g != nil {
		return inbound.Caller{Principal: g.by, Until: g.until}, nil
	}
	if g == nil {
		if g, err`}},
	{"a client's token lacks a scope", "internal/bearer/jwt.go", "", "TestWrongClaims", changes{
		`case g.lacks != "":`, `case false:`}},
	{"a client's token of another type is taken", "internal/bearer/jwt.go", "", "TestWrongTokens", changes{
		`if !j.isAccessToken(`, `if false && !j.isAccessToken(`}},
	{"a client's token is taken without a look at its signature", "internal/bearer/jwt.go", "", "TestWrongTokens", changes{
		`jws.Verify(&candidates[i]); err == nil {`, `jws.Verify(&candidates[i]); err == nil || true {`}},
	{"a client's token is verified with whatever key its issuer has", "internal/bearer/keys.go", "", "TestWrongTokens", changes{
		`(id == "" || key.KeyID == id) &&`, ``}},
	{"keys of a client's issuer are good for ever", "internal/bearer/keys.go", "", "TestIssuerIsAway", changes{
		`if now.Sub(k.got) > keysStale {`, `if k.got.IsZero() {`}},
	{"a client has the issuer asked with each token", "internal/bearer/keys.go", "", "TestUnknownKeysAreAskedForSeldom", changes{
		`|| now.Sub(k.asked) < askAgain`, ``}},
	{"a client's token whose key is withdrawn goes on", "internal/bearer/known.go", "", "TestKeysAreRotated", changes{
		`if g == nil || !now.Before(g.again) {`, `if g == nil {`}},
	{"weak keys of a client's issuer are taken", "internal/bearer/source.go", "", "TestIssuerIsOdd", changes{
		`bits < leastRSA || bits > mostRSA`, `bits > mostRSA`}},
	{"keys of a client's issuer come from another", "internal/bearer/source.go", "", "TestIssuerIsOdd", changes{
		`name != s.issuer {`, `name == "" {`}},
	{"a part of a user's token will do", "internal/bearer/static.go", "", "TestHeaders", changes{
		`sum[:], s.sums[i][:]`, `sum[:0], s.sums[i][:0]`}},
	{"a client that fails to sign in is local", "aggregate/inbound/auth.go", "", "TestChallenges", changes{
		`	refusal, ok := errors`, `	if err != nil {
		x.by = upstream.Local()
		return true
	}
	refusal, ok := errors`}},
	{"a client's token for a part is good for all", "aggregate/inbound/challenge.go", "", "TestAudience", changes{
		`if upstreamName != "" {`, `if upstreamName = "crm"; upstreamName != "" {`}},
	{"a client's session is anybody's once it is kept", "aggregate/inbound/sessions.go", "", "TestSessionsAreTheirOwners", changes{
		`if h.upstream != upstreamName || h.principal != p {`, `if h.upstream != upstreamName {`}},
	{"a client's connection is anybody's", "aggregate/inbound/httpsse.go", "", "TestSessionsAreTheirOwners", changes{
		` && c.session.principal == p {`, ` {`}},
	{"a client's stream outlives its token", "aggregate/inbound/auth.go", "", "TestStreamsEndWithTheirToken", changes{
		`if x.until.IsZero() {`, `if true {`}},
	{"a client's connection outlives its tokens", "aggregate/inbound/httpsse.go", "", "TestEventConnEndsWithItsTokens", changes{
		`open, expiry = left > 0, time.After(left)`, `expiry = time.After(max(left, time.Hour))`}},
	{"a client takes the places of others", "aggregate/inbound/crowds.go", "", "TestPlacesOfAPrincipal", changes{
		`func (t *crowds) enter(p upstream.Principal) *crowd {`, `func (t *crowds) enter(upstream.Principal) *crowd {
	p := upstream.Local()`,
		`func (t *crowds) leave(p upstream.Principal, c *crowd) {`, `func (t *crowds) leave(_ upstream.Principal, c *crowd) {
	p := upstream.Local()`}},
	{"a client's cursor is anybody's", "aggregate/cursor.go", "", "TestACursorIsItsOwners", changes{
		` + "\x00" + who.Key())`, `)`}},
	{"a client gets more turns by more sessions", "upstream/gate/flow.go", "", "TestFlowIsThePrincipals", changes{
		` && c.Principal == upstream.Local() {`, ` {`}},
	{"a user is served with the operator's sign-in over plain HTTP", "internal/cli/perusersides.go", "", "TestEachUserHasAClient", changes{
		`s, done, err := p.use(ctx, c.Principal)`, `s, done, err := p.use(ctx, upstream.Local())`}},
	{"one user's client makes every user's calls", "internal/cli/perusersides.go", "", "TestEachUserHasAClient", changes{
		`	v, _ := p.calls.Load(c)
`, `	v, _ := p.calls.Load(c)
	if first, ok := p.calls.LoadOrStore((*upstream.Call)(nil), v); ok {
		v = first
	}
`}},
	{"a call goes on with whichever account its user has by then", "internal/cli/perusersides.go", "", "TestACallKeepsItsAccount", changes{
		`	v, _ := p.calls.Load(c)
`, `	var v any
	v, _ = p.sides.Peek(subjectOf(c.Principal))
`}},
	{"a user's cursor of a REST source is anybody's", "upstream/rest/cursor.go", "", "TestCursorBelongsToItsCall", changes{
		`	add([]byte(who.Key()))
`, ``}},
}
