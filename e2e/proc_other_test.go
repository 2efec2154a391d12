//go:build !linux

package e2e_test

import "testing"

// Elsewhere there is no /proc to count processes and handles by: what comes
// before the count is tested, the rest is not.
const noProc = "processes and handles can be counted on Linux only"

type process struct{ pid int }

func descendants(t *testing.T, _ int) []process {
	t.Helper()
	t.Skip(noProc)
	return nil
}

func family(t *testing.T, p *proc, _ int) []process {
	t.Helper()
	return descendants(t, p.cmd.Process.Pid)
}

func mustBeGone(t *testing.T, _ []process) {
	t.Helper()
	t.Skip(noProc)
}

func handles(t *testing.T, _ int) int {
	t.Helper()
	return 0 // as many before as after
}
