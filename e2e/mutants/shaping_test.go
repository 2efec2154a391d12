package mutants_test

// shaping are bugs by which a result is shown otherwise than its rules say, or with
// nobody told.
var shaping = []mutant{
	{"a list has more records than it may", "aggregate/ruled.go", "", "TestWhatRowsAreLeftOutSays", changes{
		`		n = min(n, x.rule.MaxRows)`, `		_ = n`}},
	{"a page has one record more than it may", "aggregate/ruled.go", "", "TestRowsThatAreLeftOut", changes{
		`(most == 0 || to-from < most)`, `(most == 0 || to-from < most+1)`}},
	{"a shaped result is longer than it may be", "aggregate/ruled.go", "", "TestMaxBytesOfText", changes{
		`limit = min(limit, rule.MaxBytes)`, `limit = max(limit, rule.MaxBytes)`}},
	{"a list that is short of records breaks its schema", "aggregate/ruled.go", "", "TestRowsThatAreLeftOut", changes{
		`	return x.p.with(x.res, x.v.Value(n), false, x.note(n, handle))`, `	return x.p.with(x.res, x.v.Value(n), x.p.structured, x.note(n, handle))`}},
	{"the next page begins a record late", "aggregate/ruled.go", "", "TestRowsThatAreLeftOut", changes{
		`s.pages(x, n); ok`, `s.pages(x, n+1); ok`}},
	{"a failure is shaped", "aggregate/ruled.go", "", "TestShapedResults", changes{
		`	if !res.IsError {`, `	if true {`}},
	{"no tool has rules", "aggregate/ruled.go", "", "TestTheOutputSchemaOfAShapedTool", changes{
		`	if m.Shape[t.Name] == nil {`, `	if true {`}},
	{"a rule that does not fit is told of each call", "aggregate/ruled.go", "", "TestRulesThatDoNotFit", changes{
		`if _, told := s.told.LoadOrStore(c.Name+"\x00"+what, true); !told {`, `{`}},
	{"a text that repeats the result is taken for another", "aggregate/payload.go", "", "TestShapedResults", changes{
		`		if forms.Has(text) {`, `		if i < 0 && forms.Has(text) {`}},
	{"a text that says something else is not shaped", "aggregate/ruled.go", "", "TestRowsOfAWrappedList", changes{
		`				p.claim()`, `				_ = p.claim`}},
	{"each text is compared with all of the result", "aggregate/payload.go", "", "TestFindingThePayloadIsLinear", changes{
		`		if forms.Has(text) {`, `		if shaping.Same(p.value, text) {`, `	forms := shaping.FormsOf(p.value)
`, ``}},
	{"what is no object is not for older clients", "aggregate/payload.go", "", "TestShapedResults", changes{
		`!(structured && rawjson.Kind(value) == '{')`, `!structured`}},
	{"a list that no text says is lost to older clients", "aggregate/older.go", "", "TestEachRevisionGetsWhatItKnows", changes{
		`		if !saidByText(res) {`, `		if content, _ := res.Get("content"); len(content) < 3 {`}},
	{"any number of rows is kept", "aggregate/shaping/shaping.go", "", "TestRowsAreBounded", changes{
		`size <= maxShaped && len(s.Rows) < maxRecords {`, `size <= maxShaped {`}},
	{"an error quotes the answer", "aggregate/shaping/jq.go", "", "TestJQFails", changes{
		`said, ok := own.Value().(string); ok && p.says[said] {`, `said, ok := own.Value().(string); ok {`}},
	{"what the library says is shown as it is", "aggregate/shaping/jq.go", "", "TestJQFails", changes{
		`	return "the program failed on this answer"`, `	return text`}},
	{"each text is the whole", "aggregate/payload.go", "", "TestShapedResults", changes{
		`		if said++; said == 1 {`, `		if said++; said > 0 {`}},
	{"prose is a record", "aggregate/payload.go", "", "TestShapedResults", changes{
		`	case len(texts) > 1 && p.prose == nil:`, `	case len(texts) > 1:`}},
	{"what is not shown is still there as structured content", "aggregate/payload.go", "", "TestReferencesToShapedResults", changes{
		`	} else { // also one`, `	} else if false { // also one`}},
	{"a value that stays the same is written anew", "aggregate/shaping/shaping.go", "", "TestJQ", changes{
		`if !Same(made, v) { // else every byte stays`, `if true {`}},
	{"a program rounds numbers", "aggregate/shaping/jq.go", "", "TestJQ", changes{
		`in.UseNumber()`, `_ = 0 //`}},
	{"a program has no end", "aggregate/shaping/jq.go", "", "TestALongStepDoesNotHoldTheCall", changes{
		`	case <-enough.C:
		return nil, late`, `	case <-make(chan int):
		return nil, late`}},
	{"a program may take any value", "aggregate/shaping/jq.go", "", "TestJQIsGivenSoMuch", changes{
		`if len(v) > maxValue {`, `if false {`}},
	{"a program may nest as it likes", "aggregate/shaping/encode.go", "", "TestJQFails", changes{
		`	case depth > rawjson.DefaultDepth:`, `	case false:`}},
	{"one of several lists is the records", "aggregate/shaping/shaping.go", "", "TestWhereTheRecordsAre", changes{
		`	if lists > 1 {`, `	if false {`}},
	{"fields below a list are lost", "aggregate/shaping/fields.go", "", "TestFields", changes{
		`	return n.below[rawjson.String(quoted)]`, `	return nil`}},
	{"a schema is left that the shaped result breaks", "aggregate/undeclared.go", "", "TestUndeclaredFields", changes{
		`rule == nil || rule.JQ != ""`, `rule == nil`}},
}
