package mutants_test

// limiting are bugs in what keeps calls within limits: quotas, places, turns,
// breakers, retries, hedges, and the order of these layers.
var limiting = []mutant{
	{"burst is one more than it should be", "upstream/gate/bucket.go", "", "TestNeverOverQuota", changes{
		`b.tokens = min(b.tokens+dt*b.rate(), b.burst)`,
		`b.tokens = min(b.tokens+dt*b.rate(), b.burst+1)`}},
	{"a bucket fills while it is frozen", "upstream/gate/bucket.go", "", "TestAFrozenBucketIsEmptyAfterwards", changes{
		`if from.Before(b.frozen) { // nothing comes in while it is frozen`,
		`if false {`}},
	{"a freeze hits every quota of the source", "upstream/gate/throttle.go", "", "TestQuotasAreApart", changes{
		`key := t.opt.Key(c)`,
		`key := ""`}},
	{"a freeze of a class hits the calls of no class", "upstream/gate/throttle.go", "", "TestClassesOfAQuota", changes{
		`			q = class
`, `			_ = class
`}},
	{"what is said to be left makes it more", "upstream/gate/bucket.go", "", "TestLowerNeverRaises", changes{
		`b.tokens = min(b.tokens, left)`,
		`b.tokens = left`}},
	{"a freeze hits every source", "aggregate/quotas.go", "", "TestATooBusySourceIsLeftAlone", changes{
		`gate.NewBucket(rate, burst)`,
		`oneForAll(rate, burst)`,
		`func newQuotas(l Limits) *quotas {`,
		`var first gate.Bucket
		func oneForAll(rate, burst float64) gate.Bucket { if first == nil { first = gate.NewBucket(rate, burst) }; return first }
		func newQuotas(l Limits) *quotas {`}},
	{"all sources share their places", "aggregate/limits.go", "", "TestNothingThatASourceDoesReachesAnother", changes{
		`gate.NewBulkhead(l.Concurrency, l.Queue, l.QueueWait)`,
		`places(l)`,
		`func newGates(m Member, old []*member) *gates {`,
		`var shared *gate.Bulkhead
		func places(l Limits) *gate.Bulkhead { if shared == nil || l.Queue == 0 { shared = gate.NewBulkhead(l.Concurrency, l.Queue, l.QueueWait) }; return shared }
		func newGates(m Member, old []*member) *gates {`}},
	{"an upstream may freeze for ever", "upstream/gate/throttle.go", "", "TestThrottleFreezes", changes{
		`return min(e.RetryAfter, MaxFreeze)`,
		`return e.RetryAfter`}},
	{"what comes too late waits all the same", "upstream/gate/quota.go", "", "TestThrottleRefusesWhatComesTooLate", changes{
		`time.Until(deadline) < least`,
		`time.Until(deadline) < 0`}},
	{"who gives up waiting for a token is still in the way", "upstream/gate/quota.go", "", "TestThrottleIsFair", changes{
		`if !q.waiting.remove(t) && t.value.pledge &&`,
		`if t.value.pledge &&`}},
	{"who gives up waiting for a place is still in the way", "upstream/gate/bulkhead.go", "", "TestBulkheadForgetsWhoGaveUp", changes{
		`		b.waiting.remove(w.ticket)
`, ``}},
	{"a place granted to who gives up is lost", "upstream/gate/bulkhead.go", "", "TestAPlaceGrantedTooLateIsNotLost", changes{
		`		b.free(w.plan)
`, ``}},
	{"places go to who came first", "upstream/gate/bulkhead.go", "", "TestPlacesAreSharedEqually", changes{
		`b.waiting.push(w.flow,`,
		`b.waiting.push("",`}},
	{"a plan is refused for its own calls", "upstream/gate/bulkhead.go", "aggregate", "TestBatchFitsItsLimits", changes{
		`if b.places[c.Plan] == 0 && b.crews[c.Plan] == nil && b.waiting.size`,
		`if b.waiting.size`}},
	{"a plan is too late for its own calls", "upstream/gate/bulkhead.go", "aggregate", "TestBatchFitsItsLimits", changes{
		` || b.places[w.plan] > 0)`,
		`)`}},
	{"a plan stands in the queue as a whole", "upstream/gate/bulkhead.go", "", "TestAPlanTakesTurns", changes{
		`b.crews.join(c.Plan, w)`,
		`b.crews.join(nil, w)`}},
	{"who gives up leaves its plan behind", "upstream/gate/bulkhead.go", "", "TestPlansLoseNothing", changes{
		`		b.succeed(w)
`, ``}},
	{"writes of a plan are refused for each other", "upstream/gate/order.go", "aggregate", "TestBatchFitsItsLimits", changes{
		` && others == 0 {`, ` && others >= 0 {`,
		`counted: others == 0}`, `counted: true}`}},
	{"writes of a plan let nobody in between", "upstream/gate/order.go", "", "TestAPlanInALine", changes{
		`next.place = l.calls.PushBack(next)`,
		`next.place = l.calls.PushFront(next)`}},
	{"a call of a plan has no more time than by itself", "aggregate/deadline.go", "", "TestBatchWaitsAsLongAsItsHost", changes{
		`if c.Plan != nil {`,
		`if false {`}},
	{"tokens go to who came first", "upstream/gate/quota.go", "", "TestTokensAreSharedEqually", changes{
		`q.waiting.push(flowOf(c),`,
		`q.waiting.push("",`}},
	{"dear calls and cheap ones are one turn each", "upstream/gate/fair.go", "", "TestFairCountsCosts", changes{
		`f.start += t.cost`,
		`f.start += 1`}},
	{"who comes late has saved up", "upstream/gate/fair.go", "", "TestFairIsNotStarvedByNewcomers", changes{
		`f.start = max(f.start, q.now+newcomer)`,
		`f.start += 0`}},
	{"who comes late waits for all who are there", "upstream/gate/fair.go", "", "TestFairServesWhoAsksSeldomSoon", changes{
		`f.start = max(f.start, q.now+newcomer)`,
		`f.start = max(f.start, q.now+q.cost)`}},
	{"a 429 does not halve the concurrency", "upstream/gate/bulkhead.go", "", "TestBulkheadLearns", changes{
		`b.limit = max(b.limit/2, 1)`,
		`b.limit = max(b.limit, 1)`}},
	{"two probes are let through", "upstream/gate/breaker.go", "", "TestOneProbeAmongMany", changes{
		`if b.probing {`,
		`if false {`}},
	{"a late result of an older generation counts", "upstream/gate/breaker.go", "", "TestLateResultsSayNothing", changes{
		`if generation != b.generation {`,
		`if generation > b.generation {`}},
	{"a 429 trips the breaker", "upstream/gate/breaker.go", "", "TestWhatABreakerCounts", changes{
		`case upstream.InvalidArguments, upstream.NotFound, upstream.Denied, upstream.RateLimited, upstream.NeedsLogin:`,
		`case upstream.RateLimited: return verdictBad
		case upstream.InvalidArguments, upstream.NotFound, upstream.Denied, upstream.NeedsLogin:`}},
	{"a 401 trips the breaker", "upstream/gate/breaker.go", "", "TestWhatABreakerCounts", changes{
		`case upstream.InvalidArguments, upstream.NotFound, upstream.Denied, upstream.RateLimited, upstream.NeedsLogin:`,
		`case upstream.NeedsLogin: return verdictBad
		case upstream.InvalidArguments, upstream.NotFound, upstream.Denied, upstream.RateLimited:`}},
	{"who gives up trips the breaker", "upstream/gate/breaker.go", "", "TestWhatABreakerCounts", changes{
		`case upstream.Unavailable, upstream.Timeout, upstream.WriteOutcomeUnknown:`,
		`case upstream.Unavailable, upstream.Timeout, upstream.WriteOutcomeUnknown, upstream.Cancelled:`}},
	{"what a layer of ours refuses trips the breaker", "upstream/gate/breaker.go", "", "TestABreakerDoesNotCountOurRefusals", changes{
		`if !ok || errors.Is(err, errHere) ||`,
		`if !ok ||`}},
	{"calls lost together count one by one", "upstream/gate/breaker.go", "", "TestCallsLostTogetherCountOnce", changes{
		`if b.lost(now, err) || b.counted(c, err) {`,
		`if b.counted(c, err) {`}},
	{"a circuit that opens again stays open no longer", "upstream/gate/breaker.go", "", "TestBreakerAgainstItsModel", changes{
		`d *= 2`,
		`d += 0`}},
	{"failures of long ago count", "upstream/gate/breaker.go", "", "TestBreakerOpensWhenHalfFail", changes{
		`if n-s.at < windowSlots {`,
		`if n-s.at < 1e9 {`}},
	{"the upstream is not told that its caller has left", "aggregate/deadline.go", "", "TestGivingUpGivesEverythingBack", changes{
		`inner, cancel := context.WithCancelCause(ctx)`,
		`inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))`}},
	{"who gives up in the line of writes is still counted", "upstream/gate/order.go", "aggregate", "TestGivingUpGivesEverythingBack", changes{
		`	o.waits(s, -1)
`, ``}},
	{"retries cost nothing", "upstream/gate/retry.go", "", "TestRetriesHaveABudget", changes{
		`	b.left -= cost
`, ``}},
	{"hedges cost nothing", "upstream/gate/hedge.go", "", "TestHedgesAreFew", changes{
		`	h.budget--
`, ``}},
	{"a hedge is made beyond the budget", "upstream/gate/hedge.go", "", "TestHedgesAreFew", changes{
		`if h.budget < 1 {`,
		`if false {`}},
	{"a call that is late when there is no budget is never hedged", "upstream/gate/hedge.go", "", "TestAStuckCallGetsTheNextOfTheBudget", changes{
		`		r.timer.Reset(r.after)
`, ``}},
	{"a second attempt waits for a place", "upstream/gate/bulkhead.go", "", "TestASecondAttemptWaitsForNothing", changes{
		`if c.Spare() {`,
		`if false {`}},
	{"a second attempt waits for a token", "upstream/gate/quota.go", "", "TestASecondAttemptWaitsForNothing", changes{
		`if c.Spare() {`,
		`if false {`}},
	{"each attempt has the whole deadline", "aggregate/pipeline.go", "", "TestAttemptsShareTheDeadline", changes{
		`deadline(a.opt.Deadline),
		permitted`, `m.gates.retry.Layer,
		permitted`,
		`m.gates.order.Layer,
		m.gates.retry.Layer,`, `m.gates.order.Layer,
		deadline(a.opt.Deadline),`}},
	{"retry and throttle change places", "aggregate/pipeline.go", "", "TestRetriesKeepWithinTheQuota", changes{
		`m.gates.retry.Layer`, `m.gates.throttle.Layer`, `m.gates.throttle.Layer`, `m.gates.retry.Layer`}},
	{"retry and bulkhead change places", "aggregate/pipeline.go", "", "TestAPauseHoldsNoPlace", changes{
		`m.gates.retry.Layer`, `m.gates.bulkhead.Layer`, `m.gates.bulkhead.Layer`, `m.gates.retry.Layer`}},
	{"bulkhead and throttle change places", "aggregate/pipeline.go", "", "TestNoVolleyAfterAStall", changes{
		`m.gates.bulkhead.Layer`, `m.gates.throttle.Layer`, `m.gates.throttle.Layer`, `m.gates.bulkhead.Layer`}},
	{"breaker and bulkhead change places", "aggregate/pipeline.go", "", "TestAnOpenCircuitEmptiesTheQueue", changes{
		`m.gates.breaker.Layer`, `m.gates.bulkhead.Layer`, `m.gates.bulkhead.Layer`, `m.gates.breaker.Layer`}},
	{"breaker and throttle change places", "aggregate/pipeline.go", "", "TestAnOpenCircuitSpendsNoTokens", changes{
		`m.gates.breaker.Layer`, `m.gates.throttle.Layer`, `m.gates.throttle.Layer`, `m.gates.breaker.Layer`}},
}
