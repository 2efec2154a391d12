package e2e_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	// The program is built by go build, which the test cache does not see: this
	// has a change of it make earlier results void.
	_ "github.com/bulkhead-mcp/bulkhead/internal/cli"
)

// patience is how long anything may take before it counts as hanging.
const patience = 60 * time.Second

// Variables of the test binary: the program under test, built from this tree if
// none is named, and the part that the test binary plays when it is started
// again as an upstream.
const (
	binaryVariable = "E2E_BULKHEAD"
	fakeVariable   = "E2E_FAKE"
	raceOptions    = "GORACE=atexit_sleep_ms=0" // a race-built program exits a second late without
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(fakeVariable); mode != "" {
		runFake(mode)
		return
	}
	if filepath.Base(os.Args[0]) == browserName {
		runBrowser()
		return
	}
	dir, err := os.MkdirTemp("", "bulkhead-e2e")
	if err == nil && os.Getenv(binaryVariable) == "" {
		err = build(filepath.Join(dir, "bulkhead"))
	}
	if err == nil {
		err = flag.Set("test.parallel", atOnce) // -parallel overrides it
	}
	if err != nil {
		_, _ = os.Stderr.WriteString("e2e: " + err.Error() + "\n")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func build(binary string) error {
	cmd := exec.Command("go", "build", raceFlag, "-o", binary, "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return os.Setenv(binaryVariable, binary)
}

// environment is everything that the program under test is told; nothing of
// ours reaches it.
func environment(home string, more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(), "LANG=C.UTF-8",
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "XDG_STATE_HOME=" + filepath.Join(home, "state"),
		"DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent", // no keyring of whoever runs the tests
		raceOptions,
	}, more...)
}

// proc is one run of the program.
type proc struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	log    *buffer
	home   string
	exited chan struct{}
	reader sync.WaitGroup // reads out
	stray  chan answer    // messages that answer no request of ours
}

// start runs the program with a configuration and arguments. At the end of the
// test it must have exited or exit when asked to.
func start(t *testing.T, config string, env []string, args ...string) *proc {
	t.Helper()
	return startIn(t, t.TempDir(), config, env, args...)
}

// startIn is start with a home directory that outlives the run.
func startIn(t *testing.T, home, config string, env []string, args ...string) *proc {
	t.Helper()
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Getenv(binaryVariable), args...)
	cmd.Dir, cmd.Env = home, environment(home, env...)
	return launch(t, cmd, home)
}

func launch(t *testing.T, cmd *exec.Cmd, home string) *proc {
	t.Helper()
	p := &proc{t: t, cmd: cmd, log: &buffer{}, home: home, exited: make(chan struct{}), stray: make(chan answer, 1000)}
	var err1, err2, err3 error
	var out *os.File
	p.in, err1 = cmd.StdinPipe()
	// Not StdoutPipe: Wait must not take away what has not been read yet.
	p.out, out, err2 = os.Pipe()
	cmd.Stdout, cmd.Stderr = out, p.log
	err3 = cmd.Start()
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	go func() {
		_ = cmd.Wait() // ProcessState says how it ended
		close(p.exited)
	}()
	t.Cleanup(p.finish)
	return p
}

func (p *proc) finish() {
	_ = p.in.Close()
	select {
	case <-p.exited:
	default:
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	p.wait()
	p.reader.Wait()
	_ = p.out.Close()
	text := p.log.String()
	if strings.Contains(text, "DATA RACE") || strings.Contains(text, "\npanic:") || strings.HasPrefix(text, "panic:") {
		p.t.Errorf("the program failed:\n%s", text)
	} else if p.t.Failed() {
		p.t.Logf("the end of its log:\n%s", text[max(len(text)-4000, 0):])
	}
}

// wait returns the exit status; -1 if a signal ended it.
func (p *proc) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		p.t.Errorf("the program did not exit within %s", patience)
		<-p.exited
	}
	return p.cmd.ProcessState.ExitCode()
}

// run runs a command of the program to its end and returns what it said.
func run(t *testing.T, config string, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := start(t, config, env, args...)
	_ = p.in.Close()
	out, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	code = p.wait()
	return string(out), p.log.String(), code
}

var address = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/mcp`)

// serveHTTP starts the program on a free port and returns its endpoint.
func serveHTTP(t *testing.T, config string, env ...string) (p *proc, url string) {
	t.Helper()
	p = start(t, config, env, "serve", "--listen", "127.0.0.1:0")
	return p, p.endpoint()
}

func (p *proc) endpoint() string {
	p.t.Helper()
	return address.FindString(p.logged(address))
}

// logged waits for a line of the log.
func (p *proc) logged(pattern *regexp.Regexp) string {
	p.t.Helper()
	line := ""
	if !eventually(func() bool {
		line = pattern.FindString(p.log.String())
		return line != "" || isClosed(p.exited)
	}) || line == "" {
		p.t.Fatalf("no %q in the log:\n%s", pattern, p.log)
	}
	return line
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// eventually waits until ok, as long as patience lasts.
func eventually(ok func() bool) bool { return within(patience, ok) }

func within(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// fakeUpstream is the configuration of a misbehaving upstream.
func fakeUpstream(t *testing.T, name, mode string, more ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return upstreamTable(name, append([]string{
		"command = [" + strconv.Quote(exe) + "]",
		"env." + fakeVariable + " = " + strconv.Quote(mode), "env.GORACE = " + strconv.Quote("atexit_sleep_ms=0"),
	}, more...)...)
}

func sandboxUpstream(name, source string, latency time.Duration, more ...string) string {
	return upstreamTable(name, append([]string{
		"sandbox = " + strconv.Quote(source), "latency = " + strconv.Quote(latency.String()),
	}, more...)...)
}

func upstreamTable(name string, lines ...string) string {
	return "[upstream." + name + "]\n" + strings.Join(lines, "\n") + "\n"
}
