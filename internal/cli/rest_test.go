package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

const tokenDefinition = `
base_url = "{instance_url}/services"
[values.instance_url]
token = "instance_url"
suffixes = [".my.example.com"]
[values.login]
default = "login"
pattern = "[a-z]+"
[preset]
timeout = "30s"
limit = { concurrency = 5 }
[preset.tools.override.get_x]
open_world = true
[auth.client_credentials]
token_url = "https://{login}.example.com/token"
scopes = ["read"]
write_scopes = ["read", "write"]
[auth.bearer]
[action.get_x]
method = "GET"
path = "/x"
cost = 3
[action.get_y]
method = "GET"
path = "/y"
scopes = ["y.read"]
[action.create_x]
method = "POST"
path = "/x"
cost = 5
`

func parsed(t *testing.T, lines ...string) (config.Upstream, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "d.toml"), []byte(tokenDefinition), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "[upstream.sf]\nkind = 'rest'\ndefinition = 'd.toml'\n" + strings.Join(lines, "\n")
	cfg, err := config.Reader{Presets: presets}.Parse([]byte(text), filepath.Join(dir, "config.toml"), nil)
	if err != nil {
		return config.Upstream{}, err
	}
	return cfg.Upstreams[0], nil
}

func TestRESTPresets(t *testing.T) {
	u, err := parsed(t, "limit.concurrency = 7", "auth.client_id = 'me'", "auth.client_secret = { env = 'S' }", "auth.scopes = ['other']")
	if err != nil {
		t.Fatal(err)
	}
	type override struct {
		Cost   int
		Scopes []string
	}
	overrides := map[string]override{}
	for name, o := range u.Tools.Override {
		overrides[name] = override{o.Cost, o.Scopes}
	}
	got := []any{u.Writes, u.TrustAnnotations, u.Timeout.String(), u.Limit.Concurrency, u.Auth.Type, u.Auth.TokenURL, u.Auth.Scopes, u.Auth.WriteScopes, overrides}
	want := []any{"deny", true, "30s", 7, "client_credentials", "https://login.example.com/token", []string{"other"}, []string{"read", "write"},
		map[string]override{"get_x": {Cost: 3}, "get_y": {Scopes: []string{"y.read"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	members, suffixes, err := fromToken(u)
	if diff := cmp.Diff([]any{[]string{"instance_url"}, []string{".my.example.com"}, error(nil)}, []any{members, suffixes, err}); diff != "" {
		t.Error(diff)
	}
	u, err = parsed(t, "url = 'https://sf.example.com'", "auth = { type = 'bearer', token = { env = 'T' } }", "writes = 'serial'")
	if err != nil {
		t.Fatal(err)
	}
	if u.Auth.TokenURL != "" || u.Tools.Override["create_x"] == nil || u.Tools.Override["get_y"] != nil {
		t.Errorf("%+v, %v", u.Auth, u.Tools.Override)
	}
	if members, suffixes, err = fromToken(u); members != nil || suffixes != nil || err != nil {
		t.Errorf("its address is known: %v, %v, %v", members, suffixes, err)
	}
	if _, err = parsed(t, "auth = { type = 'bearer', token = { env = 'T' } }"); err == nil || !strings.Contains(err.Error(), "upstream.sf.url: is missing") {
		t.Error(err)
	}
	if _, err = parsed(t, "values.login = '..'"); err == nil || !strings.Contains(err.Error(), "upstream.sf.values.login") {
		t.Error(err)
	}
}

func TestNoAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "d.toml")
	if err := os.WriteFile(file, []byte("[action.get_x]\nmethod = 'GET'\npath = '/x'"), 0o600); err != nil {
		t.Fatal(err)
	}
	doc := "[upstream.sf]\nkind = 'rest'\ndefinition = '" + file + "'\n"
	_, err := config.Reader{Presets: presets}.Parse([]byte(doc), "config.toml", nil)
	if err == nil || !strings.Contains(err.Error(), "upstream.sf.url: is missing: the definition has no base_url") {
		t.Error(err)
	}
	if _, err = (config.Reader{Presets: presets}).Parse([]byte(doc+"url = 'https://example.com'"), "config.toml", nil); err != nil {
		t.Error(err)
	}
}

// Every example is good as it is.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.toml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v %v", files, err)
	}
	for _, file := range files {
		cfg, err := (config.Reader{Presets: presets}).Load(file, []string{"HOME=/home/u"})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, u := range cfg.Upstreams {
			if check := checks[u.Kind]; check != nil {
				if err := check(u); err != nil {
					t.Errorf("%s: %s: %v", file, u.Name, err)
				}
			}
		}
	}
}

// What is no MCP server has one rule, whatever its kind: nothing that writes, its
// own words believed, answers of 16 MiB at most.
func TestPresetsOfSources(t *testing.T) {
	const size = 16 << 20
	for kind, lines := range map[string]string{
		"mcp":     "url = 'https://a.example'",
		"rest":    "connector = 'github'\nauth.token = { env = 'TOKEN' }",
		"openapi": "url = 'https://a.example'\ndocument = 'https://a.example/doc.json'\noperations = ['x']",
		"graphql": "url = 'https://a.example'",
		"sql":     "database = 'sqlite:a.db'",
	} {
		for more, want := range map[string]int64{"": size, "max_message = '64MiB'": 64 << 20} {
			cfg, err := reader().Parse([]byte("[upstream.x]\nkind = '"+kind+"'\n"+lines+"\n"+more), "config.toml", nil)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			u := cfg.Upstreams[0]
			source := kind != "mcp"
			if !source {
				want = 64 << 20
			}
			if u.MaxMessage != want || (u.Writes == "deny") != source || u.TrustAnnotations != source {
				t.Errorf("%s with %q: %d bytes, writes %s, trusted %v", kind, more, u.MaxMessage, u.Writes, u.TrustAnnotations)
			}
		}
	}
}
