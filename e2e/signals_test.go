package e2e_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Asked to stop, the program lets calls in flight finish, ends its children and
// exits with 0, over either transport.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, way := range []string{"stdio", "http"} {
			t.Run(sig.String()+" "+way, func(t *testing.T) {
				t.Parallel()
				config := fakeUpstream(t, "one", "healthy") + fakeUpstream(t, "two", "has a child")
				p, c := connect(t, config, way)
				c.ready()
				alive(t, c, "two")
				children := family(t, p, 3+2) // two upstreams, the guard; a child's child and its own
				answered := make(chan error, 1)
				go func() {
					r, err := c.call("one_sleep", map[string]int{"ms": 1500})
					if err == nil && r.text() != "slept" {
						t.Errorf("in flight: %+v", r)
					}
					answered <- err
				}()
				eventually(func() bool { return busy(c, "one") })
				if err := p.cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				if err := <-answered; err != nil {
					t.Errorf("the call in flight: %v", err)
				}
				if code := p.wait(); code != 0 {
					t.Errorf("exit status %d", code)
				}
				mustBeGone(t, children)
			})
		}
	}
}

// connect starts the program and connects to it.
func connect(t *testing.T, config, way string) (*proc, *client) {
	t.Helper()
	if way == "stdio" {
		p := start(t, config, nil)
		return p, p.stdio(false)
	}
	p, url := serveHTTP(t, config)
	return p, overHTTP(t, url, false)
}

// busy reports whether a source has a call in flight.
func busy(c *client, name string) bool {
	r, err := c.call("bulkhead_sources", map[string]string{"source": name})
	return err == nil && strings.Contains(string(r.Structured), `"inFlight":1`)
}

// Killed without time to clean up, the program takes its children with it, and
// theirs.
func TestKilled(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "one", "has a child")+fakeUpstream(t, "two", "hangs at start")+sandboxUpstream("crm", "crm", 0), nil)
	c := p.stdio(false)
	if !eventually(func() bool {
		return slices.Contains(c.tools(), "one_echo") && slices.Contains(c.tools(), "crm_get_customer")
	}) {
		t.Fatalf("%+v", c.sources())
	}
	children := family(t, p, 4+2) // three upstreams, the guard; a child's child and its own
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait()
	mustBeGone(t, children)
}

// A client that goes away in the middle of everything leaves nothing behind.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	p := start(t, "[server]\ndrain = '300ms'\n"+fakeUpstream(t, "one", "healthy"), nil)
	c := p.stdio(false)
	c.ready()
	go func() { _, _ = c.call("one_sleep", map[string]int{"ms": 3_600_000}) }()
	eventually(func() bool { return busy(c, "one") })
	children := family(t, p, 2)
	began := time.Now()
	_ = p.in.Close()
	if code := p.wait(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if took := time.Since(began); took > 8*time.Second { // the default is to wait for 10
		t.Errorf("it took %v to exit", took)
	}
	mustBeGone(t, children)
}
