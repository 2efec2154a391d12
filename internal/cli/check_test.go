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
