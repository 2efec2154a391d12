package inbound_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

func TestHostAndOrigin(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{
		Hosts:   []string{"mcp.example.com", "proxy.example.com:8443"},
		Origins: []string{"https://app.example.com"},
	}))
	for _, c := range []struct {
		host, origin string
		ok           bool
	}{
		{"localhost", "", true},
		{"LOCALHOST:1", "", true},
		{"127.0.0.1:8808", "", true},
		{"127.9.9.9", "", true},
		{"[::1]:8808", "", true},
		{"[::1]", "", true},
		{"mcp.example.com", "", true},
		{"MCP.example.com:443", "", true},
		{"proxy.example.com:8443", "", true},
		{"proxy.example.com", "", false},
		{"proxy.example.com:1", "", false},
		{"evil.example", "", false},
		{"evil.example:8808", "", false},
		{"localhost.evil.example", "", false},
		{"127.0.0.1.evil.example", "", false},
		{"169.254.169.254", "", false},
		{"0.0.0.0", "", false},
		{"192.168.1.10:8808", "", false},
		{"localhost:evil", "", false},
		{"localhost", "http://localhost:3000", true},
		{"localhost", "https://127.0.0.1", true},
		{"localhost", "http://[::1]:6274", true},
		{"localhost", "https://app.example.com", true},
		{"localhost", "https://app.example.com:444", false},
		{"localhost", "http://app.example.com", false},
		{"localhost", "https://evil.example", false},
		{"localhost", "http://localhost.evil.example", false},
		{"localhost", "http://localhost@evil.example", false},
		{"localhost", "http://localhost:1/x", false},
		{"localhost", "null", false},
		{"localhost", "file://", false},
		{"localhost", "ftp://localhost", false},
		{"evil.example", "http://localhost", false},
	} {
		headers := []string{"Host: " + c.host}
		if c.origin != "" {
			headers = append(headers, "Origin: "+c.origin)
		}
		a := w.post(initialize("2025-11-25"), headers...)
		if ok := a.status == 200; ok != c.ok || !ok && a.status != 403 {
			t.Errorf("host %s, origin %s: %d %s", c.host, c.origin, a.status, a.body)
		}
		allowed := a.header.Get("Access-Control-Allow-Origin")
		if want := map[bool]string{true: c.origin}[c.ok]; allowed != want {
			t.Errorf("host %s, origin %s: allowed %q", c.host, c.origin, allowed)
		}
	}
}

func TestPreflight(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{}))
	ask := func(origin string) answer {
		a, err := w.do(context.Background(), "OPTIONS", "/mcp", "", "Origin: "+origin,
			"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type, Mcp-Param-Region, x-evil")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := ask("http://localhost:3000")
	send := a.header.Get("Access-Control-Allow-Headers")
	if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != "http://localhost:3000" ||
		!strings.Contains(send, "mcp-session-id") || !strings.Contains(send, "mcp-param-region") || strings.Contains(send, "evil") ||
		a.header.Get("Vary") != "Origin" || a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Fatal(a)
	}
	if a := ask("https://evil.example"); a.status != 403 || a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Access-Control-Allow-Methods") != "" {
		t.Fatal(a)
	}
}

// Without client authentication only this machine is served, wherever the
// listener may be.
func TestOnlyThisMachineIsServed(t *testing.T) {
	h := newServer(t, newFake(), inbound.Options{}).Handler()
	for remote, status := range map[string]int{
		"127.0.0.1:5": 200, "[::1]:5": 200, "[::ffff:127.0.0.1]:5": 200,
		"10.0.0.7:5": 403, "[fe80::1%eth0]:5": 403, "": 403, "@": 403,
	} {
		r := httptest.NewRequest("POST", "http://localhost/mcp", strings.NewReader(initialize("2025-11-25")))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = remote
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("from %q: %d", remote, w.Code)
		}
	}
}

func TestBodiesAtTheDoor(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{MaxBody: 1000}))
	body := initialize("2025-11-25")
	for _, c := range []struct {
		body, header string
		status       int
	}{
		{body, "Content-Type: application/json; charset=UTF-8", 200},
		{body, "Content-Type: Application/JSON", 200},
		{body, "Content-Type: text/plain", 415},
		{body, "Content-Type: ", 415},
		{body, "Content-Type: application/x-www-form-urlencoded", 415},
		{body, "Content-Type: application/json; charset=utf-16", 415},
		{body, "Content-Encoding: gzip", 415},
		{body, "Accept: application/json, text/event-stream", 200},
		{body, "Accept: application/*;q=0.5", 200},
		{body, "Accept: */*", 200},
		{body, "Accept: application/json;q=0", 406},
		{body, "Accept: text/html", 406},
		{body + strings.Repeat(" ", 1000-len(body)), "X: y", 200},
		{body + strings.Repeat(" ", 1001-len(body)), "X: y", 413},
		{"", "X: y", 400},
		{"{", "X: y", 400},
	} {
		if a := w.post(c.body, c.header); a.status != c.status || c.status >= 400 && !strings.HasPrefix(a.body, `{"jsonrpc":"2.0","id":`) {
			t.Errorf("%s: %d %s", c.header, a.status, a.body)
		}
	}
	w.want(w.post(call(`"big"`, "echo", `"`+strings.Repeat("x", 1000)+`"`)), 413, `"id":"big","error":{"code":-32600,"message":"the message is longer than 1000 bytes"}`)
}

// pipes is a listener whose connections are in memory, so that their deadlines
// pass in a test's own time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- localConn{far, p.Addr()}
	return near
}

type localConn struct {
	net.Conn
	addr net.Addr
}

func (c localConn) RemoteAddr() net.Addr { return c.addr }

// A client that sends its headers or body forever is cut off, and holds nobody
// up meanwhile.
func TestSlowSenders(t *testing.T) {
	for name, c := range map[string]struct {
		sends  string
		after  time.Duration
		status string
	}{
		"headers": {"POST /mcp HTTP/1.1\r\nHost: loc", 10 * time.Second, ""},
		"body":    {"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", 30 * time.Second, "HTTP/1.1 408"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ln, done := newPipes(), make(chan error, 1)
				go func() { done <- newServer(t, newFake(), inbound.Options{}).Serve(ctx, ln) }()
				slow := ln.dial()
				defer slow.Close()
				start := time.Now()
				if _, err := io.WriteString(slow, c.sends); err != nil {
					t.Fatal(err)
				}
				other := ln.dial()
				body := initialize("2025-11-25")
				go fmt.Fprintf(other, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				if answer, _ := io.ReadAll(other); !strings.HasPrefix(string(answer), "HTTP/1.1 200") || time.Since(start) != 0 {
					t.Fatalf("another client after %v: %s", time.Since(start), answer)
				}
				answer, _ := io.ReadAll(slow)
				if took := time.Since(start); took < c.after || took > c.after+5*time.Second || !strings.HasPrefix(string(answer), c.status) {
					t.Fatalf("after %v: %s", took, answer)
				}
				cancel()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	lookup := func(string) (inbound.Service, bool) { return newFake(), true }
	for _, o := range []inbound.Options{
		{Origins: []string{"*"}},
		{Origins: []string{"localhost:3000"}},
		{Origins: []string{"http://localhost:3000/"}},
		{SessionKey: make([]byte, 15)},
	} {
		if _, err := inbound.New(lookup, o); err == nil {
			t.Errorf("accepted %+v", o)
		}
	}
	if _, err := inbound.New(nil, inbound.Options{}); err == nil {
		t.Error("accepted no lookup")
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{}))
	for _, path := range []string{"/", "/mcp/", "/u/mcp", "/u//mcp", "/u/a/b/mcp"} {
		if a, err := w.do(context.Background(), "POST", path, ping("1")); err != nil || a.status != 404 {
			t.Errorf("%s: %d %v", path, a.status, err)
		}
	}
	a, err := w.do(context.Background(), http.MethodPut, "/mcp", "")
	if err != nil || a.status != 405 || a.header.Get("Allow") != "GET, POST, DELETE" {
		t.Error(a, err)
	}
}
