package credentials_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

func writeFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResolve(t *testing.T) {
	keyring.MockInit()
	if err := keyring.Set("https://crm/x", "me", "kept"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CRM_TOKEN", " spaced\n")
	for name, c := range map[string]struct {
		ref  credentials.Ref
		want string
	}{
		"env":               {credentials.Ref{Env: "CRM_TOKEN"}, " spaced\n"},
		"file":              {credentials.Ref{File: writeFile(t, "a b\n", 0o600)}, "a b"},
		"file, CRLF":        {credentials.Ref{File: writeFile(t, "a\r\n", 0o400)}, "a"},
		"file, two lines":   {credentials.Ref{File: writeFile(t, "a\nb\n\n", 0o600)}, "a\nb\n"},
		"file, just fits":   {credentials.Ref{File: writeFile(t, strings.Repeat("x", 64<<10)+"\n", 0o600)}, strings.Repeat("x", 64<<10)},
		"command":           {credentials.Ref{Command: []string{self(t), "child", "secret"}}, "s3cret"},
		"command, 2 lines":  {credentials.Ref{Command: []string{self(t), "child", "two-lines"}}, "a\nb\n"},
		"keyring":           {credentials.Ref{Keyring: "https://crm/x/me"}, "kept"},
		"command with args": {credentials.Ref{Command: []string{"echo", "$HOME;", "x"}}, "$HOME; x"},
	} {
		got, err := credentials.Resolve(t.Context(), c.ref)
		if err != nil || credentials.Reveal(got) != c.want {
			t.Errorf("%s: %q %v", name, credentials.Reveal(got), err)
		}
	}
}

func TestResolveFailures(t *testing.T) {
	keyring.MockInit()
	t.Setenv("EMPTY", "")
	for name, c := range map[string]struct {
		ref  credentials.Ref
		want string
	}{
		"nothing":         {credentials.Ref{}, "set exactly one of env, file, command and keyring"},
		"two":             {credentials.Ref{Env: "A", File: "b"}, "2 places named"},
		"env missing":     {credentials.Ref{Env: "NO_SUCH_VARIABLE"}, "secret from env NO_SUCH_VARIABLE: the variable is not set (hint: "},
		"env empty":       {credentials.Ref{Env: "EMPTY"}, "env EMPTY: it is empty"},
		"file missing":    {credentials.Ref{File: "/no/such/file"}, "secret from file /no/such/file: no such file or directory (hint: "},
		"file empty":      {credentials.Ref{File: writeFile(t, "\n", 0o600)}, "it is empty"},
		"file too long":   {credentials.Ref{File: writeFile(t, strings.Repeat("x", 64<<10+1), 0o600)}, "longer than 65536 bytes"},
		"directory":       {credentials.Ref{File: t.TempDir()}, "it is no regular file"},
		"command missing": {credentials.Ref{Command: []string{"no-such-program", "s3cret"}}, "secret from command no-such-program: "},
		"command fails":   {credentials.Ref{Command: []string{self(t), "child", "fail"}}, "the program failed: exit status 3 (hint: run it by hand"},
		"command silent":  {credentials.Ref{Command: []string{self(t), "child", "silent"}}, "it is empty"},
		"command floods":  {credentials.Ref{Command: []string{self(t), "child", "flood"}}, "it printed more than 65536 bytes"},
		"keyring missing": {credentials.Ref{Keyring: "crm/me"}, "secret from keyring crm/me: there is no such entry"},
		"keyring form":    {credentials.Ref{Keyring: "crm"}, `write it as "service/account"`},
	} {
		got, err := credentials.Resolve(t.Context(), c.ref)
		re, ok := errors.AsType[*credentials.ResolveError](err)
		if !ok || !got.IsZero() || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if ok && re.Err == nil {
			t.Errorf("%s: no cause", name)
		}
	}
}

func TestResolveRefusesExposedFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o644} {
		_, err := credentials.Resolve(t.Context(), credentials.Ref{File: writeFile(t, "s3cret", mode)})
		if err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%o: %v", mode, err)
		}
	}
}

// A command that hangs, with a grandchild that holds its output, ends with the
// caller's patience, and the grandchild with it.
func TestResolveEndsWithContext(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	// The grandchild has to be there, which takes a busy machine some time.
	for mode, limit := range map[string]time.Duration{"sleep": 500 * time.Millisecond, "grandchild": 5 * time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		start := time.Now()
		_, err := credentials.Resolve(ctx, credentials.Ref{Command: []string{self(t), "child", mode, pidFile}})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", mode, err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s: hung for %v", mode, took)
		}
	}
	if runtime.GOOS != "linux" {
		return // processes are looked up in /proc
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		// Empty once it is dead but not yet collected.
		if line, err := os.ReadFile(filepath.Join("/proc", string(pid), "cmdline")); err != nil || len(line) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("the grandchild %s lives on", pid)
}
