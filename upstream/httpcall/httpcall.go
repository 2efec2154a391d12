// Package httpcall makes one HTTP request for an adapter, notes how far it comes,
// and says what its failure means.
//
// It owns that a request is sent once and its answer read to a limit, the meaning
// of failed requests, of statuses and of lists of refusals that HTTP APIs share, and
// that the calls of an adapter end when it is closed. It must not know what is
// asked, of whom, with which credential, or any protocol above HTTP.
package httpcall

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Trip is how far a request has come. The zero value has not begun.
type Trip struct{ connected, sent atomic.Bool }

// Connected reports whether there was a connection for it.
func (t *Trip) Connected() bool { return t.connected.Load() }

// Sent reports whether the server may have seen the request. Of a request that
// is still under way false may be out of date at once.
func (t *Trip) Sent() bool { return t.sent.Load() }

// Watch returns a context whose request tells t how far it comes.
func (t *Trip) Watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { t.connected.Store(true) },
		WroteHeaders: func() { t.sent.Store(true) },
	})
}

// maxCut is how often a request that another's cancellation has hit is sent anew.
const maxCut = 3

// Do sends the request that build makes with the context that it is given. The
// error is the client's own, see [Failure].
//
// A connection may be handed on at the moment at which the request before on it
// is cancelled; net/http then fails the new request with that cancellation. If it
// was not sent, it is made anew and sent on another one.
func (t *Trip) Do(ctx context.Context, hc *http.Client, build func(context.Context) (*http.Request, error)) (*http.Response, error) {
	watched := t.Watch(ctx)
	for again := 0; ; again++ {
		req, err := build(watched)
		if err != nil {
			return nil, err
		}
		resp, err := hc.Do(req)
		if err == nil || again == maxCut || t.Sent() || ctx.Err() != nil || !errors.Is(err, context.Canceled) {
			return resp, err
		}
		hc.CloseIdleConnections() // many calls may have been cancelled at once
	}
}

// Failure is the failure of a request that got no response although its context
// has not ended. The address is left out of it: it may carry a key.
func Failure(err error, sent bool) *upstream.Error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if e := credentialFailure(err); e != nil {
		return e
	}
	if sent {
		return unavailable(true, "the connection broke before the answer came", err)
	}
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var host x509.HostnameError
	switch {
	case errors.Is(err, context.Canceled): // another request's, see [Trip.Do]: it says nothing about the server
		return unavailable(false, "its connection was cut off", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return unavailable(false, "it refuses connections; it may not be running", err)
	case errors.As(err, &dns):
		return unavailable(false, "its host name cannot be resolved", err)
	case errors.As(err, &cert), errors.As(err, &host):
		return unavailable(false, "its certificate is not accepted", err)
	}
	return unavailable(false, "it cannot be reached", err)
}

func unavailable(sent bool, public string, err error) *upstream.Error {
	return &upstream.Error{Kind: upstream.Unavailable, Sent: sent, Public: public, Err: err}
}

// ErrTooLong is the cause of a failure by an answer longer than its limit.
var ErrTooLong = errors.New("the answer is too long")

// Broken is the failure of an answer that could not be read to its end: it is
// longer than limit (err is [ErrTooLong]), which is no outage: whoever asks for less
// is answered; or its connection broke.
func Broken(err error, limit int64) *upstream.Error {
	if errors.Is(err, ErrTooLong) {
		return &upstream.Error{Kind: upstream.UpstreamError, Sent: true, Public: fmt.Sprintf("answered with more than %d bytes", limit), Err: upstream.Caused(err, upstream.ErrNoOutage)}
	}
	return unavailable(true, "the connection broke before the answer was complete", err)
}

// ReadAll reads a body of at most limit bytes. The error is that of [Broken].
func ReadAll(resp *http.Response, limit int64) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, Broken(ErrTooLong, limit)
	}
	body, err := readAll(io.LimitReader(resp.Body, limit+1), resp.ContentLength)
	switch {
	case int64(len(body)) > limit:
		return nil, Broken(ErrTooLong, limit)
	case err != nil:
		return nil, Broken(err, limit)
	}
	return body, nil
}

// readAll reads to the end, in one go where the length that is promised is right.
func readAll(r io.Reader, length int64) ([]byte, error) {
	if length <= 0 {
		return readUnknown(r)
	}
	body := make([]byte, 0, min(length, 4<<20)+1) // no more on a mere promise
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF: //nolint:errorlint // a reader's own says that this is the end, one that is wrapped does not
			return body, nil
		case err != nil:
			return body, err
		case len(body) == cap(body): // most of a long one, once a good part has come
			body = slices.Grow(body, int(min(max(length-int64(len(body)), 0), 3*int64(len(body))))+1)
		}
	}
}

// pages are where bodies begin whose length is not known, as a page of records has
// none: nearly all fit in one, and what is read is copied out of it once.
var pages = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func readUnknown(r io.Reader) ([]byte, error) {
	p, _ := pages.Get().(*[32 << 10]byte)
	defer pages.Put(p)
	for n := 0; n < len(p); {
		more, err := r.Read(p[n:])
		switch n += more; {
		case err == io.EOF: //nolint:errorlint // as above
			return bytes.Clone(p[:n]), nil
		case err != nil:
			return bytes.Clone(p[:n]), err
		}
	}
	return io.ReadAll(io.MultiReader(bytes.NewReader(p[:]), r))
}
