package credentials

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

const (
	maxSealed = 1 << 20 // bytes of a file
	writable  = "make the directory writable for the user that runs Bulkhead"
)

// makeDir makes a directory that is ours alone, or checks that it is.
func makeDir(dir string) error {
	fail := func(err error, hint string) error { return &StoreError{Path: dir, Err: withoutPath(err), Hint: hint} }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err, "name a directory that the user that runs Bulkhead can make and write")
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fail(err, "")
	}
	if exposed(dir, info.Mode()) {
		return fail(fmt.Errorf("other users can use it (mode %04o)", info.Mode().Perm()), "run chmod 700 on it")
	}
	return nil
}

// readPrivate reads a file that is ours alone. A symbolic link is none: it leads
// out of the directory that was checked.
func readPrivate(path string) ([]byte, error) {
	fail := func(err error, hint string) ([]byte, error) {
		return nil, &StoreError{Path: path, Err: withoutPath(err), Hint: hint}
	}
	// Looked at before it is opened: opening a pipe would wait for a writer.
	before, err := os.Lstat(path)
	if err != nil {
		return fail(err, "")
	}
	if !before.Mode().IsRegular() {
		return fail(errors.New("it is no regular file"), "take it away")
	}
	f, err := os.Open(path) //nolint:gosec // a name that we made
	if err != nil {
		return fail(err, "make it readable for the user that runs Bulkhead")
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	switch {
	case err != nil:
		return fail(err, "")
	case !os.SameFile(before, info):
		return fail(errors.New("it was replaced while it was opened"), "")
	case exposed(path, info.Mode()):
		return fail(fmt.Errorf("other users can use it (mode %04o)", info.Mode().Perm()), "run chmod 600 on it")
	case info.Size() > maxSealed:
		return fail(fmt.Errorf("it has more than %d bytes", maxSealed), "take it away")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSealed))
	if err != nil {
		return fail(err, "")
	}
	return data, nil
}

// writePrivate gives path this content (mode 0600), durably, all of it or
// nothing. crash is called when it is written but has not got its name.
func writePrivate(path string, data []byte, crash func()) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*"+tempSuffix) // mode 0600
	if err != nil {
		return &StoreError{Path: dir, Err: withoutPath(err), Hint: writable}
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // sweep tries again
			err = &StoreError{Path: path, Err: withoutPath(err)}
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	crash()
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in dir durable, where the system can.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir) //nolint:gosec // the store's own
	if err != nil {
		return &StoreError{Path: dir, Err: withoutPath(err)}
	}
	defer d.Close() //nolint:errcheck // only synced
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return &StoreError{Path: dir, Err: withoutPath(err)}
	}
	return nil
}
