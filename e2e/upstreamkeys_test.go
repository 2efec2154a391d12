package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// about is what a fake tells of its surroundings.
type about struct {
	Dir       string
	Env, Seen []string
	PID       int
	Declared  json.RawMessage
}

func surroundings(t *testing.T, c *client, name string) about {
	t.Helper()
	var a about
	if err := json.Unmarshal([]byte(c.mustCall(name+"_about", nil).text()), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// A child gets what is configured, and of ours nothing but the few variables
// that programs need.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, fakeUpstream(t, "one", "healthy", "dir = '"+dir+"'", "env.PLAIN = 'plain'",
		"env.FROM_ENV = { env = 'CANARY' }", "env.FROM_FILE = { file = '"+secret+"' }",
		"env.FROM_COMMAND = { command = ['echo', 'from a command'] }"),
		[]string{"CANARY=canary", "AWS_SECRET_ACCESS_KEY=canary"})
	c := p.stdio(false)
	eventually(func() bool { return slices.Contains(c.tools(), "one_about") })
	a := surroundings(t, c, "one")
	if a.Dir != dir {
		t.Errorf("it runs in %s", a.Dir)
	}
	for _, want := range []string{"PLAIN=plain", "FROM_ENV=canary", "FROM_FILE=from a file", "FROM_COMMAND=from a command", "HOME=" + p.home} {
		if !slices.Contains(a.Env, want) {
			t.Errorf("no %s in %q", want, a.Env)
		}
	}
	ours := []string{"PATH", "HOME", "TMPDIR", "LANG", "PLAIN", "FROM_ENV", "FROM_FILE", "FROM_COMMAND", fakeVariable, "GORACE", "PWD"}
	for _, kv := range a.Env {
		if name, _, _ := strings.Cut(kv, "="); !slices.Contains(ours, name) {
			t.Errorf("%s has leaked to the child", kv)
		}
	}
	if strings.Contains(p.log.String(), "canary") {
		t.Error("a secret is in the log")
	}
}

func TestEras(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "auto", "healthy")+fakeUpstream(t, "legacy", "healthy", "era = 'legacy'")+
		fakeUpstream(t, "modern", "healthy", "era = 'modern'")+sandboxUpstream("crm", "crm", 0), nil)
	c := p.stdio(false)
	c.ready()
	if a := surroundings(t, c, "auto"); a.Seen[0] != "server/discover" || !slices.Contains(a.Seen, "initialize") {
		t.Errorf("auto: %q", a.Seen)
	}
	if a := surroundings(t, c, "legacy"); a.Seen[0] != "initialize" {
		t.Errorf("legacy: %q", a.Seen)
	}
	if s := c.source("modern"); s.State == "up" || s.Error == "" {
		t.Errorf("modern, of a server that is not: %+v", s)
	}
	if s := c.source("crm"); s.State != "up" || s.Protocol != modernVersion {
		t.Errorf("auto, of a modern server: %+v", s)
	}
}

func TestMaxMessage(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "small", "healthy", "max_message = '4KiB'")+fakeUpstream(t, "large", "healthy"), nil)
	c := p.stdio(false)
	c.ready()
	long := map[string]string{"text": strings.Repeat("x", 10<<10)}
	if r := c.mustCall("small_echo", long); r.Meta.Error.Code != "upstream_error" {
		t.Errorf("%+v", r)
	}
	if r := c.mustCall("large_echo", long); r.text() != long["text"] {
		t.Errorf("%+v", r)
	}
	alive(t, c, "small")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "loose", "healthy")+fakeUpstream(t, "strict", "healthy", "validate = 'schema'"), nil)
	c := p.stdio(false)
	c.ready()
	if r := c.mustCall("loose_strict", nil); r.IsError {
		t.Errorf("%+v", r)
	}
	r := c.mustCall("strict_strict", nil)
	if r.Meta.Error.Code != "invalid_arguments" || !strings.Contains(r.text(), "text") {
		t.Errorf("%+v", r)
	}
	if r := c.mustCall("strict_strict", map[string]string{"text": "fits"}); r.text() != "fits" {
		t.Errorf("%+v", r)
	}
	if r := c.mustCall("loose_fail", nil); !r.IsError || r.text() != "no such record" || r.Meta.Error.Code != "" {
		t.Errorf("a tool's own failure: %+v", r)
	}
}

// Every request to a remote source carries its credential, and no other source
// sees it. A credential that cannot be fetched costs its source only.
func TestAuth(t *testing.T) {
	t.Parallel()
	const basic = "Basic cmVwb3J0czpwYXNzd29yZA==" // reports:password
	field := func(name, value string) func(http.Header) bool {
		return func(h http.Header) bool { return h.Get(name) == value }
	}
	bearer, header := newRemote(t, field("Authorization", "Bearer canary-b")), newRemote(t, field("X-Api-Key", "canary-h"))
	user, none := newRemote(t, field("Authorization", basic)), newRemote(t, nil)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("canary-h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	table := func(name string, r *remote, auth string) string {
		return upstreamTable(name, "url = '"+r.URL+"/mcp'", "auth = "+auth)
	}
	p := start(t, table("bearer", bearer, "{ type = 'bearer', token = { env = 'TOKEN' } }")+
		table("header", header, "{ type = 'header', header = 'X-Api-Key', value = { file = '"+key+"' } }")+
		table("basic", user, "{ type = 'basic', user = 'reports', password = { command = ['echo', 'password'] } }")+
		table("none", none, "{ type = 'none' }")+
		table("lost", bearer, "{ type = 'bearer', token = { env = 'NOT_THERE' } }")+
		table("wrong", bearer, "{ type = 'bearer', token = { env = 'WRONG' } }"),
		[]string{"TOKEN=canary-b", "WRONG=canary-w"})
	c := p.stdio(false)
	want := []string{"basic_echo", "bearer_echo", "header_echo", "none_echo", "bulkhead_batch", "bulkhead_batch_read", "bulkhead_read_more", "bulkhead_sources"}
	var names []string
	if !eventually(func() bool { names = c.tools(); return slices.Equal(names, want) }) {
		t.Fatalf("%q", names)
	}
	for _, name := range []string{"bearer", "header", "basic", "none"} {
		alive(t, c, name)
	}
	for name, r := range map[string]*remote{"Bearer canary-b": bearer, "canary-h": header, basic: user, "": none} {
		r.mu.Lock()
		for _, h := range r.headers {
			got := h.Get("Authorization") + h.Get("X-Api-Key")
			if got != name && (r != bearer || got != "Bearer canary-w") {
				t.Errorf("want %q, got %q", name, got)
			}
		}
		r.mu.Unlock()
	}
	if s := c.source("lost"); s.State != "down" || s.Error == "" || strings.Contains(s.Error, "NOT_THERE") {
		t.Errorf("%+v", s)
	}
	if s := c.source("wrong"); s.State != "down" || !strings.Contains(s.Error, "login") {
		t.Errorf("%+v", s)
	}
	if log := p.log.String(); strings.Contains(log, "canary") {
		t.Errorf("a secret is in the log:\n%s", log)
	}
}
