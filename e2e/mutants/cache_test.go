package mutants_test

// keeping are bugs in what is kept and shared.
var keeping = []mutant{
	{"one user is answered with what another asked", "cache/cache.go", "", "TestPartitionsAreApart", changes{
		`	add(h, []byte(principal))
`, ``}},
	{"one credential's answers are told to another's", "cache/cache.go", "", "TestPartitionsAreApart", changes{
		`	add(h, []byte(fingerprint))
`, ``}},
	{"one user waits for another's answer", "aggregate/cachedkey.go", "", "TestEqualReadsAreOneCall", changes{
		`fingerprint, who.Key())`,
		`fingerprint, "")`}},
	{"an answer is given when it is too old for any use", "cache/cache.go", "", "TestEntriesExpire", changes{
		`return e.epoch == h.Epoch() && now.Before(e.stale)`,
		`return e.epoch == h.Epoch()`}},
	{"what is too old for any use stays until it is asked for", "cache/cache.go", "", "TestWhatIsOldGoesUnasked", changes{
		`			h.sweep(now)
`, `			_, _ = h, now
`}},
	{"an answer of before a purge is kept", "cache/cache.go", "", "TestPurgeReachesWhatIsUnderWay", changes{
		`if h.closed || h.Epoch() != asked {`,
		`if asked = h.Epoch(); h.closed {`}},
	{"an answer outlives a write", "aggregate/cached.go", "", "TestWritesDropWhatIsKept", changes{
		`if sent {`,
		`if sent && false {`}},
	{"an answer of before a write is kept after it", "aggregate/cachedflight.go", "", "TestAReadDuringAWriteIsNobodysLater", changes{
		`k.keep(c, q, asked, out.res)`,
		`_, asked = asked, k.shelf.Epoch(); k.keep(c, q, asked, out.res)`}},
	{"a read of after a write shares the answer of before", "aggregate/cachedflight.go", "", "TestAReadDuringAWriteIsNobodysLater", changes{
		`epoch: k.shelf.Epoch(), `, ``}},
	{"the first one's leaving ends it for all", "cache/flight.go", "", "TestFlightEndsWithItsLastWaiter", changes{
		`if len(l.seats) > 0 {`,
		`if false {`}},
	{"the last one's leaving ends nothing", "cache/flight.go", "", "TestFlightEndsWithItsLastWaiter", changes{
		`	l.cancel(context.Cause(mine.ctx))
`, ``}},
}
