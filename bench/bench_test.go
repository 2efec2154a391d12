package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

func TestCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"-only calls,x": `no probe "x"`, "-only calls -write": "leave -only out", "-rounds 0": "-rounds is 0",
		"-burst 2h": "-burst is 2h", "calls": `"calls" is no flag`,
	} {
		if _, _, err := parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
	o, selected, err := parse([]string{"-only", "list,calls", "-rounds", "2"})
	if err != nil || len(selected) != 2 || selected[0].name != "list" || o.rounds != 2 {
		t.Errorf("got %+v, %d probes, %v", o, len(selected), err)
	}
	if _, selected, err := parse(nil); err != nil || len(selected) != len(probes()) {
		t.Errorf("%d probes by default, %v", len(selected), err)
	}
}

func TestRequestsAreMessages(t *testing.T) {
	for _, r := range []request{echoCall(), numberedCall(), longCall(), longerCall(), lateCall(), listTools(), initialize()} {
		for _, modern := range []bool{false, true} {
			if body := r.body(modern, 42); !json.Valid(body) || !strings.HasPrefix(string(body), `{"jsonrpc":"2.0","id":42,`) {
				t.Errorf("%s", body)
			}
		}
	}
}

func TestAFailureIsNoAnswer(t *testing.T) {
	refused := []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"overloaded: try again"}],"isError":true}}`)
	for _, r := range []request{echoCall(), longCall(), longerCall(), lateCall(), listTools()} {
		if r.check(refused) == nil {
			t.Errorf("%s %s takes a failure for its answer", r.method, r.tool)
		}
	}
	if err := echoCall().check([]byte(`{"id":1,"result":{"content":[{"type":"text","text":"hello"}]}}`)); err != nil {
		t.Error(err)
	}
}

// TestAnswersFindWhoWaits has many ask at once over a stream that answers in
// the reverse order.
func TestAnswersFindWhoWaits(t *testing.T) {
	const n = 50
	w := newWaiting()
	var mu sync.Mutex
	var sent [][]byte
	send := func(body []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if sent = append(sent, body); len(sent) == n {
			for i := n - 1; i >= 0; i-- {
				w.deliver(sent[i])
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := w.ask(t.Context(), echoCall(), false, send); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, stray := range []string{"", "{}", `{"id":99}`, `{"id":"x"}`, `{"id":`} {
		w.deliver([]byte(stray)) // nobody waits, nothing happens
	}
	close(w.ended)
	if err := w.ask(t.Context(), echoCall(), false, func([]byte) error { return nil }); err == nil {
		t.Error("an answer after the end")
	}
}

// slowly is a session that answers after a while.
type slowly struct{ fails error }

func (s slowly) ask(context.Context, request) error {
	time.Sleep(time.Millisecond)
	return s.fails
}
func (slowly) close() {}

func TestMeasure(t *testing.T) {
	at := func(name string, fails error) target {
		return target{name: name, pid: os.Getpid(), open: func(context.Context) (session, error) { return slowly{fails}, nil }}
	}
	families := []family{{name: "a", targets: []target{at("x", nil), at("y", nil)}}, {name: "b", targets: []target{at("z", nil)}}}
	got, err := measure(t.Context(), families, load{callers: 3, sessions: 1}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || len(got[0]) != 2 || len(got[1]) != 1 {
		t.Fatalf("figures of other targets: %+v", got)
	}
	for _, f := range []figures{got[0][0], got[0][1], got[1][0]} {
		if len(f.rate) != 2 || len(f.cpu) != 2 || f.p50[0] < 1000 || f.p99[0] < f.p50[0] || f.wall[0] < 0.001 {
			t.Errorf("figures %+v", f)
		}
	}
	families[1].targets = append(families[1].targets, at("w", errors.New("broken")))
	if _, err := measure(t.Context(), families, load{callers: 3, sessions: 1}, 2); err == nil || err.Error() != "b, w: broken" {
		t.Errorf("got %v", err)
	}
}

func TestProcessorTimeCounts(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	after := before
	for began := time.Now(); err == nil && after <= before && time.Since(began) < time.Minute; { // a busy machine leaves us little
		after, err = cpuOf(os.Getpid())
	}
	if err != nil || after <= before {
		t.Errorf("%s, then %s, %v", before, after, err)
	}
	if kib, err := kibOf(os.Getpid(), "VmRSS"); err != nil || kib < 1000 {
		t.Errorf("%v KiB resident, %v", kib, err)
	}
	if _, err := kibOf(-1, "VmRSS"); err == nil {
		t.Error("memory of no process")
	}
}

func TestAColdCopyRuns(t *testing.T) {
	if _, err := cpuOf(os.Getpid()); err != nil {
		t.Skip(err)
	}
	program, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	s := &stage{dir: t.TempDir()}
	file, err := s.cold(program, "copy")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), file, "-c", "echo hello").Output(); err != nil || string(out) != "hello\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := s.cold(program, "copy"); err == nil {
		t.Error("a copy that may be in memory was taken again")
	}
}

func TestMetricsOfBenchmarks(t *testing.T) {
	m := parseMetrics("goos: linux\nBenchmarkCall/one-2   \t 10\t 36.9 action-us\t 22.1 checked-us\n" +
		"BenchmarkCall/one-2   10   40 action-us   20 checked-us\nBenchmarkSearch   200   1500000 ns/op\nBenchmarkBroken 1 x us\nPASS\n")
	if got := m["Call/one"]["action-us"]; len(m) != 2 || len(got) != 2 || got[0] != 36.9 || got[1] != 40 || m["Search"]["ns/op"][0] != 1.5e6 {
		t.Errorf("got %v", m)
	}
}

func TestWhyABenchmarkWasSkipped(t *testing.T) {
	text := "=== RUN   BenchmarkRows\nBenchmarkRows\n    bench_test.go:30: PostgreSQL cannot be started here: there is no program initdb\n--- SKIP: BenchmarkRows\n"
	for _, text := range []string{text, "--- SKIP: BenchmarkRows\n    bench_test.go:30: PostgreSQL cannot be started here: there is no program initdb\nPASS\n"} {
		if got := skipped(text); got != "PostgreSQL cannot be started here: there is no program initdb" {
			t.Errorf("%q of %q", got, text)
		}
	}
	if got := skipped("--- FAIL: BenchmarkRows\n    bench_test.go:30: no\n"); got != "" {
		t.Errorf("%q", got)
	}
}

func TestATableIsEmptied(t *testing.T) {
	got, err := emptied([]byte("package x\n\nvar kinds = map[string]int{\n\t\"a\": 1,\n}\n\nvar more = 1\n"), "kinds")
	if want := "package x\n\nvar kinds = map[string]int{\n}\n\nvar more = 1\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := emptied([]byte("package x\n"), "kinds"); err == nil {
		t.Error("a table that is not there")
	}
}

// TestBareBuilds compiles what has no layers; what it stands in for may have changed.
func TestBareBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	overlay, err := (&stage{dir: t.TempDir()}).bareOverlay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, module+"/aggregate").CombinedOutput(); err != nil {
		t.Fatalf("bench/bare.go.txt is behind aggregate/pipeline.go: %v\n%s", err, out)
	}
}

// TestTheTwinBuilds compiles the wiring of a Bulkhead for MCP servers only; what it
// is to stand in for may have changed.
func TestTheTwinBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	overlay, err := (&stage{dir: t.TempDir()}).mcpOnlyOverlay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, module+"/internal/cli").CombinedOutput(); err != nil {
		t.Fatalf("bench/mcponly.go.txt is behind internal/cli: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-overlay", overlay, "-deps", module+"/internal/cli").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range kindPackages {
		if lines := strings.Fields(string(out)); slices.Contains(lines, module+"/"+pkg) {
			t.Errorf("%s is linked all the same", pkg)
		}
	}
}

func TestWhatAProcessCosts(t *testing.T) {
	if _, err := cpuOf(os.Getpid()); err != nil {
		t.Skip(err)
	}
	r, err := ran(t.Context(), "sh", "-c", "sleep 0.1")
	if err != nil || r.wall < 100*time.Millisecond || r.peak < 100 || r.peak > 50_000 {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := ran(t.Context(), "sh", "-c", "echo no >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("got %v", err)
	}
}

// TestHTTPSessions speaks to a server that wants what a legacy one may want.
func TestHTTPSessions(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch first := strings.Contains(string(body), `"initialize"`); {
		case first:
			w.Header().Set("Mcp-Session-Id", "s1")
			io.WriteString(w, `{"result":{"protocolVersion":"2025-11-25"}}`)
		case r.Header.Get("Mcp-Session-Id") != "s1":
			w.WriteHeader(http.StatusBadRequest)
		default:
			io.WriteString(w, `{"result":"hello","say":"\"hello\"","x":"hello"}`)
		}
	}))
	defer srv.Close()
	s, err := openHTTP(t.Context(), newClient(), srv.URL, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.ask(t.Context(), echoCall()); err != nil {
		t.Error(err)
	}
	s.id = ""
	if err := s.ask(t.Context(), echoCall()); err == nil || !strings.Contains(err.Error(), "HTTP status 400") {
		t.Errorf("got %v", err)
	}
}

func TestThePageAndItsPictures(t *testing.T) {
	dir := t.TempDir()
	doc := &report.Document{Sections: []report.Section{{Title: "S", Charts: []report.Chart{{Title: "A"}, {Title: "B"}}}}}
	if err := writeTo(dir, doc); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"performance-1.svg", "performance-2.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil || !strings.Contains(string(page), "("+name+")") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := writeTo(filepath.Join(dir, "nowhere"), doc); err == nil {
		t.Error("written into a directory that is not there")
	}
}

func TestLabels(t *testing.T) {
	over := func(name string) family { return family{name: name} }
	for _, tt := range []struct {
		fam  family
		name string
		want string
	}{
		{over("HTTP, legacy"), "Bulkhead", "Bulkhead, HTTP, legacy"}, {over("HTTP, legacy"), "Bulkhead, HTTP+SSE", "Bulkhead, HTTP+SSE"},
		{over("stdio, modern"), "Bulkhead", "Bulkhead, stdio, modern"}, {over("stdio, modern"), "Bulkhead, no log of calls", "Bulkhead, no log of calls, stdio"},
	} {
		if got := label(tt.fam, target{name: tt.name}); got != tt.want {
			t.Errorf("label is %q, want %q", got, tt.want)
		}
	}
}
