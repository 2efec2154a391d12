//go:build race

package e2e_test

const (
	// raceFlag has the program under test built like the test.
	raceFlag = "-race"
	// atOnce is how many tests run at once: they wait for processes more than they
	// compute, so that one for each processor leaves a small machine idle half of
	// the time.
	atOnce = "4"
	// manyBytes is how long the longest answer is. The detector looks at each byte of
	// it in three processes, which finds no more races than fewer bytes do.
	manyBytes = 4_000_000
)
