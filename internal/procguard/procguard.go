// Package procguard ends our child processes when we cannot: when this process
// is killed in a way that leaves it no time to clean up.
//
// Job: a [Guard] starts one tiny helper process, a hidden command of our own
// binary that runs [Main], and tells it through a pipe which process groups are
// ours. When the pipe closes, however that happens, the helper ends every group
// that is still registered.
//
// It owns the helper process and its line protocol. It must not know what the
// groups run, who started them, or any package of ours.
package procguard

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// writeTimeout bounds one line to the helper, which does nothing but read.
const writeTimeout = time.Second

// Guard tracks process groups. Its methods may be called from many goroutines.
type Guard struct {
	exe  string
	args []string

	mu     sync.Mutex // held while a line is written, so that "+" precedes "-"
	groups map[int]struct{}
	cmd    *exec.Cmd // the helper; nil if it does not run
	pipe   *os.File
	err    error // why the last start failed
	closed bool
}

// New returns a guard whose helper is exe with args, a command line that must
// lead to [Main]. The helper starts with the first Track.
func New(exe string, args []string) *Guard {
	return &Guard{exe: exe, args: args, groups: map[int]struct{}{}}
}

// Track registers a process group. It blocks only for the start of the helper;
// where that fails, the group is merely not guarded, see Close.
func (g *Guard) Track(pgid int) {
	if pgid <= 1 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.groups[pgid] = struct{}{}
	if g.cmd != nil && g.write('+', pgid) {
		return
	}
	g.restart()
}

// Untrack removes a process group that has ended.
func (g *Guard) Untrack(pgid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.groups[pgid]; !ok {
		return
	}
	delete(g.groups, pgid)
	if g.cmd != nil && !g.write('-', pgid) {
		g.restart()
	}
}

// Close ends the helper and every group that is still registered, and waits for
// the helper. It returns why the helper could not be started, if so.
func (g *Guard) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.stop()
	return g.err
}

func (g *Guard) write(op byte, pgid int) bool {
	_ = g.pipe.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := fmt.Fprintf(g.pipe, "%c%d\n", op, pgid)
	return err == nil
}

// restart replaces a helper that is not there and tells the new one everything.
func (g *Guard) restart() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill() // what it still knows, the new one will know too
		g.stop()
	}
	if g.err = g.start(); g.err != nil {
		return
	}
	for pgid := range g.groups {
		g.write('+', pgid)
	}
}

func (g *Guard) stop() {
	if g.cmd == nil {
		return
	}
	_ = g.pipe.Close()
	_ = g.cmd.Wait()
	g.cmd, g.pipe = nil, nil
}

func (g *Guard) start() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("procguard: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(g.exe, g.args...)
	cmd.Stdin = r
	cmd.Env = []string{} // it needs none of our secrets
	cmd.Dir = os.TempDir()
	detach(cmd)
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return fmt.Errorf("procguard: the helper did not start: %w", err)
	}
	g.cmd, g.pipe = cmd, w
	return nil
}
