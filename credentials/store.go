package credentials

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/gofrs/flock"
)

// FileStore is a [Store] of sealed files, one for each credential, in a
// directory of its own (mode 0700). It never writes a secret that is not sealed,
// and never deletes or replaces a file that it cannot read. Whoever refreshes,
// signs in or out does so under [FileStore.Lock].
type FileStore struct {
	dir   string
	keys  []*age.X25519Identity // the first seals, all open
	locks keyed
	// crash is called between writing a file and giving it its name.
	crash func()
}

var _ Store = (*FileStore)(nil)

// StoreError is a file or directory of the store that cannot be used. It never
// holds anything that was read from it.
type StoreError struct {
	Path string
	Hint string // what to do; "" if there is nothing to add
	Err  error
}

func (e *StoreError) Error() string {
	s := fmt.Sprintf("token store: %s: %v", e.Path, e.Err)
	if e.Hint != "" {
		s += " (hint: " + e.Hint + ")"
	}
	return s
}

func (e *StoreError) Unwrap() error { return e.Err }

const (
	sealedSuffix = ".age"
	tempSuffix   = ".tmp"
	tempLife     = time.Hour // no write takes as long
	lockPoll     = 20 * time.Millisecond
)

// OpenStore opens the store in dir and makes the directory if it is not there.
// key holds age X25519 identities (AGE-SECRET-KEY-1...), one in a line, as
// age-keygen writes them: the first seals, all open, so a new key is put above
// the old one, and [FileStore.Rewrap] makes the old one needless. [StoreKey]
// finds it. The error is a *[StoreError].
func OpenStore(dir string, key Secret) (*FileStore, error) {
	keys, err := parseKeys(key)
	if err != nil {
		return nil, &StoreError{Path: dir, Err: err, Hint: "age-keygen makes a key"}
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	s := &FileStore{dir: dir, keys: keys, crash: func() {}}
	s.sweep()
	return s, nil
}

// sweep removes what crashes have left half written.
func (s *FileStore) sweep() {
	left, _ := filepath.Glob(filepath.Join(s.dir, "*"+tempSuffix)) // fails for a bad pattern only
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > tempLife {
			_ = os.Remove(path) // the next start tries again
		}
	}
}

// path returns the file of id; its name is a hash, because an id may hold what
// a file name may not.
func (s *FileStore) path(id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:])+sealedSuffix)
}

// Load implements [Store].
func (s *FileStore) Load(ctx context.Context, id string) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	r, err := s.read(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return Token{}, ErrNoToken
	}
	return r.token(), err
}

// Save implements [Store]. It refuses to replace what it cannot read.
func (s *FileStore) Save(ctx context.Context, id string, t Token) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path := s.path(id)
	old, err := s.read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.write(path, recordOf(id, old.Generation+1, t))
}

// Delete implements [Store].
func (s *FileStore) Delete(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path := s.path(id)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &StoreError{Path: path, Err: withoutPath(err)}
	}
	return syncDir(s.dir)
}

// Lock implements [Store]. It excludes the callers of this process too.
func (s *FileStore) Lock(ctx context.Context, id string) (unlock func(), err error) {
	return s.lock(ctx, s.path(id))
}

func (s *FileStore) lock(ctx context.Context, path string) (func(), error) {
	release, err := s.locks.lock(ctx, path)
	if err != nil {
		return nil, err
	}
	unlock, err := lockFile(ctx, strings.TrimSuffix(path, sealedSuffix)+".lock")
	if err != nil {
		release()
		return nil, err
	}
	return func() { unlock(); release() }, nil
}

// lockFile keeps other processes out until unlock is called. The file stays: if
// it were removed, two could hold locks on two files of one name.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	l := flock.New(path)
	if _, err := l.TryLockContext(ctx, lockPoll); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &StoreError{Path: path, Err: withoutPath(err), Hint: writable}
	}
	return func() { _ = l.Unlock() }, nil // closes the file, which ends the lock in any case
}

// List returns the ids of all tokens, sorted. Files that cannot be read are in
// the error, joined; the other ids are returned with it.
func (s *FileStore) List(ctx context.Context) ([]string, error) {
	var ids []string
	err := s.each(ctx, func(path string) error {
		r, err := s.read(path)
		if err == nil {
			ids = append(ids, string(r.ID))
		}
		return err
	})
	slices.Sort(ids)
	return ids, err
}

// Rewrap seals with the first key whatever another one has sealed, and returns
// how many that were. What cannot be read stays as it is and is in the error,
// joined.
func (s *FileStore) Rewrap(ctx context.Context) (int, error) {
	n := 0
	err := s.each(ctx, func(path string) error {
		unlock, err := s.lock(ctx, path)
		if err != nil {
			return err
		}
		defer unlock()
		r, err := s.read(path)
		if err != nil || r.by == 0 {
			return err
		}
		if err := s.write(path, r); err != nil {
			return err
		}
		n++
		return nil
	})
	return n, err
}

// each calls f for every sealed file. One that has gone meanwhile is no error.
func (s *FileStore) each(ctx context.Context, f func(path string) error) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return &StoreError{Path: s.dir, Err: withoutPath(err)}
	}
	var errs []error
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if filepath.Ext(e.Name()) != sealedSuffix {
			continue
		}
		if err := f(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// read opens one sealed file, which must be the one that its content names.
func (s *FileStore) read(path string) (record, error) {
	data, err := readPrivate(path)
	if err != nil {
		return record{}, err
	}
	r, hint, err := open(data, s.keys)
	if err == nil && s.path(string(r.ID)) != path {
		hint, err = "put the files back to their own names, or delete the file and sign in again", errors.New("it holds the token of another credential: files were swapped or copied")
	}
	if err != nil {
		return record{}, &StoreError{Path: path, Err: err, Hint: hint}
	}
	return r, nil
}

func (s *FileStore) write(path string, r record) error {
	data, err := seal(r, s.keys[0].Recipient())
	if err != nil {
		return &StoreError{Path: path, Err: err}
	}
	return writePrivate(path, data, s.crash)
}
