package shaping

import (
	"strings"
	"testing"
	"time"
)

// A program that is in the middle of a long step ends when it can, and the call
// does not wait for that.
func TestALongStepDoesNotHoldTheCall(t *testing.T) {
	p, err := compile("length")
	if err != nil {
		t.Fatal(err)
	}
	p.limit, p.grace = time.Millisecond, time.Millisecond
	value := "[" + strings.Repeat("1,", 2<<20) + "1]" // to read it is such a step
	if _, err := p.run(t.Context(), []byte(value)); err == nil || err.Error() != "jq took longer than 1ms" {
		t.Error(err)
	}
	if len(p.places) != 1 {
		t.Error("the step was over before the call: make it longer")
	}
	for began := time.Now(); len(p.places) > 0 && time.Since(began) < time.Minute; {
		time.Sleep(time.Millisecond)
	}
}
