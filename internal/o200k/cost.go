package o200k

// Turn is what one call costs a model, in tokens: what it writes to make it, and
// what it reads of the answer.
type Turn struct{ Written, Read int }

// Cost returns how many tokens a model processes in all to make calls and read
// their answers. Each of turns holds the calls that it makes at once. At each it
// reads the definitions of the tools, the question and all that was written and
// read before, and writes its calls; at the end it reads all of it once more, to
// answer. What it thinks and what it answers are not counted, nor that a host may
// pay less for what it has sent before.
func Cost(definitions, question int, turns ...[]Turn) int {
	all, before := 0, definitions+question
	for _, calls := range turns {
		all += before
		for _, c := range calls {
			all += c.Written
			before += c.Written + c.Read
		}
	}
	return all + before
}
