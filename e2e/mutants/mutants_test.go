package mutants_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// root is the module's directory, seen from this one.
const root = "../.."

// every has each bug planted, which takes minutes. Otherwise it is every tenth;
// whether the others still fit the code is looked at all the same.
var every = flag.Bool("every", os.Getenv("CI") != "", "plant each bug, not every tenth")

// mutant is a bug, and the test that has to find it.
type mutant struct {
	bug     string
	file    string // below the root
	pkg     string // whose test finds it, below the root; "" for the file's own
	test    string // matches a single test's name
	changes changes
}

// changes are pairs of a text that occurs once in the file and what stands there
// instead. All are made at once, so {a, b, b, a} lets two texts change places.
type changes []string

// Each mutant is found by its test, and for no other reason than that the test
// fails.
func TestMutants(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("compiles every package that has a mutant")
	}
	mutants := slices.Concat(limiting, writing, keeping, telling, bleeding, entering, requesting, asking, batching, shaping, finding, querying)
	for i, m := range mutants {
		if m.pkg == "" {
			mutants[i].pkg = path.Dir(m.file)
		}
	}
	w, err := newWeave(t.TempDir(), mutants)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var found []string
	t.Cleanup(func() { // when all are done
		slices.Sort(found)
		t.Logf("%d of %d mutants were found, %d of them woven in:\n%s", len(found), len(mutants), len(w.numbers), strings.Join(found, "\n"))
	})
	places := make(chan struct{}, 2)
	seen := map[string]bool{}
	for i, m := range mutants {
		if seen[m.bug] {
			t.Errorf("two mutants are called %q", m.bug)
		}
		seen[m.bug] = true
		t.Run(m.bug, func(t *testing.T) {
			overlay := m.plant(t) // which sees to it that it fits the code, in whatever way it is looked for
			if !*every && i%10 != 0 {
				return
			}
			t.Parallel()
			places <- struct{}{}
			defer func() { <-places }()
			began := time.Now()
			how := m.mustBeFound(t, w, overlay)
			mu.Lock()
			defer mu.Unlock()
			found = append(found, fmt.Sprintf("%-60s %-22s %-45s %5s %4.1f s", m.bug, m.pkg, m.test, how, time.Since(began).Seconds()))
		})
	}
}

// mustBeFound looks for the mutant where all are woven in. One that cannot be
// woven, or is not found so, because its test has the code run in a child that
// does not know what is on, is planted alone, by overlay.
func (m mutant) mustBeFound(t *testing.T, w *weave, overlay string) (how string) {
	t.Helper()
	if number := w.numbers[m.bug]; number > 0 {
		bin, err := w.compiled(t.Context(), m.pkg)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := bin.run(t.Context(), "60s", "^"+m.test+"$", number); m.missed(out, err) == "" {
			return "woven"
		}
	}
	if _, err := os.ReadDir(filepath.Join(root, m.pkg)); err != nil { // has go test look at the files before it takes an earlier result
		t.Fatal(err)
	}
	// Without optimisation it is compiled sooner, and runs only once.
	cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-vet=off", "-gcflags=-N -l", "-count=1", "-short", "-failfast",
		"-timeout=60s", "-run", "^"+m.test+"$", "./"+m.pkg)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if why := m.missed(string(out), err); why != "" {
		t.Fatalf("%s:\n%.8000s", why, out)
	}
	return "alone"
}

// missed says why what go test has said and returned does not mean that the test
// has found the mutant; "" if it does.
func (m mutant) missed(out string, err error) string {
	switch {
	case err == nil:
		return "no test has found it"
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return "it does not compile"
	case strings.Contains(out, "panic: test timed out"):
		return "the test hangs instead of failing"
	case !strings.Contains(out, "--- FAIL: "+m.test):
		return "something else has failed"
	}
	return ""
}

// plant writes the changed file and returns the overlay that puts it in place.
func (m mutant) plant(t *testing.T) (overlay string) {
	t.Helper()
	original, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(m.changes); i += 2 {
		if n := strings.Count(string(text), m.changes[i]); n != 1 {
			t.Fatalf("%s has this %d times, not once; the mutant is to be written anew:\n%s", m.file, n, m.changes[i])
		}
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, path.Base(m.file))
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	for file, data := range map[string][]byte{changed: []byte(strings.NewReplacer(m.changes...).Replace(string(text))), overlay: list} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}

// A mutant that does not compile, or whose test is gone, is not found.
func TestWhatIsNoFind(t *testing.T) {
	m := mutant{test: "TestX"}
	failed := errors.New("exit status 1")
	for _, c := range []struct {
		out  string
		err  error
		want string
	}{
		{"--- FAIL: TestX (0.01s)\n    x_test.go:1: 2 probes\nFAIL", failed, ""},
		{"ok  \tx\t0.1s", nil, "no test has found it"},
		{"ok  \tx\t0.1s [no tests to run]", nil, "no test has found it"},
		{"# x\nx.go:1:1: syntax error\nFAIL\tx [build failed]", failed, "it does not compile"},
		{"panic: test timed out after 1m0s\n--- FAIL: TestX", failed, "the test hangs instead of failing"},
		{"--- FAIL: TestY (0.01s)", failed, "something else has failed"},
		{"go: cannot find main module", failed, "something else has failed"},
	} {
		if got := m.missed(c.out, c.err); got != c.want {
			t.Errorf("%q: %q, want %q", c.out, got, c.want)
		}
	}
}
