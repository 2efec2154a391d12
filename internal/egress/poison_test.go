package egress_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

// before is what a library may have kept at its start.
var before = http.DefaultTransport

func TestDefaultsAreShut(t *testing.T) {
	egress.Poison() // a second time does no harm
	plain := httptest.NewServer(http.HandlerFunc(hello))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(hello))
	defer secure.Close()
	t.Setenv("HTTP_PROXY", plain.URL)
	clone := before.(*http.Transport).Clone()
	for name, c := range map[string]*http.Client{
		"DefaultClient": http.DefaultClient, "no transport": {}, "DefaultTransport": {Transport: http.DefaultTransport}, "kept": {Transport: before}, "clone": {Transport: clone},
	} {
		for _, rawURL := range []string{plain.URL, secure.URL, "http://other.example"} {
			resp, err := c.Get(rawURL)
			if err == nil {
				_ = resp.Body.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "the default HTTP client is shut") {
				t.Errorf("%s, %s: %v", name, rawURL, err)
			}
		}
	}
	tr := egress.New(1)
	defer tr.CloseIdleConnections()
	if _, err := get(t, tr, plain.URL); err != nil {
		t.Errorf("a transport made here: %v", err)
	}
}
