package e2e_test

import (
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Tools of a class are counted apart besides, and their class alone is used up.
func TestClasses(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "crm", "healthy", "limit.rate = '1000/1h'", "limit.class.words = { tools = ['ech*'], rate = '30/1h' }")+
		fakeUpstream(t, "one", "healthy", "limit.class.words = { tools = ['ech*'], rate = '30/1h', burst = 1 }"), nil)
	c := p.stdio(false)
	c.ready()
	for name, burst := range map[string]int{"crm": 3, "one": 1} {
		for range burst {
			alive(t, c, name)
		}
		if r := c.mustCall(name+"_echo", map[string]string{"text": "hello"}); r.Meta.Error.Code != "rate_limited" || r.Meta.Error.Retry < 60_000 {
			t.Errorf("%s: %s", name, r.text())
		}
		if r := c.mustCall(name+"_sleep", sleeping(1)); r.IsError {
			t.Errorf("%s, another tool: %s", name, r.text())
		}
		l := c.source(name).Load
		if q := l.Classes["words"]; len(l.Classes) != 1 || q.Left >= 1 || q.Burst != float64(burst) || name == "crm" && (l.Quota == nil || l.Quota.Left < 95) {
			t.Errorf("%s: %+v, %+v", name, l.Quota, l.Classes)
		}
	}
}

// Upstreams with one credential at one origin share a quota where that is said.
func TestSharedQuota(t *testing.T) {
	t.Parallel()
	a, b := newRemote(t, nil), newRemote(t, nil)
	const limit = "limit = { rate = '30/1h', burst = 2, per = 'credential' }"
	p := start(t, upstreamTable("first", "url = '"+a.URL+"/mcp'", limit)+upstreamTable("second", "url = '"+a.URL+"/other'", limit)+
		upstreamTable("elsewhere", "url = '"+b.URL+"/mcp'", limit), nil)
	c := p.stdio(false)
	c.ready()
	alive(t, c, "first")
	alive(t, c, "second")
	for _, name := range []string{"first", "second"} {
		if r := c.mustCall(name+"_echo", map[string]string{"text": "x"}); r.Meta.Error.Code != "rate_limited" {
			t.Errorf("%s: %s", name, r.text())
		}
		if q := c.source(name).Load.Quota; q == nil || q.Per != "credential" || q.Left >= 1 {
			t.Errorf("%s: %+v", name, q)
		}
	}
	alive(t, c, "elsewhere")
}

// A tool that may be asked twice is asked again when it takes long.
func TestHedge(t *testing.T) {
	t.Parallel()
	var stuck, gaveUp atomic.Int64
	r := newRemote(t, nil)
	r.onCall = func(_ http.ResponseWriter, req *http.Request) bool {
		if stuck.Add(-1) < 0 {
			return false
		}
		<-req.Context().Done()
		gaveUp.Add(1)
		return true
	}
	p := start(t, upstreamTable("crm", "url = '"+r.URL+"/mcp'", "tools.override.echo = { hedge = true, read_only = true }"), nil)
	c := p.stdio(false)
	c.ready()
	for range 60 {
		alive(t, c, "crm")
	}
	stuck.Store(1)
	began, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		alive(t, c, "crm")
	}()
	if !eventually(func() bool {
		select {
		case <-done:
			return true
		default: // calls that were late may have used up what there was: others add to it
			c.mustCall("crm_echo", map[string]string{"text": "another"}) // an equal one would wait with it
			return false
		}
	}) {
		t.Errorf("not answered after %s", time.Since(began))
	}
	<-done
	p.logged(regexp.MustCompile("upstream=crm tool=echo .*outcome=ok .*attempts=2 hedged=true\n"))
	if !eventually(func() bool { return gaveUp.Load() == 1 }) {
		t.Error("the first attempt was not given up")
	}
}

// Whatever a source says of the wait, it freezes itself alone, and for a quarter of
// an hour at most; what it says beside a good answer counts too.
func TestHostileQuotas(t *testing.T) {
	t.Parallel()
	const most = 15 * 60 * 1000
	type told struct {
		status      int
		field, text string
		least       int // ms
	}
	cases := map[string]told{
		"long":     {429, "Retry-After", "1000000000", most - 60_000},
		"late":     {429, "Retry-After", "Thu, 01 Jan 2099 00:00:00 GMT", most - 60_000},
		"negative": {429, "Retry-After", "-1000000000", 0},
		"nan":      {429, "Retry-After", "NaN", 0},
		"busy":     {503, "Retry-After", "600", 500_000},
		"spent":    {0, "RateLimit", `"hour";r=0;t=99999999`, most - 60_000},
	}
	config := fakeUpstream(t, "other", "healthy")
	for name, say := range cases {
		r := newRemote(t, nil)
		r.onCall = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set(say.field, say.text)
			if say.status != 0 {
				w.WriteHeader(say.status)
			}
			return say.status != 0
		}
		config += upstreamTable(name, "url = '"+r.URL+"/mcp'", "retry.attempts = 1")
	}
	c := start(t, config, nil).stdio(false)
	c.ready()
	for name, say := range cases {
		r := c.mustCall(name+"_echo", map[string]string{"text": "x"})
		if say.status != 0 && r.Meta.Error.Code != "rate_limited" {
			t.Errorf("%s: %s", name, r.text())
		}
		frozen := 0
		if q := c.source(name).Load.Quota; q != nil {
			frozen = q.FrozenMs
		}
		if frozen < say.least || frozen > most || say.least == 0 && frozen > 1000 {
			t.Errorf("%s: frozen for %d ms", name, frozen)
		}
		alive(t, c, "other")
		if say.least == 0 {
			continue
		}
		r = c.mustCall(name+"_echo", map[string]string{"text": "x"})
		if r.Meta.Error.Code != "rate_limited" || !strings.Contains(r.text(), "its quota allows the call in ") {
			t.Errorf("%s: %s", name, r.text())
		}
	}
}
