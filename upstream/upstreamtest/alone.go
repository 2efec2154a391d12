package upstreamtest

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// label marks the goroutines that a test begins, and those that they begin. It
// tells them from those of tests beside it.
const label = "upstreamtest"

// alone fails a test that leaves goroutines behind, once everything is closed and
// cleaned up. It has to come before anything else.
func alone(t *testing.T) {
	name := t.Name()
	plain := context.WithoutCancel(t.Context())
	pprof.SetGoroutineLabels(pprof.WithLabels(plain, pprof.Labels(label, name)))
	t.Cleanup(func() {
		pprof.SetGoroutineLabels(plain)
		if left := lasting(name, ""); left != "" {
			t.Errorf("goroutines are left:\n%s", left)
		}
	})
}

// disconnected fails a test whose adapter is closed and has kept connections that
// net/http would use again. It comes before what the fixture closes.
func disconnected(t *testing.T) {
	t.Helper()
	if left := lasting(t.Name(), "net/http.(*persistConn)"); left != "" {
		t.Errorf("Close leaves connections:\n%s", left)
	}
}

// lasting waits until no goroutine of a test has this in its stack, and returns the
// stacks of those that stay; "" if there are none.
func lasting(name, in string) (left string) {
	for end := time.Now().Add(generous); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if left = labelled(name, in); left == "" {
			break
		}
	}
	return left
}

// labelled returns the stacks of the goroutines of a test that have this in them.
func labelled(name, in string) string {
	var all strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil { // "N @ ...", "# labels: {...}", and the stack
		return err.Error()
	}
	var left []string
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, fmt.Sprintf("%q:%q", label, name)) && strings.Contains(stack, in) {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
