package mcpauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// A server that lacks scopes names the token as one of them: it is not said to
// anybody, and not asked for.
func TestChallengeRepeatsTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login(w.one)
	const token = "token-1-of-https://auth.example"
	w.mustCall("200 Bearer " + token)
	w.server.now(func() {
		w.server.lacking = fmt.Sprintf(`Bearer error="insufficient_scope", scope="more %s"`, token)
	})
	_, err := w.call()
	trouble(t, err, credentials.NeedsLogin)
	l, err2 := w.source.Begin(t.Context(), page)
	if err2 != nil {
		t.Fatal(err2)
	}
	for what, text := range map[string]string{"error": err.Error(), "missing": fmt.Sprint(w.source.Missing()), "URL": l.URL} {
		if strings.Contains(text, "token-1") || what != "URL" && !strings.Contains(text, "more") {
			t.Errorf("%s: %s", what, text)
		}
	}
}
