package credentials

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"filippo.io/age"
	"github.com/zalando/go-keyring"
)

// The entry in the keyring that holds the key of the token store.
const (
	keyService = "bulkhead"
	keyAccount = "token-store"
)

// StoreKey returns the key of the store in dir, and where it is kept: where ref
// says, or, if ref is the zero Ref, where it was put the first time. The first
// time it makes one and puts it into the operating system's keyring
// ("bulkhead/token-store"), or, if there is no keyring that answers, into the
// file dir.key (mode 0600) beside the directory. Who can read that file can read
// the tokens, so the file guards a copy of the directory, not the machine.
//
// It never makes a second key for tokens that are there: a keyring that does not
// answer today is an error then.
func StoreKey(ctx context.Context, dir string, ref Ref) (Secret, Ref, error) {
	if !ref.isZero() {
		key, err := Resolve(ctx, ref)
		return key, ref, err
	}
	if err := makeDir(dir); err != nil {
		return Secret{}, Ref{}, err
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, "key.lock"))
	if err != nil {
		return Secret{}, Ref{}, err
	}
	defer unlock()
	file := Ref{File: filepath.Clean(dir) + ".key"}
	if _, err := os.Lstat(file.File); !errors.Is(err, fs.ErrNotExist) {
		key, err := Resolve(ctx, file)
		return key, file, err
	}
	inKeyring := Ref{Keyring: keyService + "/" + keyAccount}
	kept, trouble := "", errors.New("there is no session bus to reach a keyring by")
	if reachable() {
		kept, trouble = askKeyring(ctx, func() (string, error) { return keyring.Get(keyService, keyAccount) })
	}
	if trouble == nil {
		return NewSecret(kept), inKeyring, nil
	}
	if ctx.Err() != nil {
		return Secret{}, Ref{}, context.Cause(ctx)
	}
	if sealed, _ := filepath.Glob(filepath.Join(dir, "*"+sealedSuffix)); len(sealed) > 0 {
		return Secret{}, Ref{}, &StoreError{
			Path: dir, Err: fmt.Errorf("the key of its tokens is neither in %s nor in %v: %w", file.File, inKeyring, trouble),
			Hint: "unlock the keyring or name the key; if it is lost, take the directory away and sign in again",
		}
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return Secret{}, Ref{}, &StoreError{Path: dir, Err: err}
	}
	if errors.Is(trouble, keyring.ErrNotFound) && keepInKeyring(ctx, key.String()) {
		return NewSecret(key.String()), inKeyring, nil
	}
	text := "# Opens the tokens in " + filepath.Base(dir) + ": whoever can read this file can read them.\n" + key.String() + "\n"
	if err := writePrivate(file.File, []byte(text), func() {}); err != nil {
		return Secret{}, Ref{}, err
	}
	return NewSecret(key.String()), file, nil
}

// keepInKeyring reports whether the keyring has taken the key and gives it back.
func keepInKeyring(ctx context.Context, key string) bool {
	got, err := askKeyring(ctx, func() (string, error) {
		if err := keyring.Set(keyService, keyAccount, key); err != nil {
			return "", err
		}
		return keyring.Get(keyService, keyAccount)
	})
	return err == nil && got == key
}

// reachable reports whether there may be a keyring. Where there is no session
// bus, merely asking would start one (dbus-launch) that outlives us.
func reachable() bool {
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		return true
	}
	if bus := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); bus != "" && bus != "autolaunch:" {
		return true
	}
	for _, name := range []string{"bus", "dbus-session"} {
		if _, err := os.Stat(fmt.Sprintf("/run/user/%d/%s", os.Getuid(), name)); err == nil {
			return true
		}
	}
	return false
}

func (r Ref) isZero() bool {
	return r.Env == "" && r.File == "" && len(r.Command) == 0 && r.Keyring == ""
}
