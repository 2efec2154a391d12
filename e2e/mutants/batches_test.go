package mutants_test

// batching are bugs by which a plan does what its calls by themselves would not do,
// or costs more than they.
var batching = []mutant{
	{"a result is taken for a part of the plan", "aggregate/plan/run.go", "", "TestReferencesAreReplacedOnce", changes{
		`		v, err := r.value(p, element)
		switch {`, `		v, err := r.value(p, element)
		if in, ok := only(v, memberLiteral); ok {
			v = in
		}
		switch {`}},
	{"what stands beside a reference is written anew", "aggregate/plan/ref.go", "", "TestWhatIsNoReferenceStays", changes{
		`		out.Write(v[done:p.from])
`, `		out.Write(bytes.ReplaceAll(v[done:p.from], []byte(" "), nil))
`}},
	{"a place in a list may begin with zeros", "aggregate/plan/ref.go", "", "TestPointers", changes{
		` || token != strconv.Itoa(n) {`, ` {`}},
	{"an escaped tilde escapes what follows", "upstream/rawjson/pointer.go", "aggregate/plan", "TestPointers", changes{
		`strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")`, `strings.ReplaceAll(strings.ReplaceAll(token, "~0", "~"), "~1", "/")`}},
	{"a member that is named twice is passed on", "aggregate/plan/run.go", "", "TestNamesTwice", changes{
		`rawjson.Check(v, rawjson.Limits{})`, `rawjson.Check(v, rawjson.Limits{AllowDups: true})`}},
	{"a call that was skipped is no hindrance", "aggregate/plan/run.go", "", "TestOnError", changes{
		`r.out[j].Status != OK && before.OnError`, `r.out[j].Status == Failed && before.OnError`}},
	{"a reference to a call that failed leaves a gap", "aggregate/plan/run.go", "", "TestReferencesIntoFailures", changes{
		`		return json.RawMessage("null"), nil
`, `		return nil, nil
`}},
	{"a read overtakes a write", "aggregate/plan/link.go", "", "TestWritesAreABarrier", changes{
		`(o.Writes || t.Writes)`, `(o.Writes && t.Writes)`}},
	{"references put in as much as they like", "aggregate/plan/run.go", "", "TestBombs", changes{
		`r.put.Add(int64(len(v))) > maxAll`, `r.put.Add(int64(len(v))) < 0`}},
	{"a number of a million digits is calculated with", "aggregate/validate.go", "", "TestSchemasOfHours", changes{
		`m.wide || (cs.refs`, `(cs.refs`}},
	{"what a schema comes to is counted again and again", "aggregate/schemawork.go", "", "TestSchemasThatReferAreHeldTo", changes{
		`	w.known[key] = n
`, ``}},
	{"a list makes as many calls as it likes", "aggregate/plan/room.go", "", "TestBombs", changes{
		`	if n > m.left {`, `	if n > m.left+1<<20 {`}},
	{"lists have room in any order", "aggregate/plan/room.go", "", "TestListsHaveRoomInOrder", changes{
		`r.room.asks[:i] {`, `r.room.asks[i+1:] {`,
		`r.ready(j)`, `r.ready(i + 1 + j)`}},
	{"a plan's first fault is told only", "aggregate/plan/parse.go", "aggregate", "TestBatchFaults", changes{
		`	for _, f := range r.faults {`, `	for _, f := range r.faults[:1] {`}},
	{"calls that need each other are begun", "aggregate/plan/link.go", "", "TestFaults", changes{
		`			if !told[set] {`, `			if told[set] {`}},
	{"a tool runs beside what it requires", "aggregate/plan/link.go", "", "TestFaults", changes{
		`		case met:`, `		case met || in >= 0:`}},
	{"arguments with references are not looked at", "aggregate/batchcheck.go", "", "TestBatchFaults", changes{
		`	if !ok {
		return ""
	}
	sure`, `	if !ok || len(open) > 0 {
		return ""
	}
	sure`}},
	{"what is not known yet is thought to be wrong", "aggregate/batchcheck.go", "", "TestBatchFaults", changes{
		`		if len(e.InstanceLocation) >= len(path) {
			return false
		}`, ``}},
	{"a plan that only reads calls what does not say so", "aggregate/plan/parse.go", "aggregate", "TestBatchRefusesBeforeItRuns", changes{
		`if r.readOnly && !t.Reads {`, `if r.readOnly && t.Writes {`}},
	{"a plan that only reads calls what has turned into a write", "aggregate/batch.go", "", "TestBatchReadsOnlyToTheEnd", changes{
		`	case r.readOnly && !e.tool.Hints.ReadOnly:`, `	case r.readOnly && e == nil:`}},
	{"a plan contains a plan", "aggregate/batchfind.go", "", "TestBatchFaults", changes{
		`case toolBatch, toolBatchRead:`, `case toolBatch:`}},
	{"calls of a plan are made for whoever sits here", "aggregate/batch.go", "", "TestBatchIsItsCalls", changes{
		`		ID: id, Principal: r.call.Principal,`, `		ID: id, Principal: upstream.Local(),`}},
	{"calls of a plan are all the same call", "aggregate/batch.go", "", "TestBatchIsItsCalls", changes{
		`	id := r.call.ID + "." + s.Node.ID
`, `	id := r.call.ID
`}},
	{"calls of a plan belong to no session", "aggregate/batch.go", "", "TestBatchIsItsCalls", changes{
		`Session: r.call.Session, Client: r.call.Client,
		Op:`, `Client: r.call.Client,
		Op:`}},
	{"a plan takes the token of its progress along", "aggregate/batch.go", "", "TestBatchPassesOnWhatItCameWith", changes{
		`meta = rawjson.Delete(meta, "progressToken")`, `meta = rawjson.Delete(meta, "")`}},
	{"addresses in a plan's results lead to another source", "aggregate/batch.go", "", "TestBatchNamesResourcesAsCallsDo", changes{
		`return r.view.offer().exposeResult(e.m, res), nil`, `return res, nil`}},
	{"the progress of a plan stands still", "aggregate/batch.go", "", "TestBatchMoves", changes{
		`			r.moved++
`, ``}},
	{"who cannot be asked in a plan is told to be incapable", "aggregate/batch.go", "", "TestBatchAsks", changes{
		`unbegun(ctx, c, r.unasked(c, err))`, `unbegun(ctx, c, err)`}},
	{"a plan holds whatever it is answered", "aggregate/batch.go", "", "TestBatchOfManyResults", changes{
		`> maxTogether:`, `< 0:`}},
	{"a write whose answer was cut has failed", "aggregate/shape.go", "", "TestACutWriteHasSucceeded", changes{
		`	out.Marks.Undeclared = hasStructured && promised
`, `	out.Marks.Undeclared = hasStructured && promised
	out.IsError = out.IsError || out.Marks.Undeclared
`}},
	{"what was cut can be referred to", "aggregate/shape.go", "", "TestReferencesToCutResults", changes{
		`!slices.ContainsFunc(rest, isText)`, `slices.Index([]int{}, 0) < 0`}},
	{"our words are the source's", "aggregate/payload.go", "", "TestStaleAnswersAreShaped", changes{
		`max(len(said)-res.Marks.Notes, 0)`, `len(said)`}},
	{"what a source says beside its value is lost", "aggregate/payload.go", "", "TestWhatIsSaidBesideAResult", changes{
		`!again(i, text) {`, `again(i, text) {`}},
	{"long results stay in a plan's answer", "aggregate/batchresult.go", "", "TestBatchOfManyResults", changes{
		`total > limit && `, `total > 1<<40 && `}},
	{"what is held back of a plan is anybody's", "aggregate/batchresult.go", "", "TestBatchHoldsBackForWhoAsked", changes{
		`restOwner{r.call.Principal, source}`, `restOwner{upstream.Local(), source}`}},
	{"what a plan has brought is anybody's", "aggregate/batchkey.go", "", "TestBatchSentAgain", changes{
		`digest([]byte(c.Principal.Key()), `, `digest(`}},
	{"what a plan has brought is any session's", "aggregate/batchkey.go", "", "TestBatchSentAgain", changes{
		`[]byte(c.Session), `, ``}},
	{"a plan is another when it is written anew", "aggregate/batchkey.go", "", "TestBatchWrittenAnew", changes{
		`[]byte(c.Name), planForm(calls))`, `[]byte(c.Name), calls)`}},
	{"a plan runs beside itself", "aggregate/batchmemory.go", "", "TestBatchSentTwiceAtOnce", changes{
		`make(chan struct{}, 1)`, `make(chan struct{}, 2)`}},
	{"a lost write is made again with its plan", "aggregate/batchmemory.go", "", "TestBatchSentAgain", changes{
		`failed && !c.unsure {`, `failed {`}},
	{"a lost write is made again for a word", "aggregate/batchmemory.go", "", "TestBatchSentAgain", changes{
		`		if c.err == nil && !stay[c.node] {
			k.remove(key)`, `		if c != nil && stay != nil {
			k.remove(key)`}},
	{"a write whose client is gone is made again with its plan", "aggregate/batchmemory.go", "", "TestBatchAfterItsClientIsGone", changes{
		`upstream.Timeout, upstream.Cancelled, upstream.Internal:`, `upstream.Timeout, upstream.Internal:`}},
	{"what does not say that it reads is made again with its plan", "aggregate/batchmemory.go", "", "TestBatchDoesNotDoubleWhatDoesNotSay", changes{
		`!err.Sent || e.tool.Hints.ReadOnly ||`, `!err.Sent || e.tool.Hints.ReadOnly || !e.tool.HasHints ||`}},
	{"what another credential was answered is given again", "aggregate/batchmemory.go", "", "TestBatchAfterAChange", changes{
		`c == nil || c.reads && c.as != as.as:`, `c == nil:`}},
	{"what was read for a plan never grows old", "aggregate/batchmemory.go", "", "TestBatchReadsThatAreOutOfDate", changes{
		` || time.Since(c.made) >= planLasts)`, `)`}},
	{"a plan reads what was there before its write", "aggregate/batch.go", "", "TestBatchReadsThatAreOutOfDate", changes{
		`ok && !(wrote && e.tool.Hints.ReadOnly && !r.settled[s.Node.ID])`, `ok && !(wrote && e == nil)`}},
	{"a plan gives again what was read before a write", "aggregate/cached.go", "", "TestBatchSentAgainAfterAChange", changes{
		`			k.changed(c)
`, ``}},
	{"a plan reads again what it has changed itself", "aggregate/changes.go", "", "TestBatchSentAgainAfterAChange", changes{
		`if s.last.by == plan {`, `if false {`}},
	{"a plan that is sent again makes its writes from something else", "aggregate/batchmemory.go", "", "TestBatchKeepsWhatItsWritesWereMadeFrom", changes{
		`c.reads && !settled && (`, `c.reads && (`}},
	{"a write is another one where it would be made from something else", "aggregate/batchkey.go", "", "TestAWriteIsMadeOnceWhateverIsReadAnew", changes{
		`if s.Item >= 0 || e.tool.Hints.ReadOnly {`, `if e.tool != nil {`}},
	{"who stands behind another of its plan waits as long again", "upstream/gate/bulkhead.go", "", "TestAPlanIsRefusedLikeACall", changes{
		`if late {`, `if late && b == nil {`}},
	{"what is to be fresh comes from memory", "aggregate/cached.go", "", "TestBatchFresh", changes{
		`may && !fresh(c) {`, `may {`}},
	{"a plan at the address of one source reaches the others", "aggregate/batchfind.go", "", "TestOwnToolsOfOneSource", changes{
		`	v := r.view
`, `	v := &View{agg: r.agg}
`}},
	{"the plan of one client is another's", "aggregate/batchkey.go", "", "TestBatchOfAnotherClient", changes{
		`[]byte(c.Client), `, ``}},
	{"what has succeeded for a list is to be sent again", "aggregate/batchresult.go", "", "TestBatchSaysWhichElements", changes{
		`	if it.Items == nil {
		if so(it) {`, `	if true {
		if so(it) {`}},
	{"what a list is made of costs nothing", "aggregate/plan/run.go", "", "TestBombs", changes{
		`if element != nil && r.put.Add(int64(len(s.Node.Arguments))) > maxAll {`, `if element != nil && r.put.Add(0) < 0 {`}},
	{"a write to another source counts as made", "aggregate/batchkey.go", "", "TestBatchAfterAChange", changes{
		`[]byte(e.m.Identity), `, ``}},
	{"to remember a plan costs nothing", "aggregate/batchmemory.go", "", "TestPlansAreCountedWithWhatTheyCost", changes{
		`map[callKey]*keptCall{}, size: planCosts}`, `map[callKey]*keptCall{}}`}},
	{"what is remembered of a plan has the whole message stay", "aggregate/batchmemory.go", "", "TestPlansAreCountedWithWhatTheyCost", changes{
		`c.result = c.result.Alone()`, `_ = c.result`}},
	{"results of others have a write forgotten", "aggregate/batchmemory.go", "", "TestBatchMemoryIsBounded", changes{
		`		m.shorten(e.Value.(*batchKept))
`, `		m.drop(e.Value.(*batchKept))
`}},
}
