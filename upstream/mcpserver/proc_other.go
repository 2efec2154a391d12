//go:build !unix

package mcpserver

import (
	"fmt"
	"os"
	"os/exec"
)

// group is the child alone: this system has no process groups that signals
// reach, so descendants are left to end when their pipes close.
type group struct{ p *os.Process }

func setGroup(*exec.Cmd) {}

func groupOf(cmd *exec.Cmd) group { return group{cmd.Process} }

func (g group) terminate() { g.kill() }
func (g group) kill()      { _ = g.p.Kill() }
func (g group) end()       {}

func exitText(s *os.ProcessState) string {
	if s == nil {
		return "ended"
	}
	return fmt.Sprintf("exited with status %d", s.ExitCode())
}
