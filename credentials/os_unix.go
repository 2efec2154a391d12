//go:build unix

package credentials

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// mounted are the directories in which container and service managers lay
// secrets, with modes of their own choosing that the user cannot change.
var mounted = []string{"/run/secrets/", "/var/run/secrets/", "/run/credentials/"}

// exposed reports whether other users can read or change a secret's file.
func exposed(path string, mode fs.FileMode) bool {
	if abs, err := filepath.Abs(path); err == nil {
		for _, dir := range mounted {
			if strings.HasPrefix(abs, dir) {
				return false
			}
		}
	}
	return mode.Perm()&0o077 != 0
}

// ownGroup makes cmd the head of a process group and ends the whole group with
// it, so that what the program started does not outlive it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
