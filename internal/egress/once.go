package egress

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
)

// Transport is an [http.Transport] that sends a request once. That one by itself
// sends a request again whose reused connection breaks before an answer, if it is a
// GET or has an Idempotency-Key (https://pkg.go.dev/net/http#Transport): beside all
// that counts, limits and paces requests. Whether it is sent again is for those to
// say who know what it does.
//
// It still takes another connection for what it has written nothing of, and for
// what a server of HTTP/2 says it has not looked at (RFC 9113, section 8.7).
type Transport struct{ *http.Transport }

// errBroke has no better cause: what broke the connection is not told.
var errBroke = fmt.Errorf("the connection broke after the request was sent: %w", io.ErrUnexpectedEOF)

// begun is whether writing a request over HTTP/1 has begun, which is into a buffer
// at first, and on which connection; its key in a context is wireKey.
type begun struct {
	atomic.Bool
	conn *counted // nil if it is none of ours
	from int64    // what was written to it before
}

type wireKey struct{}

// counted knows how many bytes were written to a connection.
type counted struct {
	net.Conn
	n atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func counting(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &counted{Conn: c}, nil
	}
}

// got takes the connection that a request is to be written to.
func (b *begun) got(info httptrace.GotConnInfo) {
	conn := info.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if b.conn, _ = conn.(*counted); b.conn != nil {
		b.from = b.conn.n.Load()
	}
}

// sent reports whether a byte of the request may have left, over HTTP/1: there
// nothing else is written to its connection meanwhile.
func (b *begun) sent() bool {
	return b.Load() && (b.conn == nil || b.conn.n.Load() != b.from)
}

// wrote takes a field that was written. Host is the first one; over HTTP/2 it is called
// :authority (RFC 9113, section 8.3.1), and that takes another connection only for what
// was not looked at.
func (b *begun) wrote(field string, _ []string) {
	if field == "Host" {
		b.Store(true)
	}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	wire := new(begun)
	ctx := context.WithValue(req.Context(), wireKey{}, wire)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: wire.got, WroteHeaderField: wire.wrote})
	resp, err := t.Transport.RoundTrip(req.WithContext(ctx))
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

// once stands where net/http asks for a proxy: it does so each time before it
// takes a connection for a request, so here a second time can be refused. There is
// no proxy.
func once(req *http.Request) (*url.URL, error) {
	if wire, ok := req.Context().Value(wireKey{}).(*begun); ok && wire.sent() {
		return nil, errBroke
	}
	return nil, nil
}
