package egress_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

func TestMain(m *testing.M) {
	egress.Poison()
	goleak.VerifyTestMain(m)
}

func TestConnectionsAreKeptForAllCallsAtOnce(t *testing.T) {
	const at = 20
	var conns atomic.Int32
	var barrier sync.WaitGroup
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		barrier.Done()
		barrier.Wait() // all at once, so that each needs a connection
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("asks for a compressed answer")
		}
	}))
	defer srv.Close()
	tr := egress.New(at)
	defer tr.CloseIdleConnections()
	dial := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conns.Add(1)
		return dial(ctx, network, addr)
	}
	for range 3 {
		barrier.Add(at)
		var wg sync.WaitGroup
		for range at {
			wg.Go(func() {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			})
		}
		wg.Wait()
	}
	if n := conns.Load(); n > at+2 {
		t.Errorf("%d connections for 3 rounds of %d calls", n, at)
	}
}

func TestNoProxyFromTheEnvironment(t *testing.T) {
	proxied := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the proxy of the environment was used")
	}))
	defer proxied.Close()
	t.Setenv("HTTP_PROXY", proxied.URL)
	tr := egress.New(1)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://upstream.invalid/", nil)
	if proxy, err := tr.Proxy(req); proxy != nil || err != nil {
		t.Errorf("the transport takes the proxy %v, %v", proxy, err)
	}
	if resp, err := tr.RoundTrip(req); err == nil {
		_ = resp.Body.Close()
		t.Error("a name that does not exist answered")
	}
}
