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

// The files that the configuration names are as good as a part of it: nobody has to
// tell that one has changed, and a faulty one changes nothing.
func TestReloadOfNamedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	definition := func(action string) string {
		return write("definition.toml", "base_url = 'http://127.0.0.1:1'\n[action."+action+"]\nmethod = 'GET'\npath = '/'\n")
	}
	document := func(operation string) string {
		return write("document.yaml", "openapi: 3.0.3\ninfo: {title: x, version: '1'}\npaths: {/: {get: {operationId: "+operation+", responses: {}}}}\n")
	}
	p := start(t, upstreamTable("rest", "kind = 'rest'", "definition = '"+definition("one")+"'")+
		upstreamTable("api", "kind = 'openapi'", "url = 'http://127.0.0.1:1'", "operations = ['* *']", "document = '"+document("one")+"'"), nil)
	c := p.stdio(false)
	c.ready()
	offered := func(names ...string) {
		t.Helper()
		all := func() bool {
			return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(c.tools(), name) })
		}
		if !eventually(all) {
			t.Errorf("%q, want %q", c.tools(), names)
		}
	}
	offered("rest_one", "api_one")
	definition("other")
	offered("rest_other", "api_one")
	document("other")
	offered("rest_other", "api_other")

	document("[")
	p.logged(regexp.MustCompile(`msg="configuration not reloaded" key=upstream.api problem=`))
	definition("not a name")
	p.logged(regexp.MustCompile(`msg="configuration not reloaded" key=upstream.rest.definition problem=`))
	offered("rest_other", "api_other")
}
