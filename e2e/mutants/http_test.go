package mutants_test

// requesting are bugs in how services that speak HTTP are asked: where a request
// goes, what of it the model decides, which source a cursor is good for, and what is offered
// at all.
var requesting = []mutant{
	{"a next page at another host is followed", "upstream/rest/paging.go", "", "TestNextURLElsewhereIsNotFollowed", changes{
		`u.Scheme != from.Scheme || !strings.EqualFold(u.Host, from.Host) || u.User`,
		`u.Scheme != from.Scheme || u.User`}},
	{"a path that is encoded twice is let pass", "upstream/rest/request.go", "", "TestArgumentsAreRefused", changes{
		`		text = again
	}
	return invalid("%s is percent`, `		text = again
		break
	}
	if arg != "" {
		return nil
	}
	return invalid("%s is percent`}},
	{"control characters are looked for before decoding only", "upstream/rest/request.go", "", "TestArgumentsAreRefused", changes{
		`	for range maxDecoded {
		if strings.ContainsFunc(text, isControl) {`, `	for round := range maxDecoded {
		if round == 0 && strings.ContainsFunc(text, isControl) {`}},
	{"an escape that is none ends the look at a path", "upstream/rest/request.go", "", "TestArgumentsAreRefused", changes{
		`again := decodedOnce(text)
`, `again := decodedOnce(text)
		if _, err := url.PathUnescape(text); err != nil {
			return nil
		}
`}},
	{"a member replaces a constant of the query", "upstream/rest/names.go", "", "TestMembersAreNoOtherFields", changes{
		`m.asked = namesIn([]byte(m.query))`, `m.asked = nil`}},
	{"a member replaces the size of a page", "upstream/rest/names.go", "", "TestMembersAreNoOtherFields", changes{
		`	for i := range m.params {`, `	for i := range m.def.Params {`}},
	{"a form is not escaped", "upstream/rest/encode.go", "", "FuzzBody", changes{
		`return escape(append(escape(buf, name), '='), value)`,
		`return append(append(escape(buf, name), '='), value...)`}},
	{"a read follows a redirect to another host", "upstream/rest/rest.go", "", "TestRedirects", changes{
		` || req.URL.Host != first.URL.Host ||`, ` ||`}},
	{"a request whose connection breaks goes out again by itself", "internal/egress/egress.go", "", "TestARequestIsSentOnce", changes{
		`Proxy:                  once,`, `Proxy:                  nil,`}},
	{"a cursor is good for every source", "upstream/rest/cursor.go", "", "FuzzCursor", changes{
		`	add([]byte(id))
`, `	_ = id
`}},
	{"what changes something is offered without writes", "upstream/rest/rest.go", "", "TestWritesAreHidden", changes{
		`if def.Writes() && !o.Writes {`, `if def.Writes() && !o.Writes && def.Method != "POST" {`}},
	{"an operation of a document that posts counts as a read", "upstream/openapi/compile.go", "", "TestReadsUnlessSaid", changes{
		`c.action = rest.Action{Name: c.op.Tool, Method: src.method, Path: src.path, Class: class}
	c.op.Class = class
	if class == "" {
		c.op.Class = classOf(src.method)
	}`, `if class == "" && src.method == "POST" {
		class = "read"
	}
	c.action = rest.Action{Name: c.op.Tool, Method: src.method, Path: src.path, Class: class}
	c.op.Class = class
	if class == "" {
		c.op.Class = classOf(src.method)
	}`}},
	{"an operation that nobody has named becomes a tool", "upstream/openapi/openapi.go", "", "TestPatterns", changes{
		`		if named < 0 {
			continue
		}
`, `		named = max(named, 0)
`}},
	{"a credential that a document asks for is an argument", "upstream/openapi/arguments.go", "", "TestRequests", changes{
		`if c.credential(p) {`, `if c.credential(p) && p.In == "cookie" {`}},
	{"the log has what a service says of a refusal", "upstream/graphql/refusals.go", "", "TestRefusedOperationsAreDrift", changes{
		`"problem", refusesIt)`, `"problem", refusesIt+": "+why)`}},
}
