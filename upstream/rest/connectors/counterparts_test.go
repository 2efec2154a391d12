package connectors_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

// needed skips a test for what is not there, but not in CI.
func needed(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// startStripeMock builds and starts Stripe's own stand-in, which holds requests to
// Stripe's OpenAPI document; its version is pinned in tools/go.mod.
func startStripeMock(t *testing.T) (address string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "stripe-mock")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-modfile=tools/go.mod", "-o", program, "github.com/stripe/stripe-mock")
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		needed(t, fmt.Errorf("building stripe-mock: %w\n%s", err, out))
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = free.Addr().String()
	_ = free.Close()
	cmd := exec.Command(program, "-http-addr", address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 1200 { // it reads 8 MB of document first
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return address
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("stripe-mock does not listen")
	return ""
}

// TestStripeMock makes every action of the connector against Stripe's document.
func TestStripeMock(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds stripe-mock")
	}
	address := startStripeMock(t)
	def, err := connectors.Load("stripe")
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	key := ""
	s := &stage{def: def, url: "http://" + address, hc: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Del("Stripe-Version") // its document is of another one
		return tr.RoundTrip(r)
	})}}
	s.a = s.adapter(t, nil, true)
	if _, err := s.call(t.Context(), "c", "get_balance", `{}`); err == nil || !strings.Contains(err.Error(), "needs_login") {
		t.Errorf("without a key: %v", err)
	}
	key = "sk_test_123"
	for _, st := range stripe().steps {
		r, err := s.call(t.Context(), "c", st.tool, st.args)
		if err != nil {
			t.Errorf("%s(%s): %v", st.tool, st.args, err)
			continue
		}
		if got := text(t, r); !strings.Contains(got, `"id":`) && st.tool != "get_balance" && !strings.Contains(got, `"records":[`) {
			t.Errorf("%s: %s", st.tool, got)
		}
		v, _ := r.Get("structuredContent")
		projected(t, s.def, st.tool, v)
	}
	if len(s.a.Drift()) != 0 {
		t.Errorf("fields that Stripe's document does not have: %+v", s.a.Drift())
	}
}
