package httpcall

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
)

// Answer is a response that was read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte

	credential refusable // nil if it is always the same
}

// Send makes the request that build makes and reads its answer, whatever its
// status, of at most limit bytes. The error is an *[upstream.Error] whose Sent is
// exact.
func Send(ctx context.Context, hc *http.Client, limit int64, build func(context.Context) (*http.Request, error)) (*Answer, error) {
	if ctx.Err() != nil {
		return nil, Ended(ctx, false)
	}
	var t Trip
	resp, err := t.Do(ctx, hc, build)
	if err != nil {
		if ctx.Err() != nil {
			return nil, Ended(ctx, t.Sent())
		}
		return nil, Failure(err, t.Sent())
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	body, err := ReadAll(resp, limit)
	if err != nil {
		if ctx.Err() != nil {
			return nil, Ended(ctx, true)
		}
		return nil, err
	}
	credential, _ := resp.Body.(refusable)
	return &Answer{resp.StatusCode, resp.Header, body, credential}, nil
}

// Ended is the failure of a request whose context has ended: its caller gave up,
// its time was over, or its adapter was closed.
func Ended(ctx context.Context, sent bool) *upstream.Error {
	cause := context.Cause(ctx)
	e := &upstream.Error{Kind: upstream.Cancelled, Sent: sent, Err: cause}
	switch {
	case errors.Is(cause, ErrClosed):
		e.Kind, e.Public = upstream.Unavailable, "it has been closed"
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded):
		e.Kind, e.Public = upstream.Timeout, "no answer in time"
	}
	return e
}

// Quota returns what an answer says is left of a quota; nil if it does not.
func Quota(h http.Header) *upstream.Quota {
	l, ok := limits.Left(h, time.Now())
	if !ok {
		return nil
	}
	return &upstream.Quota{Remaining: l.Remaining, Reset: l.Reset}
}

// Refused is the failure that a status above 299 means by itself (RFC 9110,
// section 15), where the API's own code does not say more. Its Public says the
// status only: what the body says is the adapter's to add.
func Refused(status int, h http.Header, body []byte) *upstream.Error {
	said, tooMuch := limits.Refused(status, h, body, nil, time.Now())
	e := &upstream.Error{Kind: upstream.UpstreamError, Sent: true, RetryAfter: said.RetryAfter, Public: fmt.Sprintf("answered HTTP %d", status)}
	refused := func(k upstream.Kind, public string) { e.Kind, e.Sent, e.Public = k, false, public }
	switch {
	case tooMuch:
		refused(upstream.RateLimited, "it asks to wait")
		e.Sent = status >= 500 // a gateway may say so halfway
	case status == http.StatusUnauthorized:
		refused(upstream.NeedsLogin, "it asks for a login")
	case status == http.StatusForbidden:
		refused(upstream.Denied, "it refuses access")
	case status == http.StatusNotFound, status == http.StatusGone:
		refused(upstream.NotFound, "there is no such thing")
	case status == http.StatusBadRequest, status == http.StatusLengthRequired, status == http.StatusPreconditionFailed,
		status == http.StatusRequestEntityTooLarge, status == http.StatusUnsupportedMediaType, status == http.StatusUnprocessableEntity:
		refused(upstream.InvalidArguments, fmt.Sprintf("it refuses the request (HTTP %d)", status))
	case status == http.StatusConflict:
		refused(upstream.InvalidArguments, "it conflicts with what is there (HTTP 409)")
	case status/100 == 3:
		refused(upstream.UpstreamError, "it redirects to another address, which is not followed")
	case status == http.StatusRequestTimeout, status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		e.Kind, e.Public = upstream.Unavailable, fmt.Sprintf("it is not available at the moment (HTTP %d)", status)
	}
	return e
}
