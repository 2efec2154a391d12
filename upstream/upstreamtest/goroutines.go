package upstreamtest

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// marked are the goroutines that a test has started, and those that they have:
// a label is handed down. Other tests may run at the same time.
type marked struct{ label string }

// mark marks what the test starts from here on.
func mark(t *testing.T) marked {
	pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels("upstreamtest", t.Name())))
	return marked{fmt.Sprintf("%q:%q", "upstreamtest", t.Name())}
}

// gone fails the test if one of them does not end. It ends the marking.
func (m marked) gone(t *testing.T) {
	pprof.SetGoroutineLabels(context.WithoutCancel(t.Context()))
	var left string
	for limit := time.Now().Add(generous / 4); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		if left = m.left(t); left == "" {
			return
		}
	}
	t.Errorf("goroutines are left after Close:\n%s", left)
}

// left returns the stacks of those that there are.
func (m marked) left(t *testing.T) string {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		t.Fatal(err)
	}
	var left []string
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, m.label) {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
