package e2e_test

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// background makes calls that answer whenever they do; wait returns when they
// have, with how long it took.
func (c *client) background(tool string, arguments ...any) (wait func() time.Duration) {
	var w sync.WaitGroup
	began := time.Now()
	for _, a := range arguments {
		w.Go(func() {
			if r, err := c.call(tool, a); err != nil || r.IsError {
				c.t.Errorf("%s: %v %s", tool, err, r.text())
			}
		})
	}
	return func() time.Duration {
		w.Wait()
		return time.Since(began)
	}
}

func sleeping(ms int) map[string]any { return map[string]any{"ms": ms} }

// Calls beyond the concurrency wait, as many and as long as is set.
func TestQueues(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "waits", "healthy", "limit = { concurrency = 1 }")+
		fakeUpstream(t, "never", "healthy", "limit = { concurrency = 1, queue = 0 }")+
		fakeUpstream(t, "soon", "healthy", "limit = { concurrency = 1, queue_wait = '20ms' }")+
		fakeUpstream(t, "free", "healthy"), nil)
	c := p.stdio(false)
	c.ready()
	for name, want := range map[string]string{
		"waits": "", "free": "",
		"never": "overloaded: never: 1 calls are under way and 0 are waiting", "soon": "overloaded: soon: no place became free within 20ms",
	} {
		// On a busy machine the call may be over before the other one comes.
		if !eventually(func() bool {
			wait := c.background(name+"_sleep", sleeping(700))
			defer wait()
			if !eventually(func() bool { return c.source(name).Load.Running == 1 }) {
				t.Fatalf("%s: the call does not show", name)
			}
			r := c.mustCall(name+"_echo", map[string]string{"text": "hello"})
			beside := c.source(name).Load.Running == 1
			if name == "waits" && beside {
				t.Errorf("%s: answered beside another call", name)
			}
			return r.IsError == (want != "") && strings.HasPrefix(r.text(), want)
		}) {
			t.Errorf("%s: not %q", name, want)
		}
	}
}

// What exceeds the rate is refused where it could not be sent in time.
func TestRates(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "ten", "healthy", "limit.rate = '30/1h'")+
		fakeUpstream(t, "one", "healthy", "limit = { rate = '30/1h', burst = 1, per = 'user' }")+
		fakeUpstream(t, "dear", "healthy", "limit.rate = '30/1h'", "tools.override.echo.cost = 3"), nil)
	c := p.stdio(false)
	c.ready()
	for name, want := range map[string]struct {
		calls int // that are let through: a tenth of the rate by default
		per   string
	}{"ten": {3, "upstream"}, "one": {1, "user"}, "dear": {1, "upstream"}} {
		for range want.calls {
			alive(t, c, name)
		}
		r := c.mustCall(name+"_echo", map[string]string{"text": "hello"})
		if r.Meta.Error.Code != "rate_limited" || r.Meta.Error.Retry < 60_000 {
			t.Errorf("%s: %s", name, r.text())
		}
		if q := c.source(name).Load.Quota; q == nil || q.Per != want.per {
			t.Errorf("%s: %+v", name, q)
		}
	}
}

// A call that the source refused for the moment is made again by itself.
func TestRetries(t *testing.T) {
	t.Parallel()
	several, once := newRemote(t, nil), newRemote(t, nil)
	p := start(t, upstreamTable("several", "url = '"+several.URL+"/mcp'")+
		upstreamTable("once", "url = '"+once.URL+"/mcp'", "retry.attempts = 1"), nil)
	c := p.stdio(false)
	c.ready()
	for _, r := range []*remote{several, once} {
		r.mu.Lock()
		r.busy = 1
		r.mu.Unlock()
	}
	alive(t, c, "several")
	if r := c.mustCall("once_echo", map[string]string{"text": "hello"}); r.Meta.Error.Code != "rate_limited" {
		t.Error(r.text())
	}
	if _, n := several.counts(); n != 1 {
		t.Errorf("carried out %d times", n)
	}
}

// A tool that keeps failing is left alone for a while, and then tried.
func TestBreakers(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "long", "healthy", "timeout = '200ms'", "breaker = { failures = 2, cool_down = '1m' }")+
		fakeUpstream(t, "short", "healthy", "timeout = '200ms'", "breaker = { failures = 2, cool_down = '10ms' }")+
		fakeUpstream(t, "more", "healthy", "timeout = '200ms'", "breaker = { failures = 3, cool_down = '1m' }"), nil)
	c := p.stdio(false)
	c.ready()
	for name, want := range map[string]string{"long": "unavailable", "short": "timeout", "more": "timeout"} {
		for range 2 {
			if r := c.mustCall(name+"_sleep", sleeping(60_000)); r.Meta.Error.Code != "timeout" {
				t.Errorf("%s: %s", name, r.text())
			}
		}
		time.Sleep(50 * time.Millisecond)
		r := c.mustCall(name+"_sleep", sleeping(60_000))
		if r.Meta.Error.Code != want || name == "long" && (r.Meta.Error.Retry < 40_000 || !strings.Contains(r.text(), "circuit is open")) {
			t.Errorf("%s: %s", name, r.text())
		}
		revives(t, c, name)
	}
}

// What writes runs one after another unless something else is set.
func TestWrites(t *testing.T) {
	t.Parallel()
	const says = "tools.override.sleep.read_only = false"
	p := start(t, fakeUpstream(t, "serial", "healthy", says)+
		fakeUpstream(t, "parallel", "healthy", says, "writes = 'parallel'")+
		fakeUpstream(t, "deny", "healthy", says, "writes = 'deny'", "tools.override.echo.read_only = true")+
		fakeUpstream(t, "silent", "healthy")+
		fakeUpstream(t, "silent1", "healthy", "unannotated = 'serial'")+
		fakeUpstream(t, "keyed", "healthy", says, "serialize_by = 'ms'"), nil)
	c := p.stdio(false)
	c.ready()
	same, apart := []any{sleeping(150), sleeping(150), sleeping(150)}, []any{sleeping(150), sleeping(151), sleeping(152)}
	for name, arguments := range map[string][]any{"serial": apart, "silent1": apart, "keyed": same} {
		if took := c.background(name+"_sleep", arguments...)(); took < 450*time.Millisecond {
			t.Errorf("%s: three writes took %s", name, took)
		}
	}
	for name, arguments := range map[string][]any{"parallel": apart, "silent": apart, "keyed": apart} {
		if !eventually(func() bool { return c.background(name+"_sleep", arguments...)() < 450*time.Millisecond }) {
			t.Errorf("%s: they run one after another", name)
		}
	}
	if r := c.mustCall("deny_sleep", sleeping(1)); r.Meta.Error.Code != "denied" {
		t.Error(r.text())
	}
	alive(t, c, "deny")
}

// A read whose answer is lost is sent again only if the source is trusted to
// know that it is one.
func TestTrustedAnnotations(t *testing.T) {
	t.Parallel()
	p := start(t, sandboxUpstream("trusted", "crm", 3*time.Second, "timeout = '500ms'", "trust_annotations = true")+
		sandboxUpstream("other", "crm", 3*time.Second, "timeout = '500ms'"), nil)
	c := p.stdio(false)
	c.ready()
	for name, attempts := range map[string]string{"trusted": "3", "other": "1"} {
		r := c.mustCall(name+"_get_customer", map[string]string{"customer_id": "C-1001"})
		if r.Meta.Error.Code != "timeout" {
			t.Error(r.text())
		}
		p.logged(regexp.MustCompile("upstream=" + name + " tool=get_customer .*attempts=" + attempts + "\n"))
	}
}
