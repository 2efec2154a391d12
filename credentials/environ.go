package credentials

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// inherited are the variables that a child gets from this process, beside LC_*:
// the search path, the home, the locale with its time zone, and the temporary
// directory. None of them holds a secret.
var inherited = []string{"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"}

// agents are what a program that prints a secret needs besides: password
// managers find their agent and their settings by these.
var agents = []string{
	"USER", "LOGNAME", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "GNUPGHOME",
	"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR",
}

// inheritedWindows is what programs on Windows do not start without.
var inheritedWindows = []string{
	"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERNAME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH",
	"APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432",
	"COMMONPROGRAMFILES", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "OS",
}

// inherit returns the lines of this process's environment with these names.
func inherit(names ...string) []string {
	var out []string
	for _, line := range os.Environ() {
		name, _, _ := strings.Cut(line, "=")
		if slices.ContainsFunc(names, func(n string) bool { return sameVariable(n, name) }) {
			out = append(out, line)
		}
	}
	return out
}

func sameVariable(a, b string) bool {
	return a == b || runtime.GOOS == "windows" && strings.EqualFold(a, b)
}

// sealed returns the environment of a child: what every child inherits, with
// extra over it.
func sealed(extra map[string]Secret) []string {
	names := inherited
	if runtime.GOOS == "windows" {
		names = slices.Concat(inherited, inheritedWindows)
	}
	var out []string
	for _, line := range os.Environ() {
		name, _, _ := strings.Cut(line, "=")
		same := func(n string) bool { return sameVariable(n, name) }
		if !slices.ContainsFunc(names, same) && !strings.HasPrefix(name, "LC_") {
			continue
		}
		if slices.ContainsFunc(slices.Collect(maps.Keys(extra)), same) {
			continue
		}
		out = append(out, line)
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		out = append(out, name+"="+extra[name].reveal())
	}
	if out == nil {
		out = []string{} // nil would mean everything
	}
	return out
}

// command returns an unstarted command with a sealed environment. A program
// without a path is looked for in the PATH that the child will have.
func command(ctx context.Context, extra map[string]Secret, name string, arg ...string) *exec.Cmd {
	if path, ok := extra["PATH"]; ok && filepath.Base(name) == name {
		for _, dir := range filepath.SplitList(path.reveal()) {
			if !filepath.IsAbs(dir) {
				continue
			}
			if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				name = found
				break
			}
		}
	}
	cmd := exec.CommandContext(ctx, name, arg...) //nolint:gosec // the operator's own choice
	cmd.Env = sealed(extra)
	return cmd
}
