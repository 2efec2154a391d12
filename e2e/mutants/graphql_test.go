package mutants_test

// asking are bugs in how GraphQL services are asked, and in what is noticed of
// sources that change.
var asking = []mutant{
	{"a mutation is offered without writes", "upstream/graphql/graphql.go", "", "TestMutationsAreOfferedWhereWritesAre", changes{
		`case act.mutates && !opt.Writes:`,
		`case act.mutates && !opt.Writes && act.head == nil:`}},
	{"a mutation is called a read", "upstream/graphql/action.go", "", "TestMutationsAreOfferedWhereWritesAre", changes{
		`if act.mutates { // what`,
		`if act.head != nil { // what`}},
	{"what was begun counts as not sent", "upstream/graphql/answer.go", "", "TestFailures", changes{
		`case a.data != nil: // null`,
		`case a.data != nil && !unbegun: // null`}},
	{"gaps in an answer are not told", "upstream/graphql/answer.go", "", "TestAnswers", changes{
		`if len(faults.list) > 0 {`,
		`if len(faults.list) > maxFaults {`}},
	{"points are taken for calls", "upstream/graphql/answer.go", "", "TestQuota", changes{
		`math.Floor(c.Throttle.Left / c.Requested)`,
		`math.Floor(c.Throttle.Left)`}},
	{"a GraphQL service may send its request elsewhere", "upstream/graphql/answer.go", "", "TestRedirectsAreNotFollowed", changes{
		`			return http.ErrUseLastResponse
`, `			return nil
`}},
	{"a field that is gone is not missed", "aggregate/promise.go", "", "TestDrift", changes{
		`f.required && !seen[i]`,
		`f.required && seen[i]`}},
	{"each answer is looked at for drift", "aggregate/drift.go", "", "TestDriftIsSampled", changes{
		`return now >= next && `,
		`return now >= next || `}},
	{"a document that has changed is taken for the same", "internal/config/file.go", "", "TestDocumentsAreNewWithTheirContent", changes{
		`io.LimitReader(f, maxPart)`, `io.LimitReader(f, 7)`}},
	{"input that was refused is taken for a success", "upstream/rest/answer.go", "", "TestRefusedInput", changes{
		`if said := a.refusals(took.body); said != "" {`, `if said := a.refusals(took.body); said == "never" {`}},
	{"a mutation's own errors are taken for data", "upstream/graphql/answer.go", "", "TestUserErrors", changes{
		`	if mutates {
`, `	if !mutates {
`}},
}
