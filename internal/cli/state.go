package cli

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// stateDir returns the directory that belongs to this configuration file, ""
// if nothing is to be kept.
func (e Env) stateDir(cfg *config.Config) string {
	base := cfg.Server.State
	switch base {
	case "none":
		return ""
	case "":
		base = e.userState()
		if base == "" {
			return ""
		}
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(base, hex.EncodeToString(sum[:6]))
}

// userState follows the XDG Base Directory Specification on Unix and the
// system's own custom elsewhere.
func (e Env) userState() string {
	home := e.variable("HOME")
	switch runtime.GOOS {
	case "windows":
		if dir := e.variable("LocalAppData"); dir != "" {
			return filepath.Join(dir, "bulkhead")
		}
		return ""
	case "darwin":
		if home != "" {
			return filepath.Join(home, "Library", "Application Support", "bulkhead")
		}
		return ""
	}
	if dir := e.variable("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "bulkhead")
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".local", "state", "bulkhead")
}

// sessionKey returns the key that seals session ids, making it at the first
// start; nil, which means a random one, if it cannot be kept.
func sessionKey(dir string) ([]byte, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	const size = 32
	path := filepath.Join(dir, "session.key")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		key := make([]byte, size)
		_, _ = rand.Read(key) // never fails
		_, err := f.Write(key)
		return key, errors.Join(err, f.Close())
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(key) != size {
		return nil, errors.New(path + " is damaged; delete it")
	}
	return key, nil
}

// eraMemory remembers which protocol era an upstream spoke last, so that the
// next start need not probe.
type eraMemory struct{ path string }

func (m eraMemory) load() string {
	if m.path == "" {
		return ""
	}
	raw, err := os.ReadFile(m.path)
	if err != nil {
		return ""
	}
	switch era := strings.TrimSpace(string(raw)); era {
	case "legacy", "modern":
		return era
	}
	return ""
}

func (m eraMemory) save(era string) {
	if m.path == "" {
		return
	}
	// Losing it costs one probe at the next start.
	if os.MkdirAll(filepath.Dir(m.path), 0o700) == nil {
		_ = os.WriteFile(m.path, []byte(era+"\n"), 0o600)
	}
}
