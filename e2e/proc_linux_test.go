package e2e_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// process is one process as /proc shows it. Its start time tells it from a
// later one with the same number.
type process struct {
	pid, parent int
	state, born string
}

// processOf reads /proc/PID/stat (proc(5)).
func processOf(pid int) (process, bool) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, false
	}
	// Field 2 is the command in parentheses and may contain anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return process{}, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return process{pid, parent, string(fields[0]), string(fields[19])}, err == nil
}

func (p process) alive() bool {
	now, ok := processOf(p.pid)
	return ok && now.born == p.born && now.state != "Z"
}

// descendants returns the children of a process, and theirs.
func descendants(t *testing.T, pid int) []process {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	children := map[int][]process{}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := processOf(n); ok {
				children[p.parent] = append(children[p.parent], p)
			}
		}
	}
	var found []process
	for next := children[pid]; len(next) > 0; next = next[1:] {
		found = append(found, next[0])
		next = append(next, children[next[0].pid]...)
	}
	return found
}

// family returns the descendants of a running program, of which there must be n.
func family(t *testing.T, p *proc, n int) []process {
	t.Helper()
	var all []process
	if !eventually(func() bool {
		all = descendants(t, p.cmd.Process.Pid)
		return len(all) == n
	}) {
		t.Errorf("%d processes instead of %d: %+v", len(all), n, all)
	}
	return all
}

// mustBeGone fails the test if one of the processes lives on.
func mustBeGone(t *testing.T, all []process) {
	t.Helper()
	left := all
	if !eventually(func() bool {
		var still []process
		for _, p := range left {
			if p.alive() {
				still = append(still, p)
			}
		}
		left = still
		return len(left) == 0
	}) {
		for _, p := range left {
			cmdline, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "cmdline"))
			t.Errorf("process %d lives on: %s", p.pid, strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
}

// handles returns how many file descriptors a process has open.
func handles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
