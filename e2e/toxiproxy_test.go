package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// toxiproxy is a running Toxiproxy: TCP proxies that are given faults while they
// run. Its version is pinned in tools/go.mod.
type toxiproxy struct {
	api string
	hc  *http.Client
}

// toxic is one fault of a proxy, in the terms of Toxiproxy's README. The kind
// "" cuts all connections and refuses new ones.
type toxic struct {
	kind, stream string // stream is upstream or downstream
	attributes   map[string]int
}

func startToxiproxy(t *testing.T) *toxiproxy {
	t.Helper()
	program := filepath.Join(t.TempDir(), "toxiproxy")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-modfile=tools/go.mod", "-o", program, "github.com/Shopify/toxiproxy/v2/cmd/server")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		needed(t, fmt.Errorf("building Toxiproxy: %w\n%s", err, out))
	}
	port := freePort(t)
	cmd := exec.Command(program, "-host", "127.0.0.1", "-port", strconv.Itoa(port))
	cmd.Env = []string{"LOG_LEVEL=error"}
	p := launch(t, cmd, t.TempDir())
	p.reader.Go(func() { _, _ = io.Copy(io.Discard, p.out) })
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	x := &toxiproxy{fmt.Sprintf("http://127.0.0.1:%d", port), &http.Client{Transport: transport, Timeout: patience}}
	if !eventually(func() bool { return x.do(http.MethodGet, "/version", nil, nil) == nil || isClosed(p.exited) }) || isClosed(p.exited) {
		t.Fatal("Toxiproxy does not answer")
	}
	return x
}

// do makes one request of its API; body and into may be nil.
func (x *toxiproxy) do(method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, x.api+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := x.hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusBadRequest:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	case into == nil:
		return nil
	}
	return json.Unmarshal(answer, into)
}

// before puts a proxy before a URL and returns the URL through it. It listens anew,
// at the same port, when it was disabled.
func (x *toxiproxy) before(t *testing.T, name, url string) (through string, err error) {
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	var proxy struct{ Listen string }
	err = x.do(http.MethodPost, "/proxies", map[string]any{"name": name, "listen": fmt.Sprint("127.0.0.1:", freePort(t)), "upstream": host, "enabled": true}, &proxy)
	return "http://" + proxy.Listen + "/" + path, err
}

// enable has a proxy take connections again, or none.
func (x *toxiproxy) enable(name string, on bool) error {
	return x.do(http.MethodPost, "/proxies/"+name, map[string]any{"enabled": on}, nil)
}

// afflict gives a proxy a fault, on all its connections; heal takes it away.
func (x *toxiproxy) afflict(name string, f toxic) error {
	if f.kind == "" {
		return x.enable(name, false)
	}
	return x.do(http.MethodPost, "/proxies/"+name+"/toxics",
		map[string]any{"name": "fault", "type": f.kind, "stream": f.stream, "attributes": f.attributes}, nil)
}

func (x *toxiproxy) heal(name string, f toxic) error {
	if f.kind == "" {
		return x.enable(name, true)
	}
	return x.do(http.MethodDelete, "/proxies/"+name+"/toxics/fault", nil, nil)
}

// ledger is the file into which the fixture's odd_write writes.
type ledger string

func newLedger(t *testing.T) ledger {
	return ledger(filepath.Join(t.TempDir(), "ledger"))
}

// counts returns how often each key was written.
func (l ledger) counts(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(string(l))
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	n := map[string]int{}
	for line := range strings.Lines(string(text)) {
		n[strings.TrimSuffix(line, "\n")]++
	}
	return n
}

// accounted compares what the caller of a write was told, "written" or a code,
// with how often it was written.
func accounted(t *testing.T, key, told string, times int) {
	t.Helper()
	switch {
	case told == "written" && times != 1, told == "write_outcome_unknown" && times > 1,
		told != "written" && told != "write_outcome_unknown" && times > 0:
		t.Errorf("%s: written %d times, the caller was told %s", key, times, told)
	}
}
