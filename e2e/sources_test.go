package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// beside starts the program a second time, with the configuration that p runs
// with.
func beside(p *proc, args ...string) *proc {
	p.t.Helper()
	cmd := exec.Command(os.Getenv(binaryVariable), args...)
	cmd.Dir, cmd.Env = p.home, environment(p.home)
	return launch(p.t, cmd, p.home)
}

// says returns what a command says beside p.
func says(p *proc, args ...string) string {
	p.t.Helper()
	q := beside(p, args...)
	out, err := io.ReadAll(q.out)
	if err != nil || q.wait() != 0 {
		p.t.Fatalf("%v: %v %s", args, err, q.log)
	}
	return string(out)
}

// instances is what sources --json prints.
type instances struct {
	Instances []struct {
		PID     int
		Serving string
		Clients []string
		Sources []source
	}
}

func (p *proc) instances() (found instances) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(says(p, "sources", "--json")), &found); err != nil {
		p.t.Fatal(err)
	}
	return found
}

// shortHome is a home in whose state directory there is room for a socket's name.
func shortHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "bh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	return home
}

func sockets(t *testing.T, home string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(home, "state", "bulkhead", "*", "*.sock"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What runs is shown as it is, by a process of its own and without a call of any
// source.
func TestSourcesOfRunningServers(t *testing.T) {
	t.Parallel()
	home := shortHome(t)
	config := fakeUpstream(t, "good", "healthy", "limit.rate = '50/1h'", "limit.burst = 50") + fakeUpstream(t, "dead", "dies at start")
	p := startIn(t, home, config, nil)
	c := p.stdio(false)
	c.ready()
	c.tools()
	alive(t, c, "good")
	c.mustCall("good_echo", nil)
	text := ""
	eventually(func() bool { // while it is tried it is down, too, and nobody says when it is tried again
		text = says(p, "sources")
		return strings.Contains(text, "tried again in ")
	})
	for _, want := range []string{
		fmt.Sprintf("process %d, stdio, ", p.cmd.Process.Pid), "\ngood    up ", " ▮▮▮▮▯ ", "/50\n", "\ndead    down ", "exited with status 3", "tried again in ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if now := p.instances(); len(now.Instances) != 1 || now.Instances[0].PID != p.cmd.Process.Pid || len(now.Instances[0].Sources) != 2 || len(now.Instances[0].Clients) != 1 {
		t.Errorf("%+v", now)
	}
	if found := sockets(t, home); len(found) != 1 || !strings.HasSuffix(found[0], fmt.Sprintf("-%d.sock", p.cmd.Process.Pid)) {
		t.Errorf("%q", found)
	}

	// Another one beside it, which is killed: what it leaves is removed.
	q := beside(p, "serve", "--listen", "127.0.0.1:0")
	at := q.endpoint()
	eventually(func() bool { return len(p.instances().Instances) == 2 })
	if text := says(p, "sources"); !strings.Contains(text, fmt.Sprintf("\n\nprocess %d, %s, for ", q.cmd.Process.Pid, at)) {
		t.Error(text)
	}
	if err := q.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-q.exited
	if n := len(sockets(t, home)); n != 2 {
		t.Errorf("%d sockets after one was killed", n)
	}
	if !eventually(func() bool { return len(p.instances().Instances) == 1 && len(sockets(t, home)) == 1 }) {
		t.Errorf("%q", sockets(t, home))
	}
	_ = p.in.Close()
	p.wait()
	if found := sockets(t, home); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}

// With --watch it goes on until it is interrupted, whatever becomes of the server.
func TestWatchedSources(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "good", "healthy"), nil) // in a directory whose name may be too long for a socket
	c := p.stdio(true)
	c.ready()
	alive(t, c, "good")
	eventually(func() bool { return len(p.instances().Instances) == 1 })
	w := beside(p, "sources", "--watch", "--json")
	lines := bufio.NewScanner(w.out)
	lines.Buffer(nil, 1<<20)
	next := func() (now instances) {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("it ended", w.log)
		}
		if err := json.Unmarshal(lines.Bytes(), &now); err != nil {
			t.Fatalf("%v in %s", err, lines.Bytes())
		}
		return now
	}
	for range 2 {
		if now := next(); len(now.Instances) != 1 || now.Instances[0].Sources[0].State != "up" {
			t.Errorf("%+v", now)
		}
	}
	_ = p.in.Close()
	p.wait()
	for began := time.Now(); len(next().Instances) > 0; {
		if time.Since(began) > patience {
			t.Fatal("a server that has ended is still shown")
		}
	}
	_ = w.cmd.Process.Signal(syscall.SIGINT)
	_, _ = io.Copy(io.Discard, w.out)
	if code := w.wait(); code != 0 || w.log.String() != "" {
		t.Errorf("%d %s", code, w.log)
	}
}

// Nothing is opened where nothing is to be kept; then the sources are started to
// look at them.
func TestSourcesWithoutState(t *testing.T) {
	t.Parallel()
	p := start(t, "[server]\nstate = 'none'\n"+fakeUpstream(t, "good", "healthy"), nil)
	c := p.stdio(true)
	c.ready()
	alive(t, c, "good")
	if now := p.instances(); len(now.Instances) != 1 || now.Instances[0].PID != 0 || now.Instances[0].Sources[0].State != "up" {
		t.Errorf("%+v", now)
	}
}

// A client that was told that a source is down hears when it is back: at once if
// it takes log messages, and in the source's next answer.
func TestRecoveryIsAnnounced(t *testing.T) {
	t.Parallel()
	elsewhere := t.TempDir()
	p := start(t, fakeUpstream(t, "one", "by file", "dir = '"+elsewhere+"'")+fakeUpstream(t, "good", "healthy"), nil)
	c := p.stdio(false)
	c.notify("notifications/initialized", nil)
	be := func(mode string) {
		if err := os.WriteFile(filepath.Join(elsewhere, "mode"), []byte(mode), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	be("dies mid-call")
	if !eventually(func() bool { return slices.Contains(c.tools(), "one_echo") }) {
		t.Fatal(c.tools())
	}
	c.must("logging/setLevel", map[string]any{"level": "info"})
	be("dies at start")
	c.mustCall("one_act", nil)
	if !eventually(func() bool { return strings.HasPrefix(c.mustCall("one_echo", nil).text(), "unavailable: one: ") }) {
		t.Fatal("it is not down")
	}
	be("healthy")
	for told := false; !told; {
		select {
		case a := <-p.stray:
			told = a.Method == "notifications/message"
		case <-time.After(patience):
			t.Fatal("nobody says that it is back")
		}
	}
	for _, want := range []bool{true, false} {
		raw := c.must("tools/call", map[string]any{"name": "one_echo", "arguments": map[string]any{}})
		if strings.Contains(string(raw), `"io.github.bulkhead-mcp/recovered":{"awaySince":"`) != want {
			t.Errorf("%s", raw)
		}
	}
}
