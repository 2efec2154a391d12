//go:build unix

package mcpserver

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	leftoverGrace = 500 * time.Millisecond // for descendants that outlive the child
	leftoverPoll  = 5 * time.Millisecond
)

// group is a child and its descendants, as far as they have not left its
// process group.
type group int

func setGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pgid = true, 0
}

// groupOf returns the group of a started command: its own process id, because
// setGroup made it a leader.
func groupOf(cmd *exec.Cmd) group { return group(cmd.Process.Pid) }

func (g group) terminate() { _ = syscall.Kill(-int(g), syscall.SIGTERM) }
func (g group) kill()      { _ = syscall.Kill(-int(g), syscall.SIGKILL) }

// end ends what is left of the group after its leader has exited.
func (g group) end() {
	if !g.alive() {
		return
	}
	g.terminate()
	for limit := time.Now().Add(leftoverGrace); time.Now().Before(limit); time.Sleep(leftoverPoll) {
		if !g.alive() {
			return
		}
	}
	g.kill()
}

func (g group) alive() bool { return syscall.Kill(-int(g), 0) == nil }

// exitText says how a process ended, in words for a person.
func exitText(s *os.ProcessState) string {
	if s == nil {
		return "ended"
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Sprintf("was ended by a signal (%s)", ws.Signal())
	}
	return fmt.Sprintf("exited with status %d", s.ExitCode())
}
