package credentials_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

const canary = "s3cret-canary"

// plain is a token as tests can compare it.
type plain struct {
	Access, Refresh string
	Expiry          time.Time
	Scopes          []string
	Values          map[string]string
}

func reveal(t credentials.Token) plain {
	return plain{credentials.Reveal(t.Access), credentials.Reveal(t.Refresh), t.Expiry, t.Scopes, t.Values}
}

func token(access string) credentials.Token {
	return credentials.Token{Access: credentials.NewSecret(access), Refresh: credentials.NewSecret(canary), Expiry: time.Unix(1.8e9, 7).UTC(), Scopes: []string{"a", "b"}, Values: map[string]string{"n": "1"}}
}

func newKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyOf(ids ...*age.X25519Identity) credentials.Secret {
	var lines strings.Builder
	for _, id := range ids {
		lines.WriteString("# a comment\n\n" + id.String() + "\r\n")
	}
	return credentials.NewSecret(lines.String())
}

func openStore(t testing.TB, dir string, ids ...*age.X25519Identity) *credentials.FileStore {
	t.Helper()
	s, err := credentials.OpenStore(dir, keyOf(ids...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fileOf(dir, id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(dir, hex.EncodeToString(sum[:])+".age")
}

// wantStoreError checks an error for its text and for secrets in it.
func wantStoreError(t *testing.T, what string, err error, want string) {
	t.Helper()
	if _, ok := errors.AsType[*credentials.StoreError](err); !ok || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "AGE-SECRET") {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

type lister interface {
	credentials.Store
	List(ctx context.Context) ([]string, error)
}

// What every store does.
func TestStores(t *testing.T) {
	for name, s := range map[string]lister{"memory": &credentials.MemoryStore{}, "file": openStore(t, filepath.Join(t.TempDir(), "a", "b"), newKey(t))} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			const id = "crm\x00https://as.example|\xff/../ü"
			if _, err := s.Load(ctx, id); !errors.Is(err, credentials.ErrNoToken) {
				t.Errorf("nothing there: %v", err)
			}
			for _, want := range []credentials.Token{token("1"), token("bytes \xff\xfe"), {}, {Access: credentials.NewSecret("only")}} {
				if err := s.Save(ctx, id, want); err != nil {
					t.Fatal(err)
				}
				got, err := s.Load(ctx, id)
				if err != nil || !cmp.Equal(reveal(got), reveal(want)) {
					t.Errorf("%v: %s", err, cmp.Diff(reveal(want), reveal(got)))
				}
			}
			mine := token("mine")
			if err := s.Save(ctx, "a", mine); err != nil {
				t.Fatal(err)
			}
			mine.Scopes[0], mine.Values["n"] = "changed", "changed"
			for range 2 {
				got, _ := s.Load(ctx, "a")
				if got.Scopes[0] != "a" || got.Values["n"] != "1" {
					t.Error("what is stored changes with the caller's copy")
				}
				got.Scopes[0], got.Values["n"] = "changed", "changed"
			}
			if ids, err := s.List(ctx); err != nil || !cmp.Equal(ids, []string{"a", id}) {
				t.Errorf("%q %v", ids, err)
			}
			for range 2 {
				if err := s.Delete(ctx, id); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.Load(ctx, id); !errors.Is(err, credentials.ErrNoToken) {
				t.Errorf("deleted: %v", err)
			}
			ended, cancel := context.WithCancel(ctx)
			cancel()
			_, e1 := s.Load(ended, "a")
			_, e2 := s.Lock(ended, "a")
			_, e3 := s.List(ended)
			for _, err := range []error{e1, e2, e3, s.Save(ended, "a", token("x")), s.Delete(ended, "a")} {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("ended: %v", err)
				}
			}
		})
	}
}

func TestSealedAndPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	key := newKey(t)
	s := openStore(t, dir, key)
	for range 3 {
		if err := s.Save(t.Context(), "crm", token(canary)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(fileOf(dir, "crm"))
	if err != nil || bytes.Contains(data, []byte(canary)) || bytes.Contains(data, []byte("crm")) {
		t.Errorf("%v: %q", err, data)
	}
	opened, err := age.Decrypt(bytes.NewReader(data), key)
	if err != nil {
		t.Fatal(err)
	}
	var inside struct {
		ID         []byte
		Generation int
	}
	if err := json.NewDecoder(opened).Decode(&inside); err != nil || string(inside.ID) != "crm" || inside.Generation != 3 {
		t.Errorf("%v: %q, generation %d", err, inside.ID, inside.Generation)
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]fs.FileMode{dir: 0o700, fileOf(dir, "crm"): 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v %v", path, info.Mode(), err)
			}
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "store", s)
	if out := fmt.Sprintf("%v %+v %#v %s", s, s, s, log.String()); strings.Contains(out, "AGE-SECRET") {
		t.Error("a formatter prints the key")
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ key, want string }{
		"none": {"", "there is no key"}, "comment": {"# x\n\n", "there is no key"}, "password": {canary, "line 1 of the key is no age X25519"},
		"second": {newKey(t).String() + "\nAGE-SECRET-KEY-1" + canary, "line 2"},
	} {
		_, err := credentials.OpenStore(t.TempDir(), credentials.NewSecret(c.key))
		wantStoreError(t, name, err, c.want)
	}
}

func TestKeyRotation(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	_ = os.Chmod(dir, 0o700)
	older, newer := newKey(t), newKey(t)
	for _, id := range []string{"a", "b"} {
		if err := openStore(t, dir, older).Save(ctx, id, token(id)); err != nil {
			t.Fatal(err)
		}
	}
	both, only := openStore(t, dir, newer, older), openStore(t, dir, newer)
	if err := both.Save(ctx, "b", token("b2")); err != nil {
		t.Fatal(err)
	}
	_, err := only.Load(ctx, "a")
	wantStoreError(t, "the old key is gone", err, "sealed with another key")
	wantStoreError(t, "and something is to be written over it", only.Save(ctx, "a", token("x")), "sealed with another key")
	if ids, err := only.List(ctx); !cmp.Equal(ids, []string{"b"}) || err == nil {
		t.Errorf("%q %v", ids, err)
	}
	if n, err := only.Rewrap(ctx); n != 0 || err == nil {
		t.Errorf("%d sealed anew without their key, %v", n, err)
	}
	for _, want := range []int{1, 0} {
		if n, err := both.Rewrap(ctx); n != want || err != nil {
			t.Errorf("%d sealed anew, want %d, %v", n, want, err)
		}
	}
	for id, want := range map[string]string{"a": "a", "b": "b2"} {
		if got, err := only.Load(ctx, id); err != nil || credentials.Reveal(got.Access) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// Files that are not what they should be are refused, for reading and for
// writing, and stay as they are.
func TestFilesThatAreRefused(t *testing.T) {
	key, ctx := newKey(t), t.Context()
	sealed := func(text string) []byte {
		var out bytes.Buffer
		w, err := age.Encrypt(&out, key.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return out.Bytes()
	}
	type edit func(path string, data []byte) error
	replace := func(f func([]byte) []byte) edit {
		return func(path string, data []byte) error { return os.WriteFile(path, f(bytes.Clone(data)), 0o600) }
	}
	instead := func(f func(path string) error) edit {
		return func(path string, _ []byte) error { return errors.Join(os.Remove(path), f(path)) }
	}
	cases := map[string]struct {
		edit edit
		want string
		unix bool
	}{
		"empty":           {replace(func([]byte) []byte { return nil }), "damaged", false},
		"secret in plain": {replace(func([]byte) []byte { return []byte(canary) }), "damaged", false},
		"half":            {replace(func(b []byte) []byte { return b[:len(b)/2] }), "damaged", false},
		"last byte gone":  {replace(func(b []byte) []byte { return b[:len(b)-1] }), "damaged", false},
		"one bit":         {replace(func(b []byte) []byte { b[len(b)-9] ^= 1; return b }), "damaged", false},
		"appended":        {replace(func(b []byte) []byte { return append(b, 'x') }), "damaged", false},
		"sealed rubbish":  {replace(func([]byte) []byte { return sealed(canary) }), "damaged", false},
		"newer":           {replace(func([]byte) []byte { return sealed(`{"version":2}`) }), "it has version 2", false},
		"huge":            {func(path string, _ []byte) error { return os.Truncate(path, 1<<20+1) }, "more than 1048576 bytes", false},
		"directory":       {instead(func(path string) error { return os.Mkdir(path, 0o700) }), "no regular file", false},
		"exposed":         {func(path string, _ []byte) error { return os.Chmod(path, 0o644) }, "chmod 600", true},
		"symbolic link":   {instead(func(path string) error { return os.Symlink("/dev/zero", path) }), "no regular file", true},
		"swapped": {func(path string, _ []byte) error {
			return os.Rename(fileOf(filepath.Dir(path), "other"), path)
		}, "holds the token of another credential", false},
		"linked": {instead(func(path string) error { return os.Link(fileOf(filepath.Dir(path), "other"), path) }), "another credential", true},
	}
	for name, c := range cases {
		if c.unix && runtime.GOOS == "windows" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tokens")
			s := openStore(t, dir, key)
			if err := errors.Join(s.Save(ctx, "crm", token("1")), s.Save(ctx, "other", token("2"))); err != nil {
				t.Fatal(err)
			}
			path := fileOf(dir, "crm")
			data, _ := os.ReadFile(path)
			if err := c.edit(path, data); err != nil {
				t.Fatal(err)
			}
			before := listing(t, dir)
			_, err := s.Load(ctx, "crm")
			wantStoreError(t, "load", err, c.want)
			wantStoreError(t, "save", s.Save(ctx, "crm", token("x")), c.want)
			if n, err := s.Rewrap(ctx); n != 0 || err == nil {
				t.Errorf("sealed anew: %d %v", n, err)
			}
			if ids, err := s.List(ctx); len(ids) > 1 || err == nil || strings.Contains(err.Error(), canary) {
				t.Errorf("listed: %q %v", ids, err)
			}
			if diff := cmp.Diff(before, listing(t, dir)); diff != "" {
				t.Errorf("files changed: %s", diff)
			}
			if err := s.Delete(ctx, "crm"); err != nil {
				t.Errorf("signing out: %v", err)
			}
			if err := s.Save(ctx, "crm", token("new")); err != nil {
				t.Errorf("signing in again: %v", err)
			}
		})
	}
}

// listing is all files with their modes and contents, but for locks.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".lock" {
			continue
		}
		out[e.Name()] = e.Type().String()
		if info, err := e.Info(); err == nil && e.Type().IsRegular() {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			out[e.Name()] = info.Mode().String() + " " + strconv.Quote(string(data)) + fmt.Sprint(err)
		}
	}
	return out
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	file := writeFile(t, "x", 0o600)
	key := keyOf(newKey(t))
	for _, dir := range []string{file, filepath.Join(file, "tokens")} {
		_, err := credentials.OpenStore(dir, key)
		wantStoreError(t, dir, err, "not a directory")
		_, _, err = credentials.StoreKey(t.Context(), dir, credentials.Ref{})
		wantStoreError(t, dir, err, "not a directory")
	}
	if runtime.GOOS == "windows" {
		return
	}
	dir := t.TempDir()
	_ = os.Chmod(dir, 0o750) //nolint:gosec // that is the fault
	_, err := credentials.OpenStore(dir, key)
	wantStoreError(t, "mode 0750", err, "chmod 700")

	dir = filepath.Join(t.TempDir(), "tokens")
	s := openStore(t, dir, newKey(t))
	if err := s.Save(t.Context(), "crm", token("1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	wantStoreError(t, "save", s.Save(t.Context(), "crm", token("2")), "no such file or directory (hint: make the directory writable")
	_, err = s.Lock(t.Context(), "crm")
	wantStoreError(t, "lock", err, "no such file")
	if os.Getuid() == 0 {
		return // whom no mode keeps out
	}
	_ = os.Chmod(dir+".away", 0o500) //nolint:gosec // a directory
	s = openStore(t, dir+".away", newKey(t))
	wantStoreError(t, "unwritable", s.Save(t.Context(), "new", token("2")), "permission denied")
}

func TestTokensThatAreRefused(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "tokens"), newKey(t))
	late, long := token("1"), token(strings.Repeat(canary, 50_000))
	late.Expiry = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)
	wantStoreError(t, "late", s.Save(t.Context(), "crm", late), "an expiry that cannot be written")
	wantStoreError(t, "long", s.Save(t.Context(), "crm", long), "more than 524288 bytes")
}

// Whatever a file holds, sealed or not, reading it ends, and ends with the
// record of its own id or an error that repeats nothing of it.
func FuzzRead(f *testing.F) {
	key := newKey(f)
	dir := filepath.Join(f.TempDir(), "tokens")
	s := openStore(f, dir, key)
	if err := s.Save(f.Context(), "crm", token("1")); err != nil {
		f.Fatal(err)
	}
	path := fileOf(dir, "crm")
	good, _ := os.ReadFile(path)
	f.Add(good, false)
	f.Add([]byte(`{"version":1,"id":"Y3Jt","generation":1,"access":"eA==","expiry":"2026-01-01T00:00:00Z"}`), true)
	f.Add([]byte(`{"version":1,"id":"Y3Jt","expiry":7}`), true)
	f.Add([]byte("age-encryption.org/v1\n-> X25519 "+canary), false)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal {
			var out bytes.Buffer
			w, _ := age.Encrypt(&out, key.Recipient())
			_, _ = w.Write(data)
			_ = w.Close()
			data = out.Bytes()
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(t.Context(), "crm"); err != nil {
			wantStoreError(t, "load", err, path)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
			t.Errorf("the file has changed: %v", err)
		}
	})
}
