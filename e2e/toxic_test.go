package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	toxicSlack = 10 * time.Second // more, before it counts as outliving it
	toxicBytes = 8 << 10          // of a read
	slept      = "took its time"  // what odd_slow answers
)

// toxicDeadline is that of a call. A hundred sources that connect anew at once take
// some seconds under the race detector.
func toxicDeadline() time.Duration {
	if raceFlag == "-race" {
		return 15 * time.Second
	}
	return 5 * time.Second
}

// affliction is a real fault between Bulkhead and a source.
type affliction struct {
	name string // at most 17 bytes
	toxic
	// effect on calls: "none", "failure", "either", or "blip", which is over
	// before a read may give up.
	effect string
}

func afflictions() []affliction {
	const up, down = "upstream", "downstream"
	all := []affliction{
		{"latency-down", toxic{"latency", down, map[string]int{"latency": 100, "jitter": 80}}, "none"},
		{"latency-up", toxic{"latency", up, map[string]int{"latency": 100, "jitter": 80}}, "none"},
		{"slicer-down", toxic{"slicer", down, map[string]int{"average_size": 64, "size_variation": 32, "delay": 50}}, "none"},
		{"slicer-up", toxic{"slicer", up, map[string]int{"average_size": 16, "size_variation": 8, "delay": 50}}, "none"},
		{"slow-close-down", toxic{"slow_close", down, map[string]int{"delay": 500}}, "none"},
		{"slow-close-up", toxic{"slow_close", up, map[string]int{"delay": 500}}, "none"},
		{"narrow-down", toxic{"bandwidth", down, map[string]int{"rate": 64}}, "none"},
		{"narrow-up", toxic{"bandwidth", up, map[string]int{"rate": 64}}, "none"},
		{"trickle-down", toxic{"bandwidth", down, map[string]int{"rate": 1}}, "either"}, // KB/s: reads fail
		{"reset-down", toxic{"reset_peer", down, nil}, "failure"},
		{"reset-down-late", toxic{"reset_peer", down, map[string]int{"timeout": 100}}, "failure"},
		{"reset-up", toxic{"reset_peer", up, nil}, "failure"},
		{"hole-down", toxic{"timeout", down, map[string]int{"timeout": 0}}, "failure"},
		{"hole-up", toxic{"timeout", up, map[string]int{"timeout": 0}}, "failure"},
		{"hole-closes", toxic{"timeout", down, map[string]int{"timeout": 200}}, "failure"},
		{"refused", toxic{}, "failure"},
		{"blip-refused", toxic{}, "blip"},
		{"blip-hole", toxic{"timeout", down, map[string]int{"timeout": 0}}, "blip"},
		{"blip-reset", toxic{"reset_peer", down, nil}, "blip"},
	}
	// The head of an answer is about 150 bytes long, what tells of a write 100 more.
	for _, n := range []int{0, 1, 17, 100, 130, 150, 170, 200, 230, 260, 500, 4000, 8000} {
		all = append(all, affliction{fmt.Sprint("cut-down-", n), toxic{"limit_data", down, map[string]int{"bytes": n}}, "either"})
	}
	for _, n := range []int{0, 1, 50, 150, 300, 450} {
		all = append(all, affliction{fmt.Sprint("cut-up-", n), toxic{"limit_data", up, map[string]int{"bytes": n}}, "either"})
	}
	return all
}

// ward is one source with its affliction.
type ward struct {
	t      *testing.T
	c      *client
	x      *toxiproxy
	source string // and proxy
	affliction

	mu     sync.Mutex
	writes map[string]result // by key
	took   time.Duration     // the longest call
	failed map[string]int    // calls, by code
}

// TestToxics has real faults between Bulkhead and real servers, all at once: a
// call ends in time and says what is wrong with which source, nothing is written
// twice, what can be is read all the same, and all of it is over when the fault
// is. Who has no fault does not notice.
func TestToxics(t *testing.T) {
	x := startToxiproxy(t)
	program, book := buildFixture(t), newLedger(t)
	config := fmt.Sprintf("[server]\ndeadline = '%s'\nlist_wait = '30s'\n", toxicDeadline()) +
		upstreamTable("good", fmt.Sprintf("command = [%q]", program), fmt.Sprintf("timeout = '%s'", toxicDeadline()*4/5))
	var wards []*ward
	for kind, flags := range map[string][]string{
		"http": {"-http", "127.0.0.1:0", "-era", "modern"}, "old": {"-http", "127.0.0.1:0", "-era", "legacy"}, "sse": {"-sse", "127.0.0.1:0"},
	} {
		url := startFixture(t, program, append(flags, "-ledger", string(book))...)
		for _, a := range afflictions() {
			w := &ward{t: t, x: x, source: kind + "-" + a.name, affliction: a, writes: map[string]result{}, failed: map[string]int{}}
			through, err := x.before(t, w.source, url)
			if err != nil {
				t.Fatal(err)
			}
			config += w.table(through)
			wards = append(wards, w)
		}
	}
	_, url := serveHTTP(t, config)
	c := overHTTP(t, url, true)
	if !eventually(func() bool {
		return !slices.ContainsFunc(c.sources(), func(s source) bool { return s.State != "up" || s.Tools == 0 })
	}) {
		t.Fatalf("%+v", c.sources())
	}
	unafflicted := watchGood(t, url)
	var all sync.WaitGroup
	for _, w := range wards {
		w.c = c
		all.Go(w.run)
	}
	all.Wait()
	unafflicted()
	written := book.counts(t)
	for _, w := range wards {
		w.settle(written)
	}
}

// table is the configuration of the source.
func (w *ward) table(url string) string {
	lines := []string{
		fmt.Sprintf("url = %q", url), "limit.queue_wait = '4s'",
		"tools.override.odd_bytes.read_only = true", "tools.override.odd_slow.read_only = true",
	}
	switch w.effect {
	case "failure", "either":
		lines = append(lines, "timeout = '800ms'", "breaker = { failures = 3, cool_down = '300ms' }")
	case "blip":
		lines = append(lines, "retry.attempts = 10")
	}
	return upstreamTable(w.source, lines...)
}

// watchGood calls a healthy source until the returned function is called, and
// fails the test if it ever fails, be it because it takes too long.
func watchGood(t *testing.T, url string) (stop func()) {
	c := overHTTP(t, url, false)
	end := make(chan struct{})
	var calls sync.WaitGroup
	calls.Go(func() {
		var took []time.Duration
		for !isClosed(end) {
			began := time.Now()
			r, err := c.call("good_test_simple_text", nil)
			if err != nil || r.IsError {
				t.Errorf("the healthy source: %v %s", err, r.text())
			}
			took = append(took, time.Since(began))
			time.Sleep(2 * time.Millisecond)
		}
		slices.Sort(took)
		t.Logf("the healthy source: %d calls, median %v, slowest %v", len(took), took[len(took)/2], took[len(took)-1])
	})
	return func() {
		close(end)
		calls.Wait()
	}
}

// run has the source fall ill and recover.
func (w *ward) run() {
	if !eventually(func() bool { return w.both("before") }) {
		w.t.Errorf("%s: does not work before: %v", w.source, w.failed)
		return
	}
	if w.effect == "blip" {
		w.blip()
	} else {
		w.illness()
	}
	began := time.Now()
	if !eventually(func() bool { return w.well("after") }) {
		w.t.Errorf("%s: does not recover: %+v", w.source, w.state())
	}
	if took := time.Since(began); took > 5*time.Second {
		w.t.Logf("%s: back after %v", w.source, took)
	}
	if s := w.state(); s.State != "up" || s.open() {
		w.t.Errorf("%s: is not as before: %+v", w.source, s)
	}
}

// well reports whether every tool that was called answers.
func (w *ward) well(when string) bool {
	return w.both(when) && !w.read("odd_slow", slept, sleeping(0)).IsError
}

// illness has calls under way when the fault comes, and makes more while it
// lasts.
func (w *ward) illness() {
	var flying sync.WaitGroup
	flying.Go(func() { w.write(w.source+"/flying", 400) })
	flying.Go(func() { w.read("odd_slow", slept, sleeping(400)) })
	time.Sleep(200 * time.Millisecond)
	w.afflict()
	flying.Wait()
	opened := false
	for n := 0; n < 4 || n < 20 && !opened && w.effect == "failure"; n++ {
		ok := w.both("during")
		if w.effect != "either" && ok != (w.effect == "none") {
			w.t.Errorf("%s: its calls succeed: %v, failures %v", w.source, ok, w.failed)
		}
		opened = opened || w.state().open()
	}
	if !opened && w.effect == "failure" || opened && w.effect == "none" {
		w.t.Errorf("%s: the circuit was open: %v, failures %v", w.source, opened, w.failed)
	}
	w.heal()
}

// blip has a fault strike reads under way and be over soon: the reads answer.
// What goes down with one connection opens no circuit, which would refuse them.
func (w *ward) blip() {
	for range 2 { // more often would have Bulkhead pause before it connects again
		var flying sync.WaitGroup
		for range 8 {
			flying.Go(func() {
				if r := w.read("odd_slow", slept, sleeping(300)); r.IsError {
					w.t.Errorf("%s: a read is lost: %s", w.source, r.text())
				}
			})
		}
		time.Sleep(150 * time.Millisecond)
		w.afflict()
		time.Sleep(200 * time.Millisecond)
		w.heal()
		flying.Wait()
	}
}

func (w *ward) afflict() {
	if err := w.x.afflict(w.source, w.toxic); err != nil {
		w.t.Error(err)
	}
}

func (w *ward) heal() {
	if err := w.x.heal(w.source, w.toxic); err != nil {
		w.t.Error(err)
	}
}

// both reads and writes at once, and reports whether both succeeded.
func (w *ward) both(when string) bool {
	key := fmt.Sprintf("%s/%s/%d", w.source, when, len(w.writes)) // nobody else writes now
	var calls sync.WaitGroup
	var r, wr result
	calls.Go(func() {
		r = w.read("odd_bytes", strings.Repeat("0123456789abcdef", toxicBytes/16), map[string]int{"bytes": toxicBytes})
	})
	calls.Go(func() { wr = w.write(key, 0) })
	calls.Wait()
	return !r.IsError && !wr.IsError
}

func (w *ward) read(tool, want string, arguments any) result {
	r := w.call(tool, arguments, "timeout", "unavailable")
	if !r.IsError && r.text() != want {
		w.t.Errorf("%s: %s answered %d bytes: %.100s", w.source, tool, len(r.text()), r.text())
	}
	return r
}

func (w *ward) write(key string, ms int) result {
	r := w.call("odd_write", map[string]any{"key": key, "ms": ms}, "write_outcome_unknown", "unavailable", "timeout")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes[key] = r
	return r
}

// call makes a call that may fail with some codes, and names the source then.
func (w *ward) call(tool string, arguments any, codes ...string) result {
	began := time.Now()
	r, err := w.c.call(w.source+"_"+tool, arguments)
	took := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took = max(w.took, took)
	e := r.Meta.Error
	switch {
	case err != nil:
		w.t.Errorf("%s: %s: %v", w.source, tool, err)
		r.IsError = true
	case took > toxicDeadline()+toxicSlack:
		w.t.Errorf("%s: %s took %v: %s", w.source, tool, took, r.text())
	case r.IsError && (!slices.Contains(codes, e.Code) || e.Source != w.source || !strings.HasPrefix(r.text(), e.Code+": "+w.source+": ")):
		w.t.Errorf("%s: %s fails by %q of %q: %s", w.source, tool, e.Code, e.Source, r.text())
	}
	if r.IsError {
		w.failed[e.Code]++
	}
	return r
}

func (w *ward) state() source {
	return w.c.source(w.source)
}

// open reports whether the circuit of the source or of a tool is open.
func (s source) open() bool {
	return s.Load.Circuit.State != "closed" || len(s.Load.Tools) > 0
}

// settle compares what the callers of writes were told with what was written.
func (w *ward) settle(written map[string]int) {
	for key, r := range w.writes {
		told := "written"
		if r.IsError {
			told = r.Meta.Error.Code
		}
		accounted(w.t, key, told, written[key])
	}
	w.t.Logf("%-20s %3d writes, slowest call %8v, failed: %v", w.source, len(w.writes), w.took.Round(time.Millisecond), w.failed)
}
