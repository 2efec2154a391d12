package mutants_test

// writing are bugs by which a write is carried out twice, out of its order, or
// said to have failed when nobody knows.
var writing = []mutant{
	{"a write that was sent is sent again", "upstream/gate/retry.go", "aggregate", "TestNoWriteIsCarriedOutTwice", changes{
		`if e.Sent && !r.again(c) {
			return 0, false
		}
		s = transient`, `s = transient`}},
	{"a write that was refused halfway is sent again", "upstream/gate/retry.go", "aggregate", "TestNoWriteIsCarriedOutTwice", changes{
		`if e.Sent && !r.again(c) { // refused, but perhaps halfway`,
		`if false {`}},
	{"a refusal that lasts is tried again", "upstream/gate/retry.go", "", "TestRetryOnlyWhatMayBeRepeated", changes{
		` || errors.Is(err, upstream.ErrFinal)`, ``}},
	{"a body that refuses the token is not heard", "upstream/rest/failure.go", "", "TestTokenRefusedInTheBody", changes{
		`token: meant.token && `, `token: !meant.token && `}},
	{"a write that may have been executed is made again with another token", "upstream/rest/failure.go", "", "TestTokenRefusedInTheBody", changes{
		`e.Kind == upstream.NeedsLogin && !e.Sent,`, `e.Kind == upstream.NeedsLogin,`}},
	{"a mutation that was begun is sent again with another token", "upstream/graphql/graphql.go", "", "TestTokenRefusedInErrors", changes{
		` && (!e.Sent || !act.mutates)`, ``}},
	{"an earlier attempt is forgotten", "upstream/gate/retry.go", "", "TestRetryRemembersThatItWasSent", changes{
		`known.Sent = true`,
		`known.Sent = false`}},
	{"a lost write is called a failure", "aggregate/deadline.go", "", "TestALostWriteIsCalledByItsName", changes{
		`if lost && e.Sent && t != nil`,
		`if lost && !e.Sent && t != nil`}},
	{"a child's call is said not to have been sent", "upstream/mcpserver/child.go", "aggregate", "TestLedgerStdio", changes{
		`return answer{}, c.gone(!out.withdraw())`,
		`return answer{}, c.gone(false)`}},
	{"a request over HTTP is said not to have been sent", "upstream/httpcall/httpcall.go", "aggregate", "TestLedgerHTTP", changes{
		`WroteHeaders: func() { t.sent.Store(true) },`,
		`WroteHeaders: func() {},`}},
	{"a call timed out over HTTP is said not to have been sent", "upstream/mcpserver/http.go", "aggregate", "TestLedgerHTTP", changes{
		`return ended(ctx, t.Sent())
}

// post sends`, `return ended(ctx, false)
}

// post sends`}},
	{"a message over SSE goes out after its call has failed", "upstream/mcpserver/sselink.go", "", "TestSSELostBeforeAPostWentOut", changes{
		`stop()
		wg.Wait()
		return t.Sent()`, `wg.Wait()
		return false`}},
	{"an answer that broke off is asked for again", "upstream/httpcall/httpcall.go", "aggregate", "TestLedgerHTTP", changes{
		`return unavailable(true, "the connection broke before the answer was complete", err)`,
		`return unavailable(false, "the connection broke before the answer was complete", err)`}},
	{"a given up call is said not to have been sent", "upstream/mcpserver/child.go", "aggregate", "TestLedgerStdio", changes{
		`return answer{}, ended(ctx, sent)`,
		`return answer{}, ended(ctx, false)`}},
	{"writes of one line run beside each other", "upstream/gate/order.go", "", "TestOrderIsThatOfArrival", changes{
		`if s != nil {
			if err`, `if false {
			if err`}},
	{"writes run in any order", "upstream/gate/order.go", "", "TestOrderIsThatOfArrival", changes{
		`s, err := o.line(c, key)`,
		`time.Sleep(time.Duration(fmt.Sprintf("%p", c)[9]) * time.Millisecond)
		s, err := o.line(c, key)`}},
	{"who stands behind a cancelled write runs at once", "upstream/gate/order.go", "", "TestOrderIsThatOfArrival", changes{
		`		o.leave(s)
`, `		o.pass(s.key)
`}},
	{"the repeated write goes to the end of its line", "aggregate/pipeline.go", "", "TestARepeatedWriteKeepsItsPlace", changes{
		`m.gates.order.Layer`, `m.gates.retry.Layer`, `m.gates.retry.Layer`, `m.gates.order.Layer`}},
}
