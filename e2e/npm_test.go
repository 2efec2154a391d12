package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// needed skips a test for what is not there, but not in CI.
func needed(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// npm installs the pinned programs of npm/ unless they are there, and returns
// the directory of their commands. The Inspector needs a newer Node than may be
// installed, so Node is one of them.
var npm = sync.OnceValues(func() (bin string, err error) {
	dir, err := filepath.Abs("npm")
	if err != nil {
		return "", err
	}
	bin = filepath.Join(dir, "node_modules", ".bin")
	lock, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return "", err
	}
	done, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err == nil && !done.ModTime().Before(lock.ModTime()) {
		return bin, nil
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return "", errors.New("npm is not installed, and with it not the reference servers")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci in e2e/npm: %w\n%s", err, out)
	}
	return bin, nil
})

// referenceServers is the configuration of the three, the way users write it.
func referenceServers(t *testing.T) (config, notes string) {
	t.Helper()
	bin, err := npm()
	needed(t, err)
	notes = t.TempDir()
	if err := os.WriteFile(filepath.Join(notes, "hello.txt"), []byte("hello from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	table := func(name, server string, more ...string) string {
		command := fmt.Sprintf("command = [%q, %q", filepath.Join(bin, "node"), filepath.Join(bin, "mcp-server-"+server))
		for _, arg := range more {
			command += ", " + strconv.Quote(arg)
		}
		return upstreamTable(name, command+"]")
	}
	return table("everything", "everything") + table("files", "filesystem", notes) +
		table("memory", "memory") + "env.MEMORY_FILE_PATH = " + strconv.Quote(filepath.Join(notes, "memory.json")) + "\n", notes
}

func TestReferenceServersAreChecked(t *testing.T) {
	t.Parallel()
	config, _ := referenceServers(t)
	out, log, code := run(t, config, nil, "check")
	if code != 0 || !strings.Contains(out, "3 of 3 upstreams answer") || strings.Contains(out, "held back") {
		t.Errorf("exit status %d\n%s%s", code, out, log)
	}
}

func TestReferenceServers(t *testing.T) {
	t.Parallel()
	config, notes := referenceServers(t)
	p := start(t, "[server]\nlist_wait = '1m'\n"+config, nil)
	c := p.stdio(false)
	names := c.tools()
	for prefix, least := range map[string]int{"everything_": 10, "files_": 10, "memory_": 9} {
		n := 0
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				n++
			}
		}
		if n < least {
			t.Errorf("%d tools %s*", n, prefix)
		}
	}
	entity := map[string]any{"name": "Tarnwick", "entityType": "customer", "observations": []string{"ships freight"}}
	for _, step := range []struct {
		tool      string
		arguments any
		want      string
	}{
		{"everything_echo", map[string]any{"message": "hi"}, "Echo: hi"},
		{"everything_get-sum", map[string]any{"a": 19, "b": 23}, "42"},
		{"everything_get-structured-content", map[string]any{"location": "Chicago"}, "temperature"},
		{"files_list_allowed_directories", nil, notes},
		{"files_read_text_file", map[string]any{"path": filepath.Join(notes, "hello.txt")}, "hello from a file"},
		{"files_write_file", map[string]any{"path": filepath.Join(notes, "new.txt"), "content": "written"}, "Successfully wrote"},
		{"files_list_directory", map[string]any{"path": notes}, "new.txt"},
		{"memory_create_entities", map[string]any{"entities": []any{entity}}, "Tarnwick"},
		{"memory_search_nodes", map[string]any{"query": "freight"}, "Tarnwick"},
		{"memory_read_graph", nil, "ships freight"},
	} {
		if r := c.mustCall(step.tool, step.arguments); r.IsError || !strings.Contains(r.text(), step.want) {
			t.Errorf("%s: %.300s", step.tool, r.text())
		}
	}
	if r := c.mustCall("files_read_text_file", map[string]any{"path": "/etc/hostname"}); !r.IsError || !strings.Contains(r.text(), "outside allowed") {
		t.Errorf("a tool's own failure: %+v", r)
	}
	killOne(t, p, c)
}

// killOne kills one server: it is back within seconds, and the others have not
// noticed.
func killOne(t *testing.T, p *proc, c *client) {
	t.Helper()
	victim := 0
	for _, child := range descendants(t, p.cmd.Process.Pid) {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child.pid))
		if err == nil && bytes.Contains(cmdline, []byte("mcp-server-everything")) {
			victim = child.pid
		}
	}
	if victim == 0 {
		t.Fatal("the server has no process")
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	for _, tool := range []string{"files_list_allowed_directories", "memory_read_graph"} {
		others.Go(func() {
			for n := 0; !isClosed(stop) || n < 20; n++ {
				if r, err := c.call(tool, nil); err != nil || r.IsError {
					t.Errorf("%s: %v %+v", tool, err, r)
					return
				}
			}
		})
	}
	process, err := os.FindProcess(victim)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		t.Error(err)
	}
	began := time.Now()
	back := within(patience, func() bool {
		r, err := c.call("everything_echo", map[string]string{"message": "back"})
		return err == nil && r.text() == "Echo: back" && c.source("everything").Restarts == 1
	})
	t.Logf("back after %v", time.Since(began).Round(time.Millisecond))
	close(stop)
	others.Wait()
	if !back {
		t.Errorf("it does not come back: %+v", c.source("everything"))
	}
	for _, name := range []string{"files", "memory"} {
		if s := c.source(name); s.State != "up" || s.Restarts != 0 || s.LastFailure != nil {
			t.Errorf("%+v", s)
		}
	}
}

// The way most users start servers puts a process or two between us and them;
// they are gone with us all the same.
func TestNpxWrapper(t *testing.T) {
	t.Parallel()
	bin, err := npm()
	needed(t, err)
	_, err = exec.LookPath("npx")
	needed(t, err)
	p := start(t, "[server]\nlist_wait = '1m'\n"+upstreamTable("everything",
		fmt.Sprintf("command = ['npx', '--no', '--prefix', %q, 'mcp-server-everything']", filepath.Dir(filepath.Dir(bin)))), nil)
	c := p.stdio(false)
	if !eventually(func() bool { return slices.Contains(c.tools(), "everything_echo") }) {
		t.Fatalf("%+v", c.source("everything"))
	}
	children := descendants(t, p.cmd.Process.Pid)
	if len(children) < 3 { // the guard, npx, and the server
		t.Errorf("%+v", children)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait()
	mustBeGone(t, children)
}

// The MCP Inspector, a client of another make, works over both transports in
// every era.
func TestInspector(t *testing.T) {
	t.Parallel()
	bin, err := npm()
	needed(t, err)
	config := "[server]\nlist_wait = '1m'\n" + sandboxUpstream("crm", "crm", 0)
	home := t.TempDir()
	file := filepath.Join(home, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	_, url := serveHTTP(t, config)
	targets := map[string][]string{
		"stdio": {"-e", "BULKHEAD_CONFIG=" + file, "-e", raceOptions, "--", os.Getenv(binaryVariable)},
		"http":  {"--transport", "http", "--server-url", url},
	}
	for era, version := range map[string]string{"legacy": legacyVersion, "auto": modernVersion, "modern": modernVersion} {
		for way, target := range targets {
			t.Run(way+" "+era, func(t *testing.T) {
				for _, step := range []struct {
					want string
					args []string
				}{
					{`"protocolVersion":"` + version + `"`, []string{"initialize"}},
					{`"name":"crm_get_customer"`, []string{"tools/list", "--strict"}},
					{"Tarnwick Freight", []string{"tools/call", "--tool-name", "crm_get_customer", "--tool-arg", "customer_id=C-1001"}},
				} {
					args := slices.Concat([]string{filepath.Join(bin, "mcp-inspector"), "--cli", "--protocol-era", era, "--format", "json",
						"--method"}, step.args, target)
					out := inspect(t, home, filepath.Join(bin, "node"), args)
					if !json.Valid(out) || !strings.Contains(string(out), step.want) {
						t.Errorf("%s: no %s in %.500s", step.args[0], step.want, out)
					}
				}
			})
		}
	}
}

func inspect(t *testing.T, home, node string, args []string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, args...)
	cmd.Dir, cmd.Env = home, environment(home)
	out, err := cmd.Output()
	if err != nil {
		stderr := ""
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			stderr = string(exit.Stderr)
		}
		t.Errorf("%v: %v\n%s", args, err, stderr)
	}
	return bytes.TrimSpace(out)
}
