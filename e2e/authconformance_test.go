package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The official conformance runner judges how we sign in: a client of Bulkhead's
// parts (authclient/) meets each of its servers that wants that, in both
// revisions, with their extensions, and of the revision before.
func TestAuthConformance(t *testing.T) {
	t.Parallel()
	bin, err := npm()
	needed(t, err)
	program := filepath.Join(t.TempDir(), "authclient")
	if out, err := exec.CommandContext(t.Context(), "go", "build", raceFlag, "-o", program, "./authclient").CombinedOutput(); err != nil {
		t.Fatalf("building the client: %v\n%s", err, out)
	}
	failed := map[string]string{} // as scenario:check-id, in any revision
	said := map[string]string{}   // what the client has said, by scenario
	for _, run := range []struct {
		args  []string
		least int // scenarios
	}{
		{[]string{"--requirements", legacyVersion}, 14},
		{[]string{"--requirements", modernVersion}, 25},
		{[]string{"--suite", "backcompat"}, 2},
	} {
		maps.Copy(failed, judgeSigningIn(t, bin, program, run.least, said, run.args...))
	}
	expected := expectedFaults(t, "auth-client")
	for check, reason := range failed {
		if !expected[check] {
			scenario, _, _ := strings.Cut(check, ":")
			t.Errorf("%s: %s\n%s", check, reason, said[scenario])
		}
	}
	for check := range expected {
		if _, ok := failed[check]; !ok {
			t.Errorf("%s passes: take it out of conformance/auth-client.yml", check)
		}
	}
	t.Logf("%d checks at fault, of extensions and an older revision", len(failed))
}

// judgeSigningIn runs program against many scenarios at once and returns which
// checks failed of those about signing in; what program says is added to said. The
// runner has others beside, of which the program knows nothing.
func judgeSigningIn(t *testing.T, bin, program string, least int, said map[string]string, args ...string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "node"),
		slices.Concat([]string{filepath.Join(bin, "conformance"), "client", "--command", program, "-o", dir}, args)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, environment(dir), 10*time.Second
	out, err := cmd.CombinedOutput() // its exit status is about the others too
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || ctx.Err() != nil {
		t.Fatalf("%v: the runner: %v %v\n%s", args, err, ctx.Err(), out)
	}
	failed, scenarios, err := faults(filepath.Join(dir, "auth"))
	if err != nil || scenarios < least {
		t.Fatalf("%v: %d scenarios, %v\n%.4000s", args, scenarios, err, out)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "auth", "*", "stderr.txt"))
	for _, log := range logs {
		if text, err := os.ReadFile(log); err == nil && len(text) > 0 {
			name := resultDir.FindStringSubmatch(filepath.Base(filepath.Dir(log)))
			said[name[1]] += fmt.Sprintf("%v: %.2000s", args, text)
		}
	}
	t.Logf("%v: %d scenarios, %d checks at fault, %v", args, scenarios, len(failed), err)
	return failed
}
