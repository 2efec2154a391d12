package e2e_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var metricsAddress = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/metrics`)

// fetched returns what is at a URL.
func fetched(t *testing.T, url string) string {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%v, %s, %v: %s", err, resp.Status, resp.Header, body)
	}
	return string(body)
}

// TestMetrics holds what is served and printed after calls of clients of both
// eras, one of which runs two at once.
func TestMetrics(t *testing.T) {
	t.Parallel()
	home := shortHome(t)
	config := "[server]\nmetrics = '127.0.0.1:0'\n" + sandboxUpstream("crm", "crm", time.Second)
	p := startIn(t, home, config, nil, "serve", "--listen", "127.0.0.1:0")
	at := metricsAddress.FindString(p.logged(metricsAddress))
	url := p.endpoint()
	old, modern := overHTTP(t, url, false), overHTTP(t, url, true)
	old.ready()
	var w sync.WaitGroup
	for range 2 {
		w.Go(func() { old.mustCall("crm_find_customers", map[string]any{"query": "canary"}) })
	}
	w.Wait()
	modern.mustCall("crm_get_customer", map[string]any{"customer_id": "canary"})
	modern.mustCall("bulkhead_batch_read", map[string]any{"calls": []any{
		map[string]any{"id": "a", "tool": "crm_find_customers", "arguments": map[string]any{"query": "a"}},
		map[string]any{"id": "b", "tool": "crm_find_customers", "arguments": map[string]any{"query": "b"}},
	}})
	served := fetched(t, at)
	for _, want := range []string{
		`bulkhead_calls_total{upstream="crm",mcp_method_name="tools/call",code="ok"} 4`,
		`mcp_server_operation_duration_seconds_bucket{upstream="crm",mcp_method_name="tools/call",error_type="",le="0.2"} 0`,
		`mcp_client_operation_duration_seconds_count{upstream="crm"} `,
		`era="legacy",begun="beside"} 1`, `era="modern",begun="alone"} 2`,
		`bulkhead_client_calls_at_once_max{client="e2e",version="1",era="legacy"} 2`,
		`bulkhead_batch_calls_total{code="ok"} 2`, "\nbulkhead_token_overhead_ratio 0.",
		`bulkhead_upstream_up{upstream="crm"} 1`, `bulkhead_circuit_state{upstream="crm"} 0`,
		`bulkhead_definition_tokens{upstream="crm"} `, `bulkhead_definition_tokens{upstream="_own"} `,
	} {
		if !strings.Contains(served, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(served, "canary") || strings.Contains(served, "find_customers") {
		t.Error("a call can be read there")
	}
	if t.Failed() {
		t.Log(served)
	}
	if printed := says(p, "metrics"); printed != served {
		t.Errorf("bulkhead metrics prints another thing:\n%s", printed)
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	p.wait()
	if out, errs, code := run(t, config, nil, "metrics"); code != 1 || out != "" || !strings.Contains(errs, "error: no server runs with this configuration\n") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if out, errs, code := run(t, "[server]\nstate = 'none'\n"+sandboxUpstream("crm", "crm", 0), nil, "metrics"); code != 1 || out != "" || !strings.Contains(errs, "hint: serve metrics over HTTP with server.metrics") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}
