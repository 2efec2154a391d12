package egress_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

// one is a listener with one connection.
type one struct {
	conn chan net.Conn
	done chan struct{}
}

func (l one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l one) Close() error   { close(l.done); return nil }
func (l one) Addr() net.Addr { return &net.TCPAddr{} }

// mute swallows what is written once it is cut: a connection that has died
// without a word, as behind a router that has forgotten it.
type mute struct {
	net.Conn
	cut *atomic.Bool
}

func (m mute) Write(p []byte) (int, error) {
	if m.cut.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// A long answer over HTTP/2 goes on as long as the server is there, and fails
// when the connection is dead, which nobody tells.
func TestDeadConnectionIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cut atomic.Bool
		l := one{make(chan net.Conn, 1), make(chan struct{})}
		srv := &http.Server{
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2"}},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}),
		}
		served := make(chan struct{})
		go func() { defer close(served); _ = srv.ServeTLS(l, "", "") }()
		tr := egress.New(1)
		tr.TLSClientConfig.InsecureSkipVerify = true
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			l.conn <- mute{server, &cut}
			return client, nil
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://upstream.example/", nil)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != 2 {
			t.Fatalf("speaks %s", resp.Proto)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, resp.Body)
			failed <- err
		}()
		select {
		case err := <-failed:
			t.Fatalf("a quiet connection was given up: %v", err)
		case <-time.After(10 * time.Minute):
		}
		cut.Store(true)
		start := time.Now()
		select {
		case err := <-failed:
			if took := time.Since(start); err == nil || took > time.Minute {
				t.Errorf("%v after %v", err, took)
			}
		case <-time.After(time.Hour):
			t.Error("a dead connection holds its call for an hour")
		}
		_ = resp.Body.Close()
		tr.CloseIdleConnections()
		_ = srv.Close()
		<-served
	})
}
