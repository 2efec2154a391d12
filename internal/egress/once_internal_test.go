package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// deaf is a connection on which nothing more can be written once it is broken.
type deaf struct {
	net.Conn
	broken *atomic.Bool
}

func (d deaf) Write(p []byte) (int, error) {
	if d.broken.Load() {
		return 0, errors.New("broken pipe")
	}
	return d.Conn.Write(p)
}

// TestWhatNeverLeftIsSent: a connection that takes nothing any more is no reason to
// fail a request, of which no byte was written: there is another.
func TestWhatNeverLeftIsSent(t *testing.T) {
	var seen atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	defer srv.Close()
	tr := New(1)
	defer tr.CloseIdleConnections()
	var last *atomic.Bool
	tr.DialContext = counting(func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		last = new(atomic.Bool)
		return deaf{c, last}, err
	})
	for n := range int32(2) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader("x=1"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatalf("request %d: %v", n+1, err)
		}
		_ = resp.Body.Close()
		if seen.Load() != n+1 {
			t.Errorf("%d were seen after request %d", seen.Load(), n+1)
		}
		last.Store(true)
	}
}
