package mutants_test

// keeping are bugs in what is kept and shared.
var keeping = []mutant{
	{"one user is answered with what another asked", "cache/cache.go", "", "TestPartitionsAreApart", changes{
		`	add(h, principal)
`, ``}},
	{"one credential's answers are told to another's", "cache/cache.go", "", "TestPartitionsAreApart", changes{
		`	add(h, fingerprint)
`, ``}},
	{"one user waits for another's answer", "cache/cache.go", "", "TestFlightIsSharedByEqualQuestionsOnly", changes{
		`	add(h, principal)
`, ``}},
	{"an answer of before a purge is kept", "cache/cache.go", "", "TestPurgeReachesWhatIsUnderWay", changes{
		`if Epoch(s.epochs[k.source]) != asked {`,
		`if false {`}},
	{"the first one's leaving ends it for all", "cache/flight.go", "", "TestFlightEndsWithItsLastWaiter", changes{
		`if l.waiting > 0 {`,
		`if false {`}},
	{"the last one's leaving ends nothing", "cache/flight.go", "", "TestFlightEndsWithItsLastWaiter", changes{
		`		return
	}
	l.cancel()
`, `		return
	}
`}},
}
