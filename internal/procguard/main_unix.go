//go:build unix

package procguard

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// grace is the time between SIGTERM and SIGKILL.
const grace = 500 * time.Millisecond

// detach gives the helper a session of its own: no terminal signal reaches it.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// Main is what the hidden command runs. It reads lines "+pgid" and "-pgid"
// until stdin ends, then sends SIGTERM, and half a second later SIGKILL, to the
// groups that are left. It returns the exit status.
func Main(stdin io.Reader) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	groups := map[int]string{} // to the birth of their leader
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		line := lines.Text()
		if len(line) < 2 {
			continue
		}
		pgid, err := strconv.Atoi(line[1:])
		if err != nil || pgid <= 1 {
			continue
		}
		switch line[0] {
		case '+':
			groups[pgid] = birth(pgid)
		case '-':
			delete(groups, pgid)
		}
	}
	if signalAll(groups, syscall.SIGTERM) {
		for limit := time.Now().Add(grace); time.Now().Before(limit) && signalAll(groups, 0); {
			time.Sleep(10 * time.Millisecond)
		}
		signalAll(groups, syscall.SIGKILL)
	}
	return 0
}

// signalAll signals every group that is still ours and reports whether there
// was one.
func signalAll(groups map[int]string, sig syscall.Signal) bool {
	some := false
	for pgid, born := range groups {
		// While a group has members, its number is given to no new process. If
		// a leader of another birth has it, the group is not ours any more.
		if now := birth(pgid); now != "" && now != born {
			continue
		}
		if syscall.Kill(-pgid, sig) == nil {
			some = true
		}
	}
	return some
}

// birth returns the start time of a process as /proc has it (proc(5), stat,
// field 22); "" if the process, or /proc, does not exist.
func birth(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// Field 2 is the command in parentheses and may contain anything.
	_, rest, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(") "))
	if fields := bytes.Fields(rest); ok && len(fields) >= 20 {
		return string(fields[19])
	}
	return ""
}
