package cli

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A server that refuses the token wants somebody to see to that; it is not down.
func TestCheckOfARefusedToken(t *testing.T) {
	t.Setenv("BULKHEAD_TEST_TOKEN", "canary")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer s.Close()
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte("[upstream.old]\nurl = '"+s.URL+"'\nallow_http = true\nauth = { type = 'bearer', token = { env = 'BULKHEAD_TEST_TOKEN' } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := invoke(t, nil, "check", "--config", path)
	if !strings.HasPrefix(out, "FAILED  old              refused: HTTP 401 Unauthorized; look at upstream.old.auth.token (auth.type = \"bearer\") (not required)\n") || strings.Contains(out+errs, "canary") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

// TestCheckOfWhatIsInVain: what is hidden because of writes is counted, and names
// and patterns that match nothing are told, each once.
func TestCheckOfWhatIsInVain(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("d.toml", "base_url = 'https://x.example.com'\n[action.get_a]\nmethod = 'GET'\npath = '/a'\n[action.create_a]\nmethod = 'POST'\npath = '/a'\n[action.delete_a]\nmethod = 'DELETE'\npath = '/a'\n")
	write("q.graphql", "query a { b }\nmutation c { d }")
	write("o.json", `{"openapi":"3.0.3","info":{"title":"T","version":"1"},"paths":{"/a":{"post":{"operationId":"make","responses":{"200":{"description":""}}},"get":{"operationId":"look","responses":{"200":{"description":""}}}}}}`)
	write("config.toml", `
[server]
state = "none"
pinned = ["rest_get_*", "rest_gett_*"]
[upstream.rest]
kind = "rest"
definition = "d.toml"
tools = { allow = ["get_*", "got_*"], deny = ["nothing"] }
[upstream.gql]
kind = "graphql"
url = "http://127.0.0.1:1/"
documents = ["q.graphql", "no*.graphql"]
[upstream.oa]
kind = "openapi"
document = "o.json"
operations = ["make", "look"]
url = "http://127.0.0.1:1/"
[upstream.db]
kind = "sql"
database = "sqlite:db.sqlite"
statements.a = { sql = "DELETE FROM t", write = true }
`)
	write("db.sqlite", "")
	_, out, errs := invoke(t, nil, "check", "--config", filepath.Join(dir, "config.toml"))
	for _, want := range []string{
		"ready   rest ", "(2 hidden: writes = \"deny\")\n        warning: tools.allow names \"got_*\", which matches none of the tools that it offers\n        warning: tools.deny names \"nothing\", which matches none of the tools that it offers\n",
		"ready   gql ", "(1 hidden: writes = \"deny\")\n        warning: documents names \"" + filepath.Join(dir, "no*.graphql") + "\", which matches no file\n",
		"warning: server.pinned names \"rest_gett_*\", which matches no tool\n",
	} {
		if strings.Count(out, want) != 1 {
			t.Errorf("not told once: %s", want)
		}
	}
	if strings.Count(out, "(1 hidden: writes = \"deny\")") != 3 || strings.Contains(out, `"*"`) || strings.Contains(out, `"rest_get_*"`) || strings.Contains(out, `"get_*"`) {
		t.Errorf("%s%s", out, errs)
	}
}
