package credentials_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

const rounds = 40

// increment reads a number, and writes one more, as a refresh does.
func increment(ctx context.Context, s credentials.Store, id string) error {
	unlock, err := s.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	t, err := s.Load(ctx, id)
	if err != nil && !errors.Is(err, credentials.ErrNoToken) {
		return err
	}
	n, _ := strconv.Atoi(t.Values["n"])
	return s.Save(ctx, id, credentials.Token{Values: map[string]string{"n": strconv.Itoa(n + 1)}})
}

func childStore() *credentials.FileStore {
	s, err := credentials.OpenStore(os.Args[3], credentials.NewSecret(os.Getenv("STORE_KEY")))
	if err != nil {
		fatal(err)
	}
	return s
}

func fatal(err error) {
	_, _ = os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(1)
}

// countUp is a child process.
func countUp() {
	s := childStore()
	for range rounds {
		if err := increment(context.Background(), s, "crm"); err != nil {
			fatal(err)
		}
	}
}

// crashWhileSaving is a child process that ends, with the lock, when a file is
// written but has not got its name.
func crashWhileSaving() {
	s := childStore()
	s.OnCrash(func() { os.Exit(7) })
	if _, err := s.Lock(context.Background(), "crm"); err != nil {
		fatal(err)
	}
	fatal(s.Save(context.Background(), "crm", token("never")))
}

func startChild(t *testing.T, mode, dir, key string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), self(t), "child", mode, dir)
	cmd.Env = append(os.Environ(), "STORE_KEY="+key, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// Two processes, and several callers within this one, lose no update.
func TestProcessesTakeTurns(t *testing.T) {
	dir, key := filepath.Join(t.TempDir(), "tokens"), newKey(t)
	s := openStore(t, dir, key)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	children := []*exec.Cmd{startChild(t, "store-count", dir, key.String()), startChild(t, "store-count", dir, key.String())}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range rounds / 4 {
				if err := increment(ctx, s, "crm"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range children {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	got, err := s.Load(ctx, "crm")
	if err != nil || got.Values["n"] != strconv.Itoa(3*rounds) {
		t.Errorf("%v, want %d, %v", got.Values, 3*rounds, err)
	}
}

// A process that ends in the middle of a write leaves the old token, no lock,
// and a file that is cleared away later.
func TestCrashWhileSaving(t *testing.T) {
	dir, key := filepath.Join(t.TempDir(), "tokens"), newKey(t)
	s := openStore(t, dir, key)
	if err := s.Save(t.Context(), "crm", token("old")); err != nil {
		t.Fatal(err)
	}
	err := startChild(t, "store-crash", dir, key.String()).Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
		t.Fatal(err)
	}
	left := func() int {
		names, _ := filepath.Glob(filepath.Join(dir, "*.tmp"))
		return len(names)
	}
	if left() != 1 {
		t.Fatalf("%d temporary files: the child did not get as far as it should", left())
	}
	if got, err := s.Load(t.Context(), "crm"); err != nil || credentials.Reveal(got.Access) != "old" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := increment(ctx, s, "crm"); err != nil {
		t.Errorf("the lock of a dead process: %v", err)
	}
	openStore(t, dir, key)
	if left() != 1 {
		t.Error("what another process may be writing was removed")
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err := os.Chtimes(names[0], time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir, key)
	if left() != 0 {
		t.Error("an old temporary file stays")
	}
	if ids, err := s.List(t.Context()); err != nil || strings.Join(ids, " ") != "crm" {
		t.Errorf("%q %v", ids, err)
	}
}

func TestLockWaitsForItsContext(t *testing.T) {
	dir, key, memory := filepath.Join(t.TempDir(), "tokens"), newKey(t), &credentials.MemoryStore{}
	file := openStore(t, dir, key)
	for name, c := range map[string]struct{ holder, waiter credentials.Store }{
		"file, one store":  {file, file},
		"file, two stores": {file, openStore(t, dir, key)}, // as two processes
		"memory":           {memory, memory},
	} {
		unlock, err := c.holder.Lock(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		other, err := c.waiter.Lock(t.Context(), "another id")
		if err != nil {
			t.Fatalf("%s: one lock holds up another: %v", name, err)
		}
		other()
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		if _, err := c.waiter.Lock(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		unlock()
		for range 20 { // free, but too late
			if _, err := c.waiter.Lock(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		}
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := c.waiter.Lock(ctx, name); err != nil { // and stays locked
			t.Errorf("%s: after having waited in vain: %v", name, err)
		}
		cancel()
	}
	if n := memory.Locks(); n != 1 {
		t.Errorf("%d locks are remembered", n)
	}
}

// Within a process the next caller has the lock at once; only for other
// processes it has to look again and again.
func TestLockIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := openStore(t, filepath.Join(t.TempDir(), "tokens"), newKey(t))
		for name, s := range map[string]credentials.Store{"file": file, "memory": &credentials.MemoryStore{}} {
			unlock, err := s.Lock(t.Context(), "crm")
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan func(), 1)
			go func() {
				unlock, err := s.Lock(t.Context(), "crm")
				if err != nil {
					t.Error(err)
				}
				got <- unlock
			}()
			synctest.Wait()
			if len(got) > 0 {
				t.Fatalf("%s: two hold the lock", name)
			}
			start := time.Now()
			unlock()
			unlock() // does no harm
			(<-got)()
			if took := time.Since(start); took != 0 {
				t.Errorf("%s: handed over after %v", name, took)
			}
		}
	})
}
