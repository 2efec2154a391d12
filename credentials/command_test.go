package credentials_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

func grant(t *testing.T, spec credentials.Spec) *credentials.Grant {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "crm"
	}
	g, err := credentials.NewGrant(spec)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestCommandEnvironmentIsSealed(t *testing.T) {
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "OTHER_TOKEN", "SHELL", "HTTP_PROXY", "SSH_AUTH_SOCK", "NODE_OPTIONS", "LC", "path", "BULKHEAD_CONFIG", "USER", "LOGNAME", "XDG_RUNTIME_DIR"} {
		t.Setenv(name, "leaked")
	}
	t.Setenv("LC_TIME", "C")
	t.Setenv("TZ", "UTC")
	t.Setenv("LANG", "C.UTF-8")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g := grant(t, credentials.Spec{Dir: dir, Env: map[string]credentials.Secret{
		"CRM_TOKEN": credentials.NewSecret("mine"), "LANG": credentials.NewSecret("de_DE"), "EMPTY": credentials.NewSecret("")}})
	for range 2 { // a child may be started again
		out, err := g.Command(t.Context(), self(t), "child", "env").Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if lines[0] != dir {
			t.Errorf("ran in %s, not %s", lines[0], dir)
		}
		allowed := []string{"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "PWD", "CRM_TOKEN", "EMPTY"}
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, "=")
			if value == "leaked" || !slices.Contains(allowed, name) && !strings.HasPrefix(name, "LC_") && runtime.GOOS != "windows" {
				t.Errorf("the child sees %s", line)
			}
		}
		for _, want := range []string{"CRM_TOKEN=mine", "LANG=de_DE", "LC_TIME=C", "TZ=UTC", "EMPTY=", "PATH=" + os.Getenv("PATH")} {
			if n := strings.Count("\n"+strings.Join(lines, "\n")+"\n", "\n"+want+"\n"); n != 1 {
				t.Errorf("the child sees %s %d times", want, n)
			}
		}
		if slices.Contains(lines, "LANG=C.UTF-8") {
			t.Error("both values of LANG")
		}
	}
}

func TestCommandWithoutGrantedEnvironment(t *testing.T) {
	t.Setenv("OTHER_TOKEN", "leaked")
	var zero credentials.Grant
	out, err := zero.Command(t.Context(), self(t), "child", "env").Output()
	if err != nil || strings.Contains(string(out), "leaked") {
		t.Errorf("%s %v", out, err)
	}
}

// A desktop assistant starts us with a minimal PATH; the operator's own counts
// for finding the program too.
func TestCommandIsFoundInGrantedPath(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "only-here")
	if err := os.Symlink(self(t), program); err != nil {
		t.Skip(err)
	}
	g := grant(t, credentials.Spec{Env: map[string]credentials.Secret{"PATH": credentials.NewSecret("." + string(filepath.ListSeparator) + dir)}})
	cmd := g.Command(t.Context(), "only-here", "child", "env")
	out, err := cmd.Output()
	if err != nil || cmd.Path != program || !strings.Contains(string(out), dir) {
		t.Errorf("%s: %v %s", cmd.Path, err, out)
	}
	if err := g.Command(t.Context(), "not-even-here").Run(); err == nil {
		t.Error("started a program that is nowhere")
	}
}

func TestCommandCannotChangeTheGrant(t *testing.T) {
	env := map[string]credentials.Secret{"A": credentials.NewSecret("1")}
	g := grant(t, credentials.Spec{Env: env})
	env["A"] = credentials.NewSecret("2")
	cmd := g.Command(t.Context(), "x")
	cmd.Env[0] = "B=3"
	if again := g.Command(t.Context(), "x").Env; !slices.Contains(again, "A=1") || slices.Contains(again, "B=3") {
		t.Errorf("%q", again)
	}
}
