package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

func TestSessionKeyIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "state")
	first, err := sessionKey(dir)
	if err != nil || len(first) != 32 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	again, err := sessionKey(dir)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("another key, %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "session.key")); err != nil || info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "session.key"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sessionKey(dir); err == nil || !strings.Contains(err.Error(), "damaged; delete it") {
		t.Error(err)
	}
	if key, err := sessionKey(""); key != nil || err != nil {
		t.Errorf("%v, %v", key, err)
	}
}

func TestEraMemory(t *testing.T) {
	m := eraMemory{filepath.Join(t.TempDir(), "sub", "crm.era")}
	if got := m.load(); got != "" {
		t.Error(got)
	}
	m.save("modern")
	if got := m.load(); got != "modern" {
		t.Error(got)
	}
	m.save("nonsense")
	if got := m.load(); got != "" {
		t.Error(got)
	}
	eraMemory{}.save("modern")
}

func TestStateDirectory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems have other directories")
	}
	at := func(state string, environ ...string) string {
		return Env{Environ: environ}.stateDir(&config.Config{Path: "/etc/a.toml", Server: config.Server{State: state}})
	}
	for got, want := range map[string]string{
		at("none", "HOME=/h"):                           "",
		at("", "HOME=/h"):                               "/h/.local/state/bulkhead/",
		at("", "HOME=/h", "XDG_STATE_HOME=/x"):          "/x/bulkhead/",
		at("", "HOME=/h", "XDG_STATE_HOME=relative"):    "/h/.local/state/bulkhead/",
		at("/var/lib/bulkhead", "XDG_STATE_HOME=/else"): "/var/lib/bulkhead/",
	} {
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%q, want it under %q", got, want)
		}
	}
	if at("") != "" {
		t.Error("a state directory without a home")
	}
	one := Env{}.stateDir(&config.Config{Path: "/a.toml", Server: config.Server{State: "/s"}})
	other := Env{}.stateDir(&config.Config{Path: "/b.toml", Server: config.Server{State: "/s"}})
	if one == other {
		t.Error("two configurations share their state")
	}
}
