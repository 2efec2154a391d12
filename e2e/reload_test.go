package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
)

// A changed configuration is taken over while the program runs: what is new
// starts, what is gone ends, and what has not changed does not notice. A faulty
// one changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	kept, gone := fakeUpstream(t, "kept", "healthy"), fakeUpstream(t, "gone", "healthy")
	p := start(t, kept+gone, nil)
	c := p.stdio(false)
	c.ready()
	before := surroundings(t, c, "kept")
	rewrite := func(config string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(p.home, "config.toml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	names := func() (all []string) {
		for _, s := range c.sources() {
			all = append(all, s.Name)
		}
		return all
	}

	slow := make(chan result, 1)
	go func() {
		r, err := c.call("gone_sleep", map[string]int{"ms": 2000})
		if err != nil {
			t.Error(err)
		}
		slow <- r
	}()
	eventually(func() bool { return busy(c, "gone") })
	rewrite(kept + fakeUpstream(t, "new", "healthy"))
	if !eventually(func() bool { return slices.Equal(names(), []string{"kept", "new"}) }) {
		t.Fatalf("%q", names())
	}
	c.ready()
	alive(t, c, "new")
	if r := <-slow; r.text() != "slept" {
		t.Errorf("a call of what is gone now: %+v", r)
	}
	if slices.Contains(c.tools(), "gone_echo") {
		t.Error("what is gone is still listed")
	}
	if after := surroundings(t, c, "kept"); after.PID != before.PID {
		t.Error("what has not changed was started anew")
	}
	family(t, p, 3)

	rewrite("[server]\nnames = 7\n")
	p.logged(regexp.MustCompile(`msg="configuration not reloaded" key=server.names problem=`))
	alive(t, c, "kept")
	alive(t, c, "new")
}
