package egress_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

// TestARequestIsSentOnce: a connection that was good and breaks under a request is
// no reason to send it again, whatever it is.
func TestARequestIsSentOnce(t *testing.T) {
	var seen atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/good" {
			return
		}
		seen.Add(1)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if r.URL.Path == "/reset" {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		_ = conn.Close()
	}))
	defer srv.Close()
	for _, c := range []struct {
		method, body string
		key          bool
	}{
		{http.MethodGet, "", false}, {http.MethodHead, "", false}, {http.MethodDelete, "", false}, {http.MethodPost, "x=1", false},
		{http.MethodPost, "x=1", true}, {http.MethodPost, "", true}, {http.MethodPut, "x=1", true}, {http.MethodDelete, "", true},
	} {
		for _, path := range []string{"/drop", "/reset"} {
			tr := egress.New(1)
			if _, err := get(t, tr, srv.URL+"/good"); err != nil { // so that the connection is a used one
				t.Fatal(err)
			}
			seen.Store(0)
			req, _ := http.NewRequestWithContext(t.Context(), c.method, srv.URL+path, strings.NewReader(c.body))
			if c.key {
				req.Header.Set("Idempotency-Key", "k")
			}
			resp, err := tr.RoundTrip(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			if n := seen.Load(); n != 1 || err == nil {
				t.Errorf("%s %s with %q, key %v: was seen %d times, %v", c.method, path, c.body, c.key, n, err)
			}
			tr.CloseIdleConnections()
		}
	}
}

// TestWhatIsRefusedIsSentAgain: what a server of HTTP/2 says it has not looked at is
// sent again, with its body, also on another connection.
func TestWhatIsRefusedIsSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(net.Conn) []string
		want  string
	}{
		// Of a request without a body the headers are all, and end it.
		"one stream":     {refuseFirst, "refused HEADERS+end, took HEADERS+end, refused HEADERS, took HEADERS, DATA"},
		"the connection": {leaveFirst(), "left HEADERS+end, took HEADERS+end, took HEADERS, DATA"},
	} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		var came []string
		served := make(chan struct{})
		go func() {
			defer close(served)
			for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
				came = append(came, c.serve(conn)...)
				_ = conn.Close()
			}
		}()
		tr := egress.New(1)
		tr.TLSClientConfig.InsecureSkipVerify = true
		for _, body := range []string{"", "x=1"} {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+l.Addr().String()+"/", strings.NewReader(body))
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			_ = resp.Body.Close()
		}
		_ = l.Close()
		for open := true; open; { // a stream may be about to be forgotten, and its connection not idle yet
			tr.CloseIdleConnections()
			select {
			case <-served:
				open = false
			case <-time.After(5 * time.Millisecond):
			}
		}
		if got := strings.Join(came, ", "); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// leaveFirst is a server whose first connection ends with the first stream, at which
// it has not looked (RFC 9113, section 6.8).
func leaveFirst() func(net.Conn) []string {
	first := true
	return func(conn net.Conn) []string {
		before := first
		first = false
		return frames(conn, func(byte) byte {
			if before {
				return goAway
			}
			return 0
		})
	}
}

// refuseFirst is a server that refuses every other stream.
func refuseFirst(conn net.Conn) []string {
	return frames(conn, func(stream byte) byte {
		if (stream-1)/2%2 == 0 {
			return reset
		}
		return 0
	})
}

// The frames of HTTP/2 (RFC 9113, section 6).
const data, headers, reset, settings, goAway = 0, 1, 3, 4, 7

// frames is a server of HTTP/2 that answers a stream by a frame of this kind, or by
// 204 for 0. It returns what came, without the bodies of what it refused.
func frames(conn net.Conn, by func(stream byte) byte) (came []string) {
	const endStream, endHeaders, refusedStream, status204 = 1, 4, 7, 0x80 | 9
	send := func(kind, flags, stream byte, payload ...byte) {
		_, _ = conn.Write(append([]byte{0, 0, byte(len(payload)), kind, flags, 0, 0, 0, stream}, payload...))
	}
	if _, err := io.CopyN(io.Discard, conn, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
		return []string{err.Error()}
	}
	send(settings, 0, 0)
	var last byte
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return came
		}
		length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, conn, length); err != nil {
			return came
		}
		kind, flags, stream := head[3], head[4], head[8]
		end := flags&endStream != 0
		switch {
		case kind == settings && flags == 0:
			send(settings, 1, 0)
		case kind == headers && by(stream) == reset:
			came = append(came, "refused HEADERS"+map[bool]string{true: "+end"}[end])
			send(reset, 0, stream, 0, 0, 0, refusedStream)
		case kind == headers && by(stream) == goAway:
			send(goAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			return append(came, "left HEADERS"+map[bool]string{true: "+end"}[end])
		case kind == headers:
			came, last = append(came, "took HEADERS"+map[bool]string{true: "+end"}[end]), stream
		case kind == data && stream == last && length > 0:
			came = append(came, "DATA")
		}
		if end && stream == last && last != 0 {
			send(headers, endStream|endHeaders, stream, status204)
			last = 0
		}
	}
}

// TestBytesOfAGet: nothing is added to a request that net/http would not send.
func TestBytesOfAGet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test is over
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer conn.Close() //nolint:errcheck // it has said what it has to say
		var head bytes.Buffer
		for s := bufio.NewScanner(conn); s.Scan() && s.Text() != ""; {
			head.WriteString(s.Text() + "\n")
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		got <- head.String()
	}()
	tr := egress.New(1)
	defer tr.CloseIdleConnections()
	if _, err := get(t, tr, "http://"+l.Addr().String()+"/x"); err != nil {
		t.Fatal(err)
	}
	const want = "GET /x HTTP/1.1\nHost: foreign.example\nUser-Agent: Go-http-client/1.1\n"
	if head := <-got; head != want {
		t.Errorf("sent %q, want %q", head, want)
	}
}

// TestRedirectsHaveTheirBody: a client that follows a redirect sends another request.
func TestRedirectsHaveTheirBody(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/from" {
			http.Redirect(w, r, "/to", http.StatusPermanentRedirect)
			return
		}
		_, _ = w.Write(body)
	}))
	defer srv.Close()
	tr := egress.New(1)
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Post(srv.URL+"/from", "text/plain", strings.NewReader("x=1"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	if body, err := io.ReadAll(resp.Body); string(body) != "x=1" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}
