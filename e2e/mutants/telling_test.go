package mutants_test

// telling are bugs in who hears what of a source that was away.
var telling = []mutant{
	{"every session is told that a source is back", "aggregate/subscribe.go", "", "TestRecoveryIsTold", changes{
		`if sub.who == p {
			sub.tell(n)`, `if sub.who.principal == p.principal {
			sub.tell(n)`}},
	{"every result says that its source is back", "aggregate/outage.go", "", "TestRecoveryIsTold", changes{
		`	} else {
		d = nil
	}`, `	} else if d = nil; o.last.why != "" {
		d = &debt{outage: o.last}
	}`}},
	{"every request is told that a source is back", "aggregate/outage.go", "", "TestRecoveryIsToldWithARequest", changes{
		`	if d == nil || d.ended.IsZero() || d.noticed {`,
		`	if d == nil {
		return o.last, o.last.why != ""
	}
	if d.ended.IsZero() || d.noticed {`}},
	{"the last failure of a read may have been carried out", "aggregate/observe.go", "", "TestTheLastFailureSaysWhatItsCallerWasTold", changes{
		`unquoted(e), reads(c)}`,
		`unquoted(e), false}`}},
}
