package mcpauth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
)

// A token is given back where it is from, and nowhere else.
func TestRevoke(t *testing.T) {
	t.Parallel()
	const ours = "https://auth.example/revoke"
	for name, c := range map[string]struct {
		at     string // revocation_endpoint of the issuer
		change func(*world)
		want   string // of the error; "" is none
	}{
		"given back":    {ours, nil, ""},
		"no way":        {"", nil, mcpauth.ErrNoRevocation.Error()},
		"elsewhere":     {"https://other.example/revoke", nil, "wants tokens back at another origin"},
		"other issuer":  {ours, func(w *world) { w.server.issuers = []string{w.other.name} }, "names another authorization server or client"},
		"no client now": {ours, func(w *world) { w.lose() }, "names another authorization server or client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.other.doc["revocation_endpoint"] = "https://other.example/revoke"
			if c.at != "" {
				w.one.doc["revocation_endpoint"] = c.at
			}
			w.login(w.one)
			token, err := w.shelf.Load(t.Context(), w.source.ID())
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(w)
			}
			w.restart()
			switch err := w.source.Revoke(t.Context(), token); {
			case c.want == "" && (err != nil || len(w.one.revoked) != 1 || !strings.Contains(w.one.revoked[0], "token=refresh-1-of-https") || !strings.Contains(w.one.revoked[0], "client_id=client-1-of-https")):
				t.Errorf("%v %q", err, w.one.revoked)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(w.one.revoked)+len(w.other.revoked) > 0):
				t.Errorf("%v, want %q; %q %q", err, c.want, w.one.revoked, w.other.revoked)
			case name == "no way" && !errors.Is(err, mcpauth.ErrNoRevocation):
				t.Error(err)
			}
		})
	}
}

// What the server has said to be missing is known until somebody has signed in.
func TestMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login(w.one)
	if got := w.source.Missing(); got != nil {
		t.Errorf("%q", got)
	}
	w.server.now(func() { w.server.lacking = `Bearer error="insufficient_scope", scope="write"` })
	_, err := w.call()
	trouble(t, err, credentials.NeedsLogin)
	if got := w.source.Missing(); len(got) != 1 || got[0] != "write" {
		t.Errorf("%q", got)
	}
	w.login(w.one)
	if got := w.source.Missing(); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
