package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the scripts in testdata. Beside testscript's own commands
// and variables they have
//
//	exits STATUS PROGRAM ARGS...   runs a program and wants this exit status
//	messages N                     standard output is N JSON-RPC messages
//	faster                         standard output is a demo's JSON: at once beats one by one and costs a model less, and a token was renewed meanwhile
//	$TAKEN                         an address that another program listens on
//	fake-server                    an MCP server with a fault, named by env.E2E_FAKE
func TestScripts(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := errors.Join(os.Symlink(os.Getenv(binaryVariable), filepath.Join(bin, "bulkhead")),
		os.Symlink(exe, filepath.Join(bin, "fake-server"))); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			path := bin + string(os.PathListSeparator) + os.Getenv("PATH")
			e.Vars = append(environment(filepath.Join(e.WorkDir, "home")), "PATH="+path,
				"WORK="+e.WorkDir, "TMPDIR="+e.WorkDir, "TAKEN="+taken.Addr().String())
			return os.Mkdir(filepath.Join(e.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "messages": messages, "faster": faster,
		},
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func messages(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	lines := bytes.Split(bytes.TrimSpace([]byte(ts.ReadFile("stdout"))), []byte("\n"))
	for _, line := range lines {
		var m struct{ JSONRPC string }
		if json.Unmarshal(line, &m) != nil || m.JSONRPC != "2.0" {
			ts.Fatalf("no message: %s", line)
		}
	}
	if len(lines) != want {
		ts.Fatalf("%d messages, want %d:\n%s", len(lines), want, bytes.Join(lines, []byte("\n")))
	}
}

func faster(ts *testscript.TestScript, _ bool, _ []string) {
	type phase struct {
		Wall   float64 `json:"wall_ms"`
		Tokens int     `json:"tokens_renewed"`
		Calls  []struct{ Source string }
	}
	var report struct {
		Serial, Parallel phase
		TokensOf         string  `json:"tokens_of"`
		Ratio            float64 `json:"token_overhead_ratio"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &report))
	if report.Parallel.Wall >= report.Serial.Wall || len(report.Parallel.Calls) != 4 || len(report.Serial.Calls) != 4 {
		ts.Fatalf("one by one %.0f ms, at once %.0f ms, %d calls", report.Serial.Wall, report.Parallel.Wall, len(report.Parallel.Calls))
	}
	if report.TokensOf != "tickets" || report.Parallel.Tokens < 1 {
		ts.Fatalf("%d tokens of %q were renewed at once", report.Parallel.Tokens, report.TokensOf)
	}
	if report.Ratio <= 0.2 || report.Ratio >= 0.8 { // two readings of the definitions through five, and the results
		ts.Fatalf("a model processes %.3f times as much", report.Ratio)
	}
}
