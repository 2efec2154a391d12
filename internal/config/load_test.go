package config_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

func TestDefaults(t *testing.T) {
	got := mustParse(t, "[upstream.b]\nsandbox = 'crm'\n[upstream.a]\nurl = 'https://example.com/mcp'\n")
	up := config.Upstream{
		Kind: "mcp", Era: "auto", MaxMessage: 64 << 20, Validate: "structure", Enabled: true,
		Annotations: "relay", Ask: "allow",
		Auth:  config.Auth{Type: "none"},
		Tools: config.ToolFilter{Allow: []string{"*"}, Deny: []string{}},
		Limit: config.Limit{Concurrency: 256, Queue: 256, QueueWait: 10 * time.Second, Per: "upstream"},
		Retry: config.Retry{Attempts: 3}, Breaker: config.Breaker{Failures: 5, CoolDown: 5 * time.Second},
		Writes: "serial", Unannotated: "parallel",
	}
	a, b := up, up
	a.Name, a.URL = "a", "https://example.com/mcp"
	b.Name, b.Sandbox = "b", "crm"
	want := &config.Config{
		Path: "/etc/bulkhead/config.toml",
		Server: config.Server{
			Auth:  config.Clients{Type: "none"},
			Names: "prefix", Discovery: "auto", Pinned: []string{}, Deadline: config.Deadline{Auto: true}, MaxResult: 1 << 20, ListWait: 2 * time.Second, AskTimeout: 5 * time.Minute,
			Hosts: []string{}, Origins: []string{}, LogLevel: "info", LogFormat: "text", Drain: 10 * time.Second, CacheSize: 64 << 20,
		},
		Upstreams: []config.Upstream{a, b},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// behaves is a document and what is to come of it.
type behaves struct {
	doc  string
	got  func(*config.Config) any
	want any
}

// behaviour has, for every key, a document that sets it and what Load makes of
// it. TestEveryKey fails if a key is missing here.
var behaviour = map[string]behaves{
	"server.listen":         {server(`listen = "[::1]:0"`), func(c *config.Config) any { return c.Server.Listen }, "[::1]:0"},
	"server.metrics":        {server(`metrics = "127.0.0.1:9464"`), func(c *config.Config) any { return c.Server.Metrics }, "127.0.0.1:9464"},
	"server.names":          {server(`names = "flat"`), func(c *config.Config) any { return c.Server.Names }, "flat"},
	"server.deadline":       {server(`deadline = "1m30s"`), func(c *config.Config) any { return c.Server.Deadline }, config.Deadline{Limit: 90 * time.Second}},
	"server.max_result":     {server(`max_result = "2MB"`), func(c *config.Config) any { return c.Server.MaxResult }, int64(2e6)},
	"server.page_size":      {server(`page_size = 200`), func(c *config.Config) any { return c.Server.PageSize }, 200},
	"server.discovery":      {server(`discovery = "search"`), func(c *config.Config) any { return c.Server.Discovery }, "search"},
	"server.pinned":         {server(`pinned = ["crm_*"]`), func(c *config.Config) any { return c.Server.Pinned }, []string{"crm_*"}},
	"server.list_budget":    {server(`list_budget = 128`), func(c *config.Config) any { return c.Server.ListBudget }, 128},
	"server.ask_timeout":    {server(`ask_timeout = "90s"`), func(c *config.Config) any { return c.Server.AskTimeout }, 90 * time.Second},
	"server.list_wait":      {server(`list_wait = "0"`), func(c *config.Config) any { return c.Server.ListWait }, time.Duration(0)},
	"server.hosts":          {server(`hosts = ["a.example", "[::1]:80"]`), func(c *config.Config) any { return c.Server.Hosts }, []string{"a.example", "[::1]:80"}},
	"server.origins":        {server(`origins = ["https://a.example:8443"]`), func(c *config.Config) any { return c.Server.Origins }, []string{"https://a.example:8443"}},
	"server.token_key":      {server(`token_key = { file = "k.age" }`), func(c *config.Config) any { return c.Server.TokenKey }, &config.Ref{File: "/etc/bulkhead/k.age"}},
	"server.state":          {server(`state = "none"`), func(c *config.Config) any { return c.Server.State }, "none"},
	"server.log_level":      {server(`log_level = "warn"`), func(c *config.Config) any { return c.Server.LogLevel }, "warn"},
	"server.log_format":     {server(`log_format = "json"`), func(c *config.Config) any { return c.Server.LogFormat }, "json"},
	"server.drain":          {server(`drain = "1m"`), func(c *config.Config) any { return c.Server.Drain }, time.Minute},
	"upstream.*.kind":       {upstream(`sandbox = "crm"`, `kind = "mcp"`), of(func(u config.Upstream) any { return u.Kind }), "mcp"},
	"upstream.*.command":    {upstream(`command = ["./run", "~/x"]`), of(func(u config.Upstream) any { return u.Command }), []string{"/etc/bulkhead/run", "~/x"}},
	"upstream.*.url":        {upstream(`url = "http://127.0.0.1:9/mcp?team=a"`), of(func(u config.Upstream) any { return u.URL }), "http://127.0.0.1:9/mcp?team=a"},
	"upstream.*.sandbox":    {upstream(`sandbox = "tickets"`), of(func(u config.Upstream) any { return u.Sandbox }), "tickets"},
	"upstream.*.latency":    {upstream(`sandbox = "crm"`, `latency = "1.5s"`), of(func(u config.Upstream) any { return u.Latency }), 1500 * time.Millisecond},
	"upstream.*.dir":        {upstream(`command = ["x"]`, `dir = "~/d"`), of(func(u config.Upstream) any { return u.Dir }), "/home/u/d"},
	"upstream.*.allow_http": {upstream(`url = "http://mcp.internal/"`, `allow_http = true`), of(func(u config.Upstream) any { return u.AllowHTTP }), true},
	"upstream.*.prefix":     {upstream(`sandbox = "crm"`, `prefix = ""`), of(func(u config.Upstream) any { return *u.Prefix }), ""},
	"upstream.*.era":        {upstream(`sandbox = "crm"`, `era = "modern"`), of(func(u config.Upstream) any { return u.Era }), "modern"},
	"upstream.*.timeout":    {upstream(`sandbox = "crm"`, `timeout = "20s"`), of(func(u config.Upstream) any { return u.Timeout }), 20 * time.Second},
	"upstream.*.max_message": {upstream(`sandbox = "crm"`, `max_message = "1GiB"`),
		of(func(u config.Upstream) any { return u.MaxMessage }), int64(1 << 30)},
	"upstream.*.validate":    {upstream(`sandbox = "crm"`, `validate = "schema"`), of(func(u config.Upstream) any { return u.Validate }), "schema"},
	"upstream.*.annotations": {upstream(`sandbox = "crm"`, `annotations = "cautious"`), of(func(u config.Upstream) any { return u.Annotations }), "cautious"},
	"upstream.*.ask":         {upstream(`sandbox = "crm"`, `ask = "deny"`), of(func(u config.Upstream) any { return u.Ask }), "deny"},
	"upstream.*.required":    {upstream(`sandbox = "crm"`, `required = true`), of(func(u config.Upstream) any { return u.Required }), true},
	"upstream.*.enabled":     {upstream(`sandbox = "crm"`, `enabled = false`, "[upstream.x]", "sandbox = 'crm'"), of(func(u config.Upstream) any { return u.Enabled }), false},
	"upstream.*.env": {upstream(`command = ["x"]`, `env = { A = "1", TOKEN = { env = "T" }, TOKEN_FILE = "/x" }`), of(func(u config.Upstream) any { return u.Env }),
		map[string]config.EnvValue{"A": {Literal: "1"}, "TOKEN": {Ref: &config.Ref{Env: "T"}}, "TOKEN_FILE": {Literal: "/x"}}},
	"upstream.*.auth.type":   {remote(`type = "none"`), of(func(u config.Upstream) any { return u.Auth }), config.Auth{Type: "none"}},
	"upstream.*.auth.token":  {remote(`type = "bearer"`, `token = { file = "t" }`), of(func(u config.Upstream) any { return u.Auth.Token }), &config.Ref{File: "/etc/bulkhead/t"}},
	"upstream.*.auth.header": {remote(`type = "header"`, `header = "X-Key"`, `value = { env = "K" }`), of(func(u config.Upstream) any { return u.Auth.Header }), "X-Key"},
	"upstream.*.auth.value": {remote(`type = "header"`, `header = "X-Key"`, `value = { command = ["~/bin/pass", "show", "k"] }`),
		of(func(u config.Upstream) any { return u.Auth.Value }), &config.Ref{Command: []string{"/home/u/bin/pass", "show", "k"}}},
	"upstream.*.auth.user":     {remote(`type = "basic"`, `user = "u"`, `password = { env = "P" }`), of(func(u config.Upstream) any { return u.Auth.User }), "u"},
	"upstream.*.auth.password": {remote(`type = "basic"`, `user = "u"`, `password = { keyring = "a/b" }`), of(func(u config.Upstream) any { return u.Auth.Password }), &config.Ref{Keyring: "a/b"}},
	"upstream.*.tools.allow":   {upstream(`sandbox = "crm"`, `tools.allow = ["get_*"]`), of(func(u config.Upstream) any { return u.Tools.Allow }), []string{"get_*"}},
	"upstream.*.tools.deny":    {upstream(`sandbox = "crm"`, `tools.deny = ["[ab]"]`), of(func(u config.Upstream) any { return u.Tools.Deny }), []string{"[ab]"}},
	"upstream.*.tools.override.*.read_only": {upstream(`sandbox = "crm"`, `tools.override.get.read_only = true`),
		of(func(u config.Upstream) any { return u.Tools.Override }), said("get", config.Hints{ReadOnly: new(true)})},
	"upstream.*.tools.override.*.destructive": {upstream(`sandbox = "crm"`, `tools.override.get.destructive = false`),
		of(func(u config.Upstream) any { return u.Tools.Override }), said("get", config.Hints{Destructive: new(false)})},
	"upstream.*.tools.override.*.idempotent": {upstream(`sandbox = "crm"`, `tools.override."a b".idempotent = true`, `tools.override.b = {}`),
		of(func(u config.Upstream) any { return u.Tools.Override }), map[string]*config.Override{"a b": {Hints: config.Hints{Idempotent: new(true)}}, "b": {}}},
	"upstream.*.tools.override.*.requires": {upstream(`sandbox = "crm"`, `tools.override.get.requires = ["find"]`), of(func(u config.Upstream) any { return u.Tools.Override["get"].Requires }), []string{"find"}},
	"upstream.*.tools.override.*.open_world": {upstream(`sandbox = "crm"`, `[upstream.crm.tools.override."crm.get/one"]`, `open_world = true`, `read_only = false`),
		of(func(u config.Upstream) any { return u.Tools.Override }), said("crm.get/one", config.Hints{OpenWorld: new(true), ReadOnly: new(false)})},
}

func said(tool string, h config.Hints) map[string]*config.Override {
	return map[string]*config.Override{tool: {Hints: h}}
}

func server(line string) string { return "[server]\n" + line + "\n" + upstream(`sandbox = "crm"`) }

func remote(auth ...string) string {
	return upstream(`url = "https://example.com/mcp"`) + "[upstream.crm.auth]\n" + strings.Join(auth, "\n") + "\n"
}

func of(field func(config.Upstream) any) func(*config.Config) any {
	return func(c *config.Config) any { return field(c.Upstreams[0]) }
}

func TestEveryKey(t *testing.T) {
	keys := config.Keys()
	behaviour := maps.Clone(behaviour)
	maps.Copy(behaviour, limitBehaviour)
	maps.Copy(behaviour, authBehaviour)
	maps.Copy(behaviour, cacheBehaviour)
	maps.Copy(behaviour, shapeBehaviour)
	maps.Copy(behaviour, openapiBehaviour)
	maps.Copy(behaviour, graphqlBehaviour)
	maps.Copy(behaviour, restBehaviour)
	maps.Copy(behaviour, sqlBehaviour)
	maps.Copy(behaviour, clientBehaviour)
	if len(keys) != len(behaviour) {
		t.Errorf("%d keys, %d behaviours", len(keys), len(behaviour))
	}
	for _, key := range keys {
		b, ok := behaviour[key]
		if !ok {
			t.Errorf("%s has no behaviour here", key)
			continue
		}
		if diff := cmp.Diff(b.want, b.got(mustParse(t, b.doc))); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "none.toml")
	_, err := config.Load(missing, nil)
	fe, ok := errors.AsType[*config.FileError](err)
	if !ok || !errors.Is(err, fs.ErrNotExist) || fe.Path != missing || fe.Hint == "" {
		t.Errorf("missing file: %v", err)
	}
	if strings.Count(err.Error(), missing) != 1 {
		t.Errorf("names the path more than once: %v", err)
	}
	if _, err := config.Load(dir, nil); !errors.As(err, &fe) {
		t.Errorf("directory: %v", err)
	}
	huge := filepath.Join(dir, "huge.toml")
	if err := os.WriteFile(huge, []byte(strings.Repeat("#\n", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(huge, nil); !errors.As(err, &fe) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("huge file: %v", err)
	}
}

func TestByteOrderMark(t *testing.T) {
	mustParse(t, "\ufeff"+upstream(`sandbox = "crm"`))
}

// The files that the repository ships must load as they are.
func TestShippedFiles(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.toml")
	if err != nil || len(files) < 3 {
		t.Fatalf("examples: %v %v", files, err)
	}
	for _, file := range append(files, "../../config.toml") {
		if text, _ := os.ReadFile(file); strings.Contains(string(text), "connector = ") {
			continue // they are loaded where connectors are known
		}
		if _, err := config.Load(file, []string{"HOME=/home/u"}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	cfg, err := config.Load("../../config.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range cfg.Upstreams {
		got = append(got, u.Name+"="+u.Sandbox)
	}
	if diff := cmp.Diff([]string{"crm=crm", "tickets=tickets", "warehouse=warehouse"}, got); diff != "" {
		t.Error(diff)
	}
}

// What stands behind # in the shipped configuration must work once the # is
// removed.
func TestCommentedExamples(t *testing.T) {
	for _, file := range []string{"../../config.toml", "../../examples/stdio.toml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc []string
		for line := range strings.Lines(string(data)) {
			rest, commented := strings.CutPrefix(line, "# ")
			if commented && (strings.HasPrefix(rest, "[") || strings.Contains(rest, " = ")) {
				line = rest
			}
			doc = append(doc, line)
		}
		cfg := mustParse(t, strings.Join(doc, ""))
		if plain, _ := config.Parse(data, file, nil); len(cfg.Upstreams) <= len(plain.Upstreams) {
			t.Errorf("%s: the comments hold no example", file)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range behaviour {
		f.Add(b.doc, "BULKHEAD_UPSTREAM__CRM__TIMEOUT=5s")
	}
	f.Add("upstream = 3\nserver = []", "BULKHEAD_UPSTREAM__CRM__ENV__A__ENV=x")
	f.Add("[upstream.a-b]\nurl='https://u:p@x'\n[upstream.a_b]", "BULKHEAD_UPSTREAM__A_B__URL=https://x")
	f.Fuzz(func(t *testing.T, doc, variable string) {
		cfg, err := parse(doc, variable)
		if err == nil {
			if len(cfg.Upstreams) == 0 {
				t.Error("neither upstream nor fault")
			}
			return
		}
		faults, ok := errors.AsType[config.Faults](err)
		if !ok || len(faults) == 0 {
			t.Errorf("%T %v", err, err)
		}
		for _, fault := range faults {
			if fault.Problem == "" {
				t.Errorf("fault without a problem: %#v", fault)
			}
		}
	})
}
