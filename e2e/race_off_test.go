//go:build !race

package e2e_test

const (
	raceFlag = "-race=false"
	atOnce   = "6"

	manyBytes = 20_000_000
)
