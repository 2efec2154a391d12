package upstreamtest

import (
	"context"
	"runtime/pprof"
	"testing"
)

// A fixture that says nothing of a point, or two things, is none.
func TestFixtureSaysOfEachPoint(t *testing.T) {
	start := func(*testing.T) Harness { return Harness{} }
	trapped := func(*testing.T, *Trap) Harness { return Harness{} }
	why := map[Point]string{Redirect: "it asks nobody"}
	for name, c := range map[string]struct {
		fixture        Fixture
		point          Point
		starts, refuse bool
	}{
		"nothing":           {Fixture{}, Redirect, false, true},
		"a reason":          {Fixture{Without: why}, Redirect, false, false},
		"another's reason":  {Fixture{Without: why}, Renewal, false, true},
		"an empty reason":   {Fixture{Without: map[Point]string{Redirect: ""}}, Redirect, false, true},
		"a trap":            {Fixture{Trapped: trapped}, Redirect, true, false},
		"both":              {Fixture{Trapped: trapped, Without: why}, Redirect, true, true},
		"its own":           {Fixture{Oversize: start}, Oversize, true, false},
		"its own elsewhere": {Fixture{Oversize: start}, Redirect, false, true},
	} {
		got, err := c.fixture.provoked(c.point, &Trap{})
		if (err != nil) != c.refuse || err == nil && (got != nil) != c.starts {
			t.Errorf("%s: %v, starts %v", name, err, got != nil)
		}
	}
}

// What a goroutine begins is found by its name, and nothing else.
func TestLabelled(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan struct{})
	ended := make(chan struct{})
	pprof.Do(t.Context(), pprof.Labels(label, "left behind"), func(context.Context) {
		go func() {
			defer close(ended)
			close(begun)
			<-hold
		}()
	})
	<-begun
	if labelled("left behind", "") == "" || labelled("behind", "") != "" {
		t.Errorf("found %q and %q", labelled("left behind", ""), labelled("behind", ""))
	}
	close(hold)
	<-ended
}
