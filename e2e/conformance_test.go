package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The official conformance runner judges our server to test against, and through
// Bulkhead the same server again: a client of each era against an upstream of
// each.

// buildFixture builds the server of fixture/ and returns the program.
func buildFixture(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "fixture")
	if out, err := exec.CommandContext(t.Context(), "go", "build", raceFlag, "-o", program, "./fixture").CombinedOutput(); err != nil {
		t.Fatalf("building the fixture: %v\n%s", err, out)
	}
	return program
}

// startFixture runs the server with flags of which one makes it listen, and
// returns the URL of its endpoint.
func startFixture(t *testing.T, program string, flags ...string) (url string) {
	t.Helper()
	cmd := exec.Command(program, flags...)
	cmd.Env = []string{raceOptions}
	p := launch(t, cmd, t.TempDir())
	line, err := bufio.NewReader(p.out).ReadString('\n')
	if err != nil {
		t.Fatalf("the fixture prints no URL: %v\n%s", err, p.log)
	}
	return strings.TrimSpace(line)
}

// throughBulkhead serves an upstream of this URL under its own tool names.
func throughBulkhead(t *testing.T, upstream string) (url string) {
	t.Helper()
	_, url = serveHTTP(t, "[server]\nnames = 'flat'\nlist_wait = '30s'\n"+upstreamTable("fixture", "url = '"+upstream+"'"))
	return url
}

func TestConformance(t *testing.T) {
	t.Parallel()
	bin, err := npm()
	needed(t, err)
	program := buildFixture(t)
	for _, revision := range []string{legacyVersion, modernVersion} {
		for name, flags := range map[string][]string{"both eras, two pages": {"-pages"}, "one era, one page": {"-era", eraOf(revision)}} {
			t.Run("fixture/"+revision+"/"+name, func(t *testing.T) {
				t.Parallel()
				url := startFixture(t, program, append([]string{"-http", "127.0.0.1:0"}, flags...)...)
				conform(t, bin, url, "fixture", "--requirements", revision)
			})
		}
		for _, era := range []string{"legacy", "modern"} {
			t.Run("bulkhead/"+revision+"/"+era+" upstream", func(t *testing.T) {
				t.Parallel()
				url := throughBulkhead(t, startFixture(t, program, "-http", "127.0.0.1:0", "-era", era))
				conform(t, bin, url, eraOf(revision)+"-client-"+era+"-upstream", "--requirements", revision)
			})
		}
		t.Run("bulkhead/"+revision+"/progress", func(t *testing.T) {
			t.Parallel()
			url := throughBulkhead(t, startFixture(t, program, "-http", "127.0.0.1:0"))
			places := make(chan struct{}, 4)
			var all sync.WaitGroup
			for range 20 {
				places <- struct{}{}
				all.Go(func() {
					defer func() { <-places }()
					conform(t, bin, url, "", "--scenario", "tools-call-with-progress", "--spec-version", revision)
				})
			}
			all.Wait()
		})
	}
}

func eraOf(revision string) string {
	if revision == modernVersion {
		return "modern"
	}
	return "legacy"
}

// conform runs the runner against a URL. Every check that fails or warns must
// stand in conformance/<baseline>.yml, and everything that stands there must fail.
func conform(t *testing.T, bin, url, baseline string, args ...string) {
	dir, err := os.MkdirTemp(t.TempDir(), "results")
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "node"),
		slices.Concat([]string{filepath.Join(bin, "conformance"), "server", "--url", url, "-o", dir}, args)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, environment(dir), 10*time.Second
	// The exit status says less than the checks do: scenarios that are not
	// scored never change it.
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || ctx.Err() != nil {
		t.Errorf("the runner: %v %v\n%s", err, ctx.Err(), out)
		return
	}
	failed, scenarios, err := faults(dir)
	if err != nil || scenarios == 0 {
		t.Errorf("%d scenarios: %v\n%.2000s", scenarios, err, out)
		return
	}
	expected := expectedFaults(t, baseline)
	for check, reason := range failed {
		if !expected[check] {
			t.Errorf("%s: %s", check, reason)
		}
	}
	for check := range expected {
		if _, ok := failed[check]; !ok {
			t.Errorf("%s passes: take it out of conformance/%s.yml", check, baseline)
		}
	}
	t.Logf("%d scenarios, %d checks at fault", scenarios, len(failed))
}

var resultDir = regexp.MustCompile(`^(?:server-)?(.+)-\d{4}-\d{2}-\d{2}T[0-9-]+Z$`)

// faults reads what a run has left in its directory: which checks, as
// scenario:check-id, did not succeed, and why.
func faults(dir string) (failed map[string]string, scenarios int, err error) {
	failed = map[string]string{}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "checks.json" {
			return err
		}
		name := resultDir.FindStringSubmatch(filepath.Base(filepath.Dir(path)))
		if name == nil {
			return fmt.Errorf("no scenario in the name of %s", filepath.Dir(path))
		}
		scenarios++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var checks []struct{ ID, Status, ErrorMessage string }
		if err := json.Unmarshal(text, &checks); err != nil {
			return err
		}
		for _, c := range checks {
			if c.Status == "FAILURE" || c.Status == "WARNING" {
				failed[name[1]+":"+c.ID] = c.Status + " " + c.ErrorMessage
			}
		}
		return nil
	})
	return failed, scenarios, err
}

var entry = regexp.MustCompile(`^  - ([a-z0-9-]+:\S+)( +# .+)?$`)

// expectedFaults reads a baseline in the runner's own format. Each line says why.
func expectedFaults(t *testing.T, baseline string) map[string]bool {
	expected := map[string]bool{}
	text, err := os.ReadFile(filepath.Join("conformance", baseline+".yml"))
	if baseline == "" || errors.Is(err, fs.ErrNotExist) {
		return expected
	}
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line == "server:" || line == "client:" || strings.HasPrefix(line, "#") {
			continue
		}
		match := entry.FindStringSubmatch(line)
		if match == nil || match[2] == "" {
			t.Errorf("conformance/%s.yml: %q is not \"  - scenario:check  # reason\"", baseline, line)
			continue
		}
		expected[match[1]] = true
	}
	return expected
}
