package e2e_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

// recalled is what a client hears of memory with an answer.
type recalled struct {
	text  string
	State string // fresh or stale; "" for an answer of the source
	AgeMs int64
	Error struct{ Code, Source string }
}

// recall calls a tool and returns what is heard of memory.
func (c *client) recall(tool, text string) recalled {
	c.t.Helper()
	raw := c.must("tools/call", map[string]any{"name": tool, "arguments": map[string]any{"text": text}})
	var r result
	var meta struct {
		Meta map[string]json.RawMessage `json:"_meta"`
	}
	if err := json.Unmarshal(raw, &r); err != nil || json.Unmarshal(raw, &meta) != nil {
		c.t.Fatalf("%s: %v %.300s", tool, err, raw)
	}
	heard := recalled{text: r.text()}
	if facts, ok := meta.Meta["io.github.bulkhead-mcp/cache"]; ok {
		if err := json.Unmarshal(facts, &heard); err != nil {
			c.t.Fatalf("%s: %v %s", tool, err, facts)
		}
	}
	return heard
}

// What is said to only read is answered from memory as long as is set, and no
// longer; what a source may change, or says nothing of, is asked anew.
func TestCache(t *testing.T) {
	t.Parallel()
	remotes := map[string]*remote{}
	config := "[server]\ncache_size = '1MiB'\n"
	for name, lines := range map[string][]string{
		"all":    {"cache.ttl = '1h'", "tools.override.echo.read_only = true"},
		"tool":   {"tools.override.echo = { read_only = true, ttl = '1h' }"},
		"brief":  {"cache.ttl = '1ms'", "tools.override.echo.read_only = true"},
		"none":   {"tools.override.echo.read_only = true"},
		"off":    {"cache.ttl = '1h'", "tools.override.echo = { read_only = true, ttl = '0s' }"},
		"silent": {"cache.ttl = '1h'"},
	} {
		remotes[name] = newRemote(t, nil)
		config += upstreamTable(name, append(lines, "url = '"+remotes[name].URL+"/mcp'")...)
	}
	c := start(t, config, nil).stdio(false)
	c.ready()
	large := strings.Repeat("x", 300_000)
	for name, want := range map[string]int{"all": 1, "tool": 1, "brief": 2, "none": 2, "off": 2, "silent": 2} {
		c.recall(name+"_echo", "hello")
		time.Sleep(10 * time.Millisecond)
		r := c.recall(name+"_echo", "hello")
		if kept := r.State == "fresh" && r.AgeMs >= 10 && r.AgeMs < 60_000; kept != (want == 1) || r.text != "hello" {
			t.Errorf("%s: %+v", name, r)
		}
		if _, n := remotes[name].counts(); n != want {
			t.Errorf("%s: asked %d times", name, n)
		}
		c.recall(name+"_echo", large) // more than a quarter of what may be kept
		if r := c.recall(name+"_echo", large); r.State != "" || r.text != large {
			t.Errorf("%s: what is too large is kept: %s", name, r.State)
		}
	}
	if r := c.mustCall("bulkhead_sources", nil); !strings.Contains(string(r.Structured), `"cache":{"entries":1,"bytes":`) {
		t.Error(r.text())
	}
}

// Without a size that says otherwise, larger answers are kept too.
func TestCacheOfTheDefaultSize(t *testing.T) {
	t.Parallel()
	r := newRemote(t, nil)
	c := start(t, upstreamTable("all", "cache.ttl = '1h'", "tools.override.echo.read_only = true", "url = '"+r.URL+"/mcp'"), nil).stdio(false)
	c.ready()
	large := strings.Repeat("x", 300_000)
	c.recall("all_echo", large)
	if r := c.recall("all_echo", large); r.State != "fresh" || r.text != large {
		t.Errorf("%q", r.State)
	}
}

// An answer that is out of date is given while the source is away, and says so.
func TestStaleAnswers(t *testing.T) {
	t.Parallel()
	r := newRemote(t, nil)
	c := start(t, upstreamTable("crm", "cache = { ttl = '1ms', stale = '1h' }", "tools.override.echo.read_only = true", "url = '"+r.URL+"/mcp'"), nil).stdio(false)
	c.ready()
	c.recall("crm_echo", "hello")
	time.Sleep(10 * time.Millisecond)
	aged := regexp.MustCompile(`^hello\n\[crm: this answer is \d+ s old; a newer one is being fetched\]`)
	if r := c.recall("crm_echo", "hello"); r.State != "stale" || !aged.MatchString(r.text) {
		t.Errorf("%+v", r)
	}
	r.Close()
	var last recalled
	if !eventually(func() bool {
		last = c.recall("crm_echo", "hello")
		return last.State == "stale" && last.Error.Code == "unavailable" && last.Error.Source == "crm" &&
			strings.Contains(last.text, "the source could not be asked anew: unavailable: ")
	}) {
		t.Errorf("%+v", last)
	}
	if r := c.mustCall("crm_echo", map[string]string{"text": "other"}); r.Meta.Error.Code != "unavailable" {
		t.Error(r.text())
	}
}

// Equal reads at the same time are one call of the source.
func TestEqualReadsAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "crm", "healthy", "tools.override.sleep.read_only = true"), nil)
	c := p.stdio(false)
	c.ready()
	c.background("crm_sleep", sleeping(1500), sleeping(1500), sleeping(1500))()
	p.logged(regexp.MustCompile(`upstream=crm tool=sleep .*attempts=0 memory=coalesced\n`))
	p.logged(regexp.MustCompile(`upstream=crm tool=sleep .*attempts=1\n`))
}
