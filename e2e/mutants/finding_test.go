package mutants_test

// finding are bugs in how tools are found, and in what hosts put into their calls.
var finding = []mutant{
	{"a short list hides nothing", "aggregate/discovery.go", "", "TestDiscoveryByConfiguration", changes{
		`return d == DiscoverSearch || d != DiscoverList &&`, `return d != DiscoverList &&`}},
	{"a tool that is found cannot be called", "aggregate/discovery.go", "", "TestIndirectCallsAreCalls", changes{
		`	return rawjson.Set(params, "arguments", inner)`, `	_ = inner
	return rawjson.Set(params, "arguments", json.RawMessage("{}"))`}},
	{"tools are found of all sources, whichever is asked", "aggregate/find.go", "", "TestFindSaysWhatIsMissing", changes{
		`return source == "" || s.entries[doc].m.ID == source`, `return true`}},
	{"what is found is as long as it likes", "aggregate/find.go", "", "TestFindBounds", changes{
		`; size > maxFound && len(out.Tools) > 0 {`, `; size < 0 {`}},
	{"a source that is not there yet is not missed", "aggregate/find.go", "", "TestFindSaysWhatIsMissing", changes{
		`m.contents(upstream.Tools) != nil {`, `m != nil {`}},
	{"a required argument may be left out", "aggregate/find.go", "", "TestFoundTools", changes{
		`if needed[m.Name] == must {`, `if needed[m.Name] != must {`}},
	{"a signature is made whole before it is cut", "aggregate/find.go", "", "TestSignaturesOfHostileTools", changes{
		`			if size > maxSignature {
				return
			}
`, ``}},
	{"a rare word says no more than a common one", "aggregate/search/search.go", "", "TestRareWordsSayMore", changes{
		`	return math.Log(1 + (float64(len(x.effects))-n+0.5)/(n+0.5))`, `	return math.Log(2 + n/1e9)`}},
	{"the longest tool is found first", "aggregate/search/search.go", "", "TestRecall", changes{
		`/ (1 - w.length + w.length*counted[i].length[f]/max(mean[f], 1)))`, `)`}},
	{"the first are the worst", "aggregate/search/search.go", "", "TestSearch", changes{
		`cmp.Compare(b.Score, a.Score)`, `cmp.Compare(a.Score, b.Score)`}},
	{"a search leaves its count behind", "aggregate/search/search.go", "", "TestSearchLimits", changes{
		`t.scores[doc], t.seen[doc], t.heads[doc] = 0, 0, 0`, `t.seen[doc], t.heads[doc] = 0, 0`}},
	{"words count only as they are written", "aggregate/search/search.go", "", "TestSearch", changes{
		`	if len(word) < minNear {`, `	if true {`}},
	{"a command finds what reads", "aggregate/search/search.go", "", "TestCommandsFindWhatChanges", changes{
		`		wanted = Writes`, `		wanted = Reads`}},
	{"an argument that the tool declares is dropped", "aggregate/control.go", "", "TestControlArguments", changes{
		`if !(&property{root, name, maxApplied}).in(root) {`, `if !(&property{root, name, maxApplied}).in(nil) {`}},
	{"an argument of the host goes to the source", "aggregate/control.go", "", "TestControlArguments", changes{
		`arguments = rawjson.Delete(arguments, name)`, `_ = 0`}},
	{"a tool that takes any argument is not given it", "aggregate/control.go", "", "TestControlsThatAToolTakes", changes{
		`			if string(m.Value) != "false" {`, `			if string(m.Value) == "true" {`}},
	{"a host's argument stays in a plan", "aggregate/batch.go", "", "TestControlArgumentsInside", changes{
		`arguments := e.sent(s.Arguments)`, `arguments := s.Arguments`}},
}
