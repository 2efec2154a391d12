//go:build unix

package admin

import (
	"io/fs"
	"os"
	"syscall"
)

// owned reports whether a file belongs to our user.
func owned(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(s.Uid) == int64(os.Geteuid())
}
