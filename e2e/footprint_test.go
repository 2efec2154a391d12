//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// footprint is what a running program holds.
type footprint struct {
	goroutines int
	handles    int
	children   int   // and theirs
	memory     int64 // resident, in bytes
}

func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, %d handles, %d children, %.1f MiB", f.goroutines, f.handles, f.children, float64(f.memory)/(1<<20))
}

// counted has the program print its goroutines to standard error every second
// (package runtime, GODEBUG: schedtrace and scheddetail).
const counted = "GODEBUG=schedtrace=1000,scheddetail=1"

// goroutine is a line of that for one goroutine that is not dead; the numbers
// are those of runtime2.go: 0 idle, 6 dead, 11 dead for another reason.
var goroutine = regexp.MustCompile(`(?m)^  G\d+: status=([^06]|1[^1])\(`)

// measure returns the footprint of a program that was started with counted and
// has nothing to do.
func measure(t *testing.T, p *proc) footprint {
	t.Helper()
	pid := p.cmd.Process.Pid
	f := footprint{handles: handles(t, pid), children: len(descendants(t, pid))}
	traces := strings.Split(p.log.String(), "\nSCHED ")
	if len(traces) > 2 {
		f.goroutines = len(goroutine.FindAllString(traces[len(traces)-2], -1)) // the last may not be complete
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nVmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil || f.goroutines == 0 {
		t.Fatalf("cannot measure: %v, %d traces", err, len(traces))
	}
	f.memory = kib << 10
	return f
}

// rested returns the footprints of programs once nothing of them shrinks any
// more.
func rested(t *testing.T, programs ...*proc) []footprint {
	t.Helper()
	time.Sleep(2 * time.Second)
	var last []footprint
	for range 10 {
		time.Sleep(1500 * time.Millisecond) // a trace at least, and memory given back
		var now []footprint
		shrinks := last == nil
		for i, p := range programs {
			f := measure(t, p)
			shrinks = shrinks || f.goroutines < last[i].goroutines || f.handles < last[i].handles ||
				f.children < last[i].children || f.memory < last[i].memory*99/100
			now = append(now, f)
		}
		if last = now; !shrinks {
			break
		}
	}
	return last
}

// exceeds says by what f is more than before, beside some tolerance; "" if by
// nothing.
func (f footprint) exceeds(before footprint, goroutines, handles int) string {
	var more []string
	if f.goroutines > before.goroutines+goroutines {
		more = append(more, "goroutines")
	}
	if f.handles > before.handles+handles {
		more = append(more, "handles")
	}
	if f.children != before.children {
		more = append(more, "children")
	}
	if f.memory > before.memory+max(before.memory/5, 8<<20) && raceFlag == "" { // the race detector keeps what it has
		more = append(more, "memory")
	}
	return strings.Join(more, " and ")
}
