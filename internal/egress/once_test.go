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

// TestRefusedStreamIsSentAgain: what a server of HTTP/2 says it has not looked at is
// sent again, with its body.
func TestRefusedStreamIsSentAgain(t *testing.T) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test is over
	frames := make(chan []string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			frames <- []string{err.Error()}
			return
		}
		defer conn.Close() //nolint:errcheck // it has said what it has to say
		frames <- refuseFirst(conn)
	}()
	tr := egress.New(1)
	tr.TLSClientConfig.InsecureSkipVerify = true
	for _, body := range []string{"", "x=1"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+l.Addr().String()+"/", strings.NewReader(body))
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	tr.CloseIdleConnections()
	// Of a request without a body the headers are all, and end it.
	want := "refused HEADERS+end, took HEADERS+end, refused HEADERS, took HEADERS, DATA"
	if got := strings.Join(<-frames, ", "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// refuseFirst is a server of HTTP/2 (RFC 9113) that refuses every other stream. It
// returns what came, without the bodies of what it refused.
func refuseFirst(conn net.Conn) (came []string) {
	const data, headers, rst, settings = 0, 1, 3, 4
	const endStream, endHeaders, refused, no204 = 1, 4, 7, 0x80 | 9
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
		case kind == headers && (stream-1)/2%2 == 0:
			came = append(came, "refused HEADERS"+map[bool]string{true: "+end"}[end])
			send(rst, 0, stream, 0, 0, 0, refused)
		case kind == headers:
			came, last = append(came, "took HEADERS"+map[bool]string{true: "+end"}[end]), stream
		case kind == data && stream == last && length > 0:
			came = append(came, "DATA")
		}
		if end && stream == last && last != 0 {
			send(headers, endStream|endHeaders, stream, no204)
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

func BenchmarkRoundTrip(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	tr := egress.New(1)
	defer tr.CloseIdleConnections()
	for name, rt := range map[string]http.RoundTripper{"once": tr, "bare": tr.Transport} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, srv.URL, nil)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				_ = resp.Body.Close()
			}
		})
	}
}
