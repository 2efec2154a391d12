//go:build linux

package procguard_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/procguard"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "guard":
			os.Exit(procguard.Main(os.Stdin))
		case "parent":
			parent()
			return
		}
	}
	goleak.VerifyTestMain(m)
}

// parent tracks two groups of three processes each, prints their ids, and
// hangs until it is killed. The second group ignores SIGTERM.
func parent() {
	exe, _ := os.Executable()
	g := procguard.New(exe, []string{"guard"})
	for _, script := range []string{
		"sleep 1000 & echo $!; sleep 1000 & echo $!; wait",
		"trap '' TERM; sleep 1000 & echo $!; sleep 1000 & echo $!; wait; wait; sleep 1000",
	} {
		cmd := exec.Command("sh", "-c", script)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		g.Track(cmd.Process.Pid)
		os.Stdout.WriteString(strconv.Itoa(cmd.Process.Pid) + "\n")
	}
	os.Stdout.WriteString("ready\n")
	time.Sleep(time.Hour)
}

// hanging is how long anything may take before it counts as hanging.
const hanging = time.Minute

// gone reports whether a process has ended; a zombie that nobody reaps has.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

func waitGone(t *testing.T, pids []int) {
	t.Helper()
	limit := time.Now().Add(hanging)
	for _, pid := range pids {
		for !gone(pid) {
			if time.Now().After(limit) {
				t.Fatalf("process %d is still there", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func TestChildrenEndWithAKilledParent(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	lines := bufio.NewScanner(out)
	for ready, n := false, 0; !(ready && n == 6) && lines.Scan(); {
		if ready = ready || lines.Text() == "ready"; lines.Text() != "ready" {
			pid, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
			if err != nil {
				t.Fatal(err)
			}
			pids, n = append(pids, pid), n+1
		}
	}
	if len(pids) != 6 {
		t.Fatalf("the parent told of %d processes, want 6", len(pids))
	}
	for _, pid := range pids {
		if gone(pid) {
			t.Fatalf("process %d ended too early", pid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	waitGone(t, pids)
}

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestUntrackedGroupsLive(t *testing.T) {
	exe, _ := os.Executable()
	g := procguard.New(exe, []string{"guard"})
	spared, ended := sleeper(t), sleeper(t)
	g.Track(spared.Process.Pid)
	g.Track(ended.Process.Pid)
	g.Untrack(spared.Process.Pid)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	waitGone(t, []int{ended.Process.Pid})
	if gone(spared.Process.Pid) {
		t.Error("a group that was untracked was ended")
	}
}

// helper finds the guard process of this test by its parent and command line.
func helper(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("ps", "-o", "pid=,args=", "--ppid", strconv.Itoa(os.Getpid())).Output()
	if err != nil {
		t.Skip("no ps here: ", err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "guard" {
			pid, _ := strconv.Atoi(f[0])
			return pid
		}
	}
	return 0
}

func TestHelperSurvivesSignalsAndIsReplaced(t *testing.T) {
	exe, _ := os.Executable()
	g := procguard.New(exe, []string{"guard"})
	first, second := sleeper(t), sleeper(t)
	g.Track(first.Process.Pid)
	pid := helper(t)
	if pid == 0 {
		t.Fatal("no helper was started")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for !gone(pid) {
		time.Sleep(time.Millisecond)
	}
	g.Track(second.Process.Pid) // finds the helper dead, starts another
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	waitGone(t, []int{first.Process.Pid, second.Process.Pid})
}

// TestLostHelperIsReplacedAtOnce holds that groups stay guarded though nothing
// is tracked after the helper's end, and though the helper dies again.
func TestLostHelperIsReplacedAtOnce(t *testing.T) {
	exe, _ := os.Executable()
	g := procguard.New(exe, []string{"guard"})
	first, second := sleeper(t), sleeper(t)
	g.Track(first.Process.Pid)
	g.Track(second.Process.Pid)
	for last, n := 0, 0; n < 2; n++ {
		var pid int
		for limit := time.Now().Add(hanging); pid == 0 || pid == last; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("the helper was not replaced")
			}
			pid = helper(t)
		}
		last = pid
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Close(); err != nil { // while the helper is dying
		t.Fatal(err)
	}
	waitGone(t, []int{first.Process.Pid, second.Process.Pid})
}

func TestStuckHelperIsReplaced(t *testing.T) {
	exe, _ := os.Executable()
	g := procguard.New(exe, []string{"guard"})
	first := sleeper(t)
	g.Track(first.Process.Pid)
	pid := helper(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for range 10_000 { // more than a pipe holds
		if gone(pid) {
			break
		}
		g.Track(1 << 21)
		g.Untrack(1 << 21)
	}
	waitGone(t, []int{pid})
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	waitGone(t, []int{first.Process.Pid})
}

func TestHelperThatKeepsEndingIsGivenUp(t *testing.T) {
	starts := filepath.Join(t.TempDir(), "starts")
	g := procguard.New("/bin/sh", []string{"-c", "echo >>" + starts})
	g.Track(12345678)
	count := func() int {
		b, _ := os.ReadFile(starts)
		return len(b)
	}
	for limit := time.Now().Add(hanging); count() < 5; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d attempts", count())
		}
	}
	time.Sleep(50 * time.Millisecond)
	if n := count(); n != 5 {
		t.Errorf("%d attempts, want 5", n)
	}
	if err := g.Close(); err == nil {
		t.Error("Close does not say that there is no helper")
	}
}

func TestMissingHelper(t *testing.T) {
	g := procguard.New("/nonexistent/guard", nil)
	g.Track(12345678)
	if err := g.Close(); err == nil {
		t.Error("Close does not say that the helper did not start")
	}
	g.Track(12345678) // after Close: nothing
}

func TestMainReadsNonsense(t *testing.T) {
	if code := procguard.Main(strings.NewReader("\n+\n+x\n-5\n+1\n+0\n+-7\n*9\n")); code != 0 {
		t.Errorf("Main returned %d", code)
	}
}
