//go:build race

package e2e_test

// raceFlag has the program under test built like the test.
const raceFlag = "-race"
