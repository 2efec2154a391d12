package egress

import (
	"context"
	"fmt"
	"io"
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
// It still takes another connection for what it has not begun to write, and for
// what a server of HTTP/2 says it has not looked at (RFC 9113, section 8.7).
type Transport struct{ *http.Transport }

// errBroke has no better cause: what broke the connection is not told.
var errBroke = fmt.Errorf("the connection broke after the request was sent: %w", io.ErrUnexpectedEOF)

// begun is whether writing a request over HTTP/1 has begun; its key in a context is
// wireKey.
type begun struct{ atomic.Bool }

type wireKey struct{}

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
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaderField: wire.wrote})
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
	if wire, ok := req.Context().Value(wireKey{}).(*begun); ok && wire.Load() {
		return nil, errBroke
	}
	return nil, nil
}
