//go:build unix

package admin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/admin"
)

// A directory that another user has made is not used, even by who could.
func TestAnothersDirectoryIsLeftAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only the superuser can make a directory somebody else's")
	}
	dir := filepath.Join(short(t), "d")
	p := admin.Place{Dirs: []string{dir}, Key: "k"}
	_, stop := serve(t, p)
	defer stop()
	if len(p.Find(t.Context())) != 1 {
		t.Fatal("not found in a directory of its own")
	}
	if err := os.Chown(dir, 4711, -1); err != nil { //nolint:gosec // G302: it is the test's
		t.Fatal(err)
	}
	if found := p.Find(t.Context()); len(found) != 0 {
		t.Errorf("asked %+v", found)
	}
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // G302: as somebody may have it
		t.Fatal(err)
	}
	ln, err := p.Listen(t.Context())
	if err == nil {
		_ = ln.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Error(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
