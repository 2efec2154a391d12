package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Place is where the sockets of all processes with the same configuration are.
type Place struct {
	// Dirs are directories, of which the first is used whose name is short enough.
	Dirs []string
	// Key tells configurations apart: a few letters and digits.
	Key string
}

const (
	// maxPath is how long a socket's path may be, in bytes: 104 with the NUL on
	// macOS and BSD, 108 elsewhere (struct sockaddr_un).
	maxPath = 103
	// maxPID is the room for a process id.
	maxPID = 10
	// freshFor is how long after a socket is made it may not be listened on yet.
	freshFor = time.Second
	// askTimeout is how long a process may take to say how it is.
	askTimeout = 2 * time.Second
	maxAsked   = 64 // processes
)

// file returns the path of a process's socket.
func (p Place) file(dir, pid string) string {
	return filepath.Join(dir, "bulkhead-"+p.Key+"-"+pid+".sock")
}

// dir returns the directory that is used.
func (p Place) dir() (string, error) {
	for _, d := range p.Dirs {
		if len(p.file(d, strings.Repeat("0", maxPID))) <= maxPath {
			return d, nil
		}
	}
	return "", fmt.Errorf("the name of a socket would be longer than the %d bytes that the system allows in any of %s", maxPath, strings.Join(p.Dirs, ", "))
}

// Listen opens the socket of this process, which nobody but its user can open,
// and removes those in the same directory that dead processes have left. It is
// removed when it is closed.
func (p Place) Listen(ctx context.Context) (net.Listener, error) {
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	for _, path := range (Place{Key: "*"}).sockets(dir) { // of all configurations that share the directory
		sweep(ctx, path)
	}
	path := p.file(dir, strconv.Itoa(os.Getpid()))
	if c, err := dial(ctx, path); err == nil { // in another PID namespace
		_ = c.Close()
		return nil, fmt.Errorf("%s belongs to another process with the same id", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// private has a directory that nobody else may look into.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := ours(dir); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700) //nolint:gosec // a directory has to be entered
}

// ours reports why a directory is not one of our user's own. In a common one, such
// as that for temporary files, anybody can make one of this name, and what is in
// another's can be exchanged at any time.
func ours(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", dir)
	case !owned(info):
		return fmt.Errorf("%s belongs to another user", dir)
	}
	return nil
}

// sweep removes a socket that a dead process has left.
func sweep(ctx context.Context, path string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, err := dial(ctx, path)
	if err == nil {
		_ = c.Close()
		return
	}
	abandoned(path, err)
}

// abandoned removes a socket if err, of dialling it, says that nobody listens.
func abandoned(path string, err error) bool {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return errors.Is(err, fs.ErrNotExist) // it has just ended
	}
	if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > freshFor {
		_ = os.Remove(path) // the next one tries again
	}
	return true
}

func (p Place) sockets(dir string) []string {
	paths, _ := filepath.Glob(filepath.Join(escaped(dir), filepath.Base(p.file("", "*")))) // the pattern is well-formed
	return paths[:min(len(paths), maxAsked)]
}

// escaped has a path mean itself in a pattern. On Windows no escape exists, nor
// may the characters be part of a name there, but for the bracket.
func escaped(dir string) string {
	if os.PathSeparator == '\\' {
		return dir
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// Find asks every running process how it is; the oldest comes first. What dead
// ones have left is removed. One that does not answer in time has a Problem.
func (p Place) Find(ctx context.Context) []Report {
	var reports []Report
	for _, a := range p.ask(ctx, statusPath) {
		r, err := a.report()
		if err != nil {
			r = Report{PID: a.pid, Problem: "it does not say how it is: " + err.Error()}
		}
		reports = append(reports, r)
	}
	slices.SortFunc(reports, func(a, b Report) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.PID, b.PID))
	})
	return reports
}

// said is what a process has answered.
type said struct {
	pid  int
	body []byte
	err  error // why there is no body
}

// report reads it as a status.
func (a said) report() (r Report, err error) {
	if a.err != nil {
		return r, a.err
	}
	if err := json.Unmarshal(a.body, &r); err != nil {
		return r, fmt.Errorf("its answer is no status: %w", err)
	}
	for i := range r.Sources {
		r.Sources[i].Detail = r.Details[r.Sources[i].Name]
	}
	return r, nil
}

// ask asks every running process for a path, in the order of their sockets. Those
// of processes that are gone are removed.
func (p Place) ask(ctx context.Context, path string) []said {
	dir, err := p.dir()
	if err != nil || ours(dir) != nil {
		return nil
	}
	sockets := p.sockets(dir)
	answers := make([]said, len(sockets))
	var w sync.WaitGroup
	for i, socket := range sockets {
		w.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			a := &answers[i]
			a.body, a.err = get(ctx, socket, path)
			if a.err == nil || !abandoned(socket, a.err) {
				a.pid, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(socket), "bulkhead-"+p.Key+"-"), ".sock"))
			}
		})
	}
	w.Wait()
	return slices.DeleteFunc(answers, func(a said) bool { return a.pid == 0 })
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", path)
}

func get(ctx context.Context, socket, path string) ([]byte, error) {
	c, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return c, nil },
		DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
	}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://bulkhead"+path, nil)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxReport))
}
