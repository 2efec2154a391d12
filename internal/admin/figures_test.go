package admin_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/admin"
)

var figures = admin.Figures{Type: "text/plain; version=0.0.4", Write: func(w io.Writer) error {
	_, err := io.WriteString(w, "up 1\n")
	return err
}}

func TestFiguresOverTheSocket(t *testing.T) {
	p := admin.Place{Dirs: []string{short(t)}, Key: "abc"}
	if got := p.Figures(t.Context()); got != nil {
		t.Fatal(got)
	}
	_, stop := serve(t, p)
	if got := p.Figures(t.Context()); len(got) != 1 || got[0] != (admin.Figured{PID: os.Getpid(), Text: "up 1\n"}) {
		t.Errorf("%+v", got)
	}
	stop()
	if got := p.Figures(t.Context()); got != nil {
		t.Errorf("%+v", got)
	}
}

// TestAProcessWithoutFigures is one of an older version.
func TestAProcessWithoutFigures(t *testing.T) {
	dir := short(t)
	ln, err := net.Listen("unix", dir+"/bulkhead-abc-7.sock")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()} //nolint:gosec // a test's own
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	got := admin.Place{Dirs: []string{dir}, Key: "abc"}.Figures(t.Context())
	if len(got) != 1 || got[0].PID != 7 || got[0].Text != "" || got[0].Problem != "it does not tell its metrics: 404 Not Found" {
		t.Errorf("%+v", got)
	}
}

// TestFiguresOverHTTP holds who may read them: no web page by a name of its own.
func TestFiguresOverHTTP(t *testing.T) {
	tests := map[string]struct {
		listen, method, path, host string
		status                     int
	}{
		"by address":      {"127.0.0.1:0", "GET", "/metrics", "", 200},
		"localhost":       {"127.0.0.1:0", "GET", "/metrics", "localhost:9464", 200},
		"IPv6":            {"127.0.0.1:0", "GET", "/metrics", "[::1]:9464", 200},
		"a page's name":   {"127.0.0.1:0", "GET", "/metrics", "evil.example", 403},
		"with a port":     {"127.0.0.1:0", "GET", "/metrics", "evil.example:9464", 403},
		"else":            {"127.0.0.1:0", "GET", "/", "", 404},
		"status":          {"127.0.0.1:0", "GET", "/status", "", 404},
		"write":           {"127.0.0.1:0", "POST", "/metrics", "", 405},
		"for the network": {"0.0.0.0:0", "GET", "/metrics", "bulkhead.example:9464", 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp4", tt.listen)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- admin.ServeFigures(ctx, ln, figures) }()
			url := fmt.Sprintf("http://127.0.0.1:%d%s", ln.Addr().(*net.TCPAddr).Port, tt.path)
			req, err := http.NewRequestWithContext(ctx, tt.method, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tt.host
			tr := &http.Transport{}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != tt.status || (tt.status == 200) != (string(body) == "up 1\n") {
				t.Errorf("%d: %s", resp.StatusCode, body)
			}
			if tt.status == 200 && resp.Header.Get("Content-Type") != figures.Type {
				t.Error(resp.Header)
			}
			if tt.status == 403 && !strings.Contains(string(body), ln.Addr().String()) {
				t.Errorf("it does not say what to do: %s", body)
			}
			tr.CloseIdleConnections()
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
