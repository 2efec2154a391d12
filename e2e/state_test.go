package e2e_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// After a warm start the last good list is served at once, although its source
// hangs; a call of it fails by itself.
func TestWarmStart(t *testing.T) {
	t.Parallel()
	home, elsewhere := t.TempDir(), t.TempDir()
	config := "[server]\nstate = '" + filepath.Join(home, "kept") + "'\nlist_wait = '1m'\n" +
		fakeUpstream(t, "slow", "by file", "dir = '"+elsewhere+"'", "timeout = '1s'") + fakeUpstream(t, "good", "healthy")
	be := func(mode string) {
		if err := os.WriteFile(filepath.Join(elsewhere, "mode"), []byte(mode), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	be("healthy")
	first := startIn(t, home, config, nil, "tools")
	listed, err := io.ReadAll(first.out)
	if err != nil || first.wait() != 0 || !strings.Contains(string(listed), "slow_echo") {
		t.Fatalf("%v %s", err, listed)
	}

	be("hangs at start")
	p := startIn(t, home, config, nil)
	c := p.stdio(false)
	began := time.Now()
	names := c.tools()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the first list took %v", took)
	}
	if !slices.Contains(names, "slow_echo") || !slices.Contains(names, "good_echo") {
		t.Errorf("%q", names)
	}
	if s := c.source("slow"); s.State != "connecting" || !s.Stale || s.Tools != 6 {
		t.Errorf("%+v", s)
	}
	if got := c.mustCall("slow_echo", nil); got.Meta.Error.Code != "timeout" || got.Meta.Error.Source != "slow" {
		t.Errorf("%+v", got)
	}
	eventually(func() bool { return c.source("good").State == "up" })
	alive(t, c, "good")
}

// Nothing is kept where nothing is to be kept, and by default it is where the
// user's programs keep their state.
func TestStateDirectory(t *testing.T) {
	t.Parallel()
	for state, dir := range map[string]string{"none": "", "": "state/bulkhead", "~/mine": "mine", "beside": "beside"} {
		home := t.TempDir()
		p := startIn(t, home, "[server]\nstate = '"+state+"'\n"+fakeUpstream(t, "one", "healthy"), nil, "tools")
		if _, err := io.Copy(io.Discard, p.out); err != nil || p.wait() != 0 {
			t.Fatal(err, p.log)
		}
		var files []string
		err := filepath.WalkDir(home, func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() && e.Name() != "config.toml" {
				files = append(files, strings.TrimPrefix(path, home+"/"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if dir == "" || !strings.HasPrefix(f, dir+"/") {
				t.Errorf("state = %q: %s", state, f)
			}
		}
		if dir != "" && len(files) == 0 {
			t.Errorf("state = %q: nothing is kept", state)
		}
	}
}
