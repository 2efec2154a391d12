package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func report() admin.Report {
	r := admin.NewReport(aggregate.Status{Note: "n", Sources: []aggregate.SourceStatus{
		{Name: "crm", State: "up", Tools: 3}, {Name: "dwh", State: "down", Error: "no", Detail: "dial tcp 10.0.0.1"},
	}})
	r.PID, r.Serving, r.Clients, r.Since = os.Getpid(), "stdio", []string{"x"}, time.Unix(1000, 0).UTC()
	return r
}

// short is a directory whose name is short enough on any system.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serve serves until stop is called.
func serve(t *testing.T, p admin.Place) (path string, stop func()) {
	t.Helper()
	ln, err := p.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.Serve(ctx, ln, report, figures) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}

func TestAProcessIsFound(t *testing.T) {
	dir := filepath.Join(short(t), "state")
	p := admin.Place{Dirs: []string{dir}, Key: "abc"}
	if got := p.Find(t.Context()); got != nil {
		t.Fatal(got)
	}
	path, stop := serve(t, p)
	if want := filepath.Join(dir, fmt.Sprintf("bulkhead-abc-%d.sock", os.Getpid())); path != want {
		t.Errorf("%s, want %s", path, want)
	}
	for name, mode := range map[string]fs.FileMode{dir: 0o700, path: 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	got := p.Find(t.Context())
	if len(got) != 1 || got[0].Sources[1].Detail != "dial tcp 10.0.0.1" || got[0].Note != "n" || !got[0].Since.Equal(report().Since) {
		t.Errorf("%+v", got)
	}
	if other := (admin.Place{Dirs: p.Dirs, Key: "other"}).Find(t.Context()); other != nil {
		t.Error("another configuration's is found:", other)
	}
	if _, err := p.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to another process") {
		t.Error("a socket that is in use was taken:", err)
	}
	stop()
	if _, err := os.Stat(path); err == nil || p.Find(t.Context()) != nil {
		t.Error("the socket is left")
	}
}

// abandoned leaves a socket that nobody listens on.
func abandoned(t *testing.T, path string, age time.Duration) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	at := time.Now().Add(-age)
	if err := ln.Close(); err != nil || os.Chtimes(path, at, at) != nil {
		t.Fatal(err)
	}
}

func TestWhatDeadProcessesLeaveIsRemoved(t *testing.T) {
	for _, how := range []string{"find", "listen"} {
		dir := short(t)
		p := admin.Place{Dirs: []string{dir}, Key: "abc"}
		old, fresh, foreign := filepath.Join(dir, "bulkhead-abc-1.sock"), filepath.Join(dir, "bulkhead-abc-2.sock"), filepath.Join(dir, "bulkhead-x-3.sock")
		abandoned(t, old, time.Minute)
		abandoned(t, fresh, 0) // perhaps not listened on yet
		abandoned(t, foreign, time.Minute)
		abandoned(t, filepath.Join(dir, fmt.Sprintf("bulkhead-abc-%d.sock", os.Getpid())), 0) // an earlier process with our id
		if how == "listen" {
			serve(t, p)
		} else if got := p.Find(t.Context()); got != nil {
			t.Error(got)
		}
		for path, there := range map[string]bool{old: false, fresh: true, foreign: how == "find"} {
			if _, err := os.Lstat(path); (err == nil) != there {
				t.Errorf("%s: %s: %v", how, path, err)
			}
		}
	}
}

// A process that hangs is named, and holds up nobody for long.
func TestAProcessThatDoesNotAnswer(t *testing.T) {
	dir := short(t)
	p := admin.Place{Dirs: []string{dir}, Key: "abc"}
	for pid, answer := range map[string]string{"7": "", "8": "HTTP/1.1 200 OK\r\n\r\n[]", "9": "HTTP/1.1 500 no\r\n\r\n"} {
		ln, err := net.Listen("unix", filepath.Join(dir, "bulkhead-abc-"+pid+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				if answer != "" {
					_, _ = c.Read(make([]byte, 1000))
					_, _ = c.Write([]byte(answer))
					_ = c.Close()
				}
			}
		}()
		t.Cleanup(func() { _ = ln.Close(); <-ended })
	}
	serve(t, p)
	began := time.Now()
	got := p.Find(t.Context())
	if len(got) != 4 || time.Since(began) > 30*time.Second {
		t.Fatalf("%+v after %s", got, time.Since(began))
	}
	for i, problem := range []string{"it does not say how it is: ", "its answer is no status", "500 no"} {
		if got[i].PID != 7+i || !strings.Contains(got[i].Problem, problem) {
			t.Errorf("%+v", got[i])
		}
	}
}

func TestWhereTheSocketIs(t *testing.T) {
	base := short(t)
	long := filepath.Join(base, strings.Repeat("x", 90))
	p := admin.Place{Dirs: []string{long, filepath.Join(base, "s")}, Key: "abc"}
	path, _ := serve(t, p)
	if filepath.Dir(path) != filepath.Join(base, "s") || len(p.Find(t.Context())) != 1 {
		t.Error(path)
	}
	if _, err := os.Stat(long); err == nil {
		t.Error("a directory was made for nothing")
	}
	p.Dirs = p.Dirs[:1]
	if _, err := p.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than the 103 bytes") {
		t.Error(err)
	}
	// What somebody else has put there is not used.
	if err := os.Symlink(base, filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	p.Dirs = []string{filepath.Join(base, "link")}
	if _, err := p.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "is no directory") {
		t.Error(err)
	}
}

// Whoever connects and says nothing keeps nobody from ending.
func TestServeEnds(t *testing.T) {
	p := admin.Place{Dirs: []string{short(t)}, Key: "abc"}
	path, stop := serve(t, p)
	for range 50 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it ended after %s", took)
	}
}

// What goes over the socket is one object, with the status beside the rest.
func TestReportIsFlat(t *testing.T) {
	raw, err := json.Marshal(report())
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil || m["sources"] == nil || m["details"] == nil || m["since"] == nil || m["Status"] != nil {
		t.Errorf("%v %s", err, raw)
	}
}
