package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/zalando/go-keyring"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

const entry = "bulkhead/token-store"

func storeKey(t *testing.T, dir string, ref credentials.Ref) (string, credentials.Ref) {
	t.Helper()
	key, kept, err := credentials.StoreKey(t.Context(), dir, ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := credentials.OpenStore(dir, key); err != nil {
		t.Errorf("the key does not open a store: %v", err)
	}
	return credentials.Reveal(key), kept
}

func TestKeyIsMadeInTheKeyring(t *testing.T) {
	keyring.MockInit()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	dir := filepath.Join(t.TempDir(), "tokens")
	made, kept := storeKey(t, dir, credentials.Ref{})
	again, _ := storeKey(t, dir, credentials.Ref{})
	if kept.Keyring != entry || again != made {
		t.Errorf("kept in %v, and then another", kept)
	}
	if _, err := os.Stat(dir + ".key"); err == nil {
		t.Error("and in a file")
	}
	if got, err := keyring.Get("bulkhead", "token-store"); err != nil || got != made {
		t.Error(err)
	}
}

func TestKeyIsMadeInAFile(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	keyring.MockInitWithError(errors.New("no such interface"))
	dir := filepath.Join(t.TempDir(), "tokens")
	made, kept := storeKey(t, dir, credentials.Ref{})
	info, err := os.Stat(dir + ".key")
	if err != nil || kept.File != dir+".key" || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Fatal(kept, err)
	}
	text, _ := os.ReadFile(dir + ".key")
	if !strings.Contains(string(text), made[:20]) || !strings.Contains(string(text), "# ") {
		t.Error("the file does not say what it is")
	}
	keyring.MockInit() // a keyring that answers later changes nothing
	if again, kept := storeKey(t, dir, credentials.Ref{}); !strings.Contains(again, made) || kept.File == "" {
		t.Errorf("another key, in %v", kept)
	}
	if runtime.GOOS == "windows" {
		return
	}
	_ = os.Chmod(dir+".key", 0o640)
	if _, _, err := credentials.StoreKey(t.Context(), dir, credentials.Ref{}); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "AGE-SECRET") {
		t.Error(err)
	}
}

// Without a session bus the keyring is not asked: that would start one.
func TestNoSessionBus(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the keyring is reached by other means")
	}
	keyring.MockInit()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "autolaunch:")
	if buses, _ := filepath.Glob(fmt.Sprintf("/run/user/%d/*bus*", os.Getuid())); len(buses) > 0 {
		t.Skip("there is a session bus")
	}
	if _, kept := storeKey(t, filepath.Join(t.TempDir(), "tokens"), credentials.Ref{}); kept.File == "" {
		t.Errorf("kept in %v", kept)
	}
}

// Tokens whose key cannot be found are not given a second key.
func TestNoSecondKey(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	for name, later := range map[string]func(){
		"gone": keyring.MockInit, "unreachable": func() { keyring.MockInitWithError(errors.New("no such interface")) },
	} {
		keyring.MockInit()
		dir := filepath.Join(t.TempDir(), "tokens")
		key, _ := storeKey(t, dir, credentials.Ref{})
		s, err := credentials.OpenStore(dir, credentials.NewSecret(key))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Save(t.Context(), "crm", token("1")); err != nil {
			t.Fatal(err)
		}
		later()
		_, _, err = credentials.StoreKey(t.Context(), dir, credentials.Ref{})
		wantStoreError(t, name, err, "the key of its tokens is neither in "+dir+".key nor in keyring "+entry)
		if _, err := os.Stat(dir + ".key"); err == nil {
			t.Errorf("%s: a second key was made", name)
		}
	}
}

func TestKeyFromWhereItIsConfigured(t *testing.T) {
	keyring.MockInitWithError(errors.New("not to be asked"))
	key := newKey(t).String()
	t.Setenv("BULKHEAD_TOKEN_KEY", key)
	dir := filepath.Join(t.TempDir(), "tokens")
	for _, ref := range []credentials.Ref{{Env: "BULKHEAD_TOKEN_KEY"}, {File: writeFile(t, "# old one\n"+key+"\n", 0o600)}} {
		if got, _ := storeKey(t, dir, ref); !strings.Contains(got, key) {
			t.Errorf("%v: another key", ref)
		}
	}
	_, _, err := credentials.StoreKey(t.Context(), dir, credentials.Ref{Env: "NO_SUCH_VARIABLE"})
	if _, ok := errors.AsType[*credentials.ResolveError](err); !ok {
		t.Error(err)
	}
	if _, err := os.Stat(dir + ".key"); err == nil {
		t.Error("a key was made although one is configured")
	}
}

// Whoever comes first makes the key; all get the same one.
func TestOneKeyForAll(t *testing.T) {
	keyring.MockInitWithError(errors.New("no such interface"))
	dir := filepath.Join(t.TempDir(), "tokens")
	var mu sync.Mutex
	keys := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			key, _, err := credentials.StoreKey(t.Context(), dir, credentials.Ref{})
			if err != nil {
				t.Error(err)
				return
			}
			text := credentials.Reveal(key)
			mu.Lock()
			defer mu.Unlock()
			keys[strings.TrimSpace(text[strings.Index(text, "AGE-SECRET"):])] = true
		})
	}
	wg.Wait()
	if len(keys) != 1 {
		t.Errorf("%d keys", len(keys))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := credentials.StoreKey(ended, dir, credentials.Ref{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
