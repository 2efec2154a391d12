//go:build !unix

package procguard

import (
	"io"
	"os/exec"
)

func detach(*exec.Cmd) {}

// Main only waits for the end of stdin: this system has no process groups that
// signals reach.
func Main(stdin io.Reader) int {
	_, _ = io.Copy(io.Discard, stdin)
	return 0
}
