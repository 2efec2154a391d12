package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keepsLedger is a mode of the fake: act notes what it is asked to write in a
// file of its directory, and never answers.
const keepsLedger = "keeps a ledger"

// enterLedger adds a line to the file in the directory of whoever runs.
func enterLedger(line string) {
	f, err := os.OpenFile("ledger", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
		_ = f.Close()
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(4)
	}
}

// Killed in the middle of a write, with another waiting for its turn, and started
// again, the program sends neither of them again: the one was carried out once,
// the other not at all.
func TestKilledWhileAWriteIsInFlight(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	read := func() string {
		text, _ := os.ReadFile(filepath.Join(home, "ledger")) // none is none
		return strings.Join(strings.Fields(string(text)), " ")
	}
	config := fakeUpstream(t, "one", keepsLedger, `unannotated = "serial"`, "retry.attempts = 3", "trust_annotations = true")
	for round := range 3 {
		p := startIn(t, home, config, nil)
		c := p.stdio(false)
		c.ready()
		done := make(chan error, 2)
		before := read()
		for _, what := range []string{"first", "second"} {
			go func() {
				_, err := c.call("one_act", map[string]string{"text": fmt.Sprint(what, round)})
				done <- err
			}()
			if !eventually(func() bool { return read() != before }) {
				t.Fatal("it is not carried out")
			}
		}
		if !eventually(func() bool { return c.source("one").Load.WritesWaiting == 1 }) {
			t.Fatalf("the second does not wait: %+v", c.source("one"))
		}
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.wait()
		for range 2 {
			if err := <-done; err == nil {
				t.Error("a call was answered")
			}
		}
	}
	p := startIn(t, home, config, nil)
	c := p.stdio(false)
	c.ready()
	for range 3 {
		if r, err := c.call("one_echo", map[string]string{"text": "hi"}); err != nil || r.text() != "hi" {
			t.Errorf("%v %+v", err, r)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got := read(); got != "first0 first1 first2" {
		t.Errorf("carried out: %s", got)
	}
}
