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

const (
	// writeTimeout bounds one line to the helper, which does nothing but read.
	writeTimeout = time.Second
	// A helper that lived shorter than steady did not end by accident; after
	// maxQuick of them in a row the next one waits for the next Track.
	steady   = time.Second
	maxQuick = 5
)

// Guard tracks process groups. Its methods may be called from many goroutines.
type Guard struct {
	exe  string
	args []string

	mu     sync.Mutex // held while a line is written, so that "+" precedes "-"
	groups map[int]struct{}
	helper *helper // nil if none runs
	quick  int     // helpers in a row that did not live long
	err    error   // why there is no helper
	closed bool
	awaits sync.WaitGroup // one goroutine for each helper
}

// helper is one helper process and our end of its pipe.
type helper struct {
	cmd   *exec.Cmd
	pipe  *os.File
	since time.Time
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
	if g.helper == nil {
		g.start()
		return
	}
	g.helper.tell('+', pgid)
}

// Untrack removes a process group that has ended.
func (g *Guard) Untrack(pgid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.groups[pgid]; !ok || g.closed {
		return
	}
	delete(g.groups, pgid)
	if g.helper != nil {
		g.helper.tell('-', pgid)
	}
}

// Close ends the helper and every group that is still registered, and waits for
// the helper. It returns why there was none, if so.
func (g *Guard) Close() error {
	g.mu.Lock()
	g.closed = true
	if g.helper != nil {
		_ = g.helper.pipe.Close()
	}
	g.mu.Unlock()
	g.awaits.Wait()
	return g.err // nothing changes it any more
}

// start runs a helper and tells it every group. The caller holds mu.
func (g *Guard) start() {
	h, err := g.launch()
	if g.err = err; err != nil {
		return
	}
	g.helper = h
	g.awaits.Go(func() { g.await(h) })
	for pgid := range g.groups {
		h.tell('+', pgid)
	}
	if g.closed {
		_ = h.pipe.Close()
	}
}

// await replaces a helper that has ended before its time. What was written to
// it may have been lost, even where writing succeeded: a pipe takes lines for
// as long as a thread of a dying reader holds it open. The next helper is told
// everything again.
func (g *Guard) await(h *helper) {
	err := h.cmd.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = h.pipe.Close()
	g.helper = nil
	if (g.closed && err == nil) || len(g.groups) == 0 {
		return
	}
	if g.quick++; time.Since(h.since) >= steady {
		g.quick = 0
	}
	if g.quick >= maxQuick {
		g.quick = 0
		g.err = fmt.Errorf("procguard: the helper keeps ending: %s", h.cmd.ProcessState)
		return
	}
	g.start()
}

func (g *Guard) launch() (*helper, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("procguard: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(g.exe, g.args...) //nolint:noctx // it ends when the pipe does, after us
	cmd.Stdin = r
	cmd.Env = []string{} // it needs none of our secrets
	cmd.Dir = os.TempDir()
	detach(cmd)
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("procguard: the helper did not start: %w", err)
	}
	return &helper{cmd: cmd, pipe: w, since: time.Now()}, nil
}

// tell writes one line. A helper that does not take it is ended; the next one
// learns it from its start.
func (h *helper) tell(op byte, pgid int) {
	_ = h.pipe.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := fmt.Fprintf(h.pipe, "%c%d\n", op, pgid); err != nil {
		_ = h.cmd.Process.Kill()
	}
}
