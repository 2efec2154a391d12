package httpcall_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

func get(url string) func(context.Context) (*http.Request, error) {
	return func(ctx context.Context) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	}
}

func client(t *testing.T) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// wantError fails unless err is an error of this kind, and returns it.
func wantError(t *testing.T, err error, kind upstream.Kind, sent bool) *upstream.Error {
	t.Helper()
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok || e.Kind != kind || e.Sent != sent {
		t.Fatalf("the error is %#v, want %s, sent %v", err, kind, sent)
	}
	return e
}

func TestSend(t *testing.T) {
	hold := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			_, _ = io.WriteString(w, strings.Repeat("x", 101))
		case "/promise":
			w.Header().Set("Content-Length", "1000000000000")
			w.WriteHeader(http.StatusOK)
		case "/cut":
			w.Header().Set("Content-Length", "50")
			_, _ = io.WriteString(w, "half")
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/hang":
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		default:
			w.Header().Set("X-Seen", "yes")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "short")
		}
	}))
	s.Config.ErrorLog = nil
	defer s.Close()
	defer close(hold)
	hc := client(t)
	send := func(ctx context.Context, path string) (*httpcall.Answer, error) {
		return httpcall.Send(ctx, hc, 100, get(s.URL+path))
	}
	a, err := send(t.Context(), "/")
	if err != nil || a.Status != http.StatusTeapot || string(a.Body) != "short" || a.Header.Get("X-Seen") != "yes" {
		t.Errorf("%+v, %v", a, err)
	}
	for _, path := range []string{"/long", "/promise"} {
		_, err = send(t.Context(), path)
		if e := wantError(t, err, upstream.UpstreamError, true); !strings.Contains(e.Public, "100 bytes") {
			t.Errorf("%s: %q", path, e.Public)
		}
	}
	for _, path := range []string{"/cut", "/abort"} {
		_, err = send(t.Context(), path)
		wantError(t, err, upstream.Unavailable, true)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = send(ctx, "/hang")
	wantError(t, err, upstream.Timeout, true)
	_, err = send(ctx, "/")
	wantError(t, err, upstream.Timeout, false)

	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	_, err = httpcall.Send(t.Context(), hc, 100, get("http://"+gone.Addr().String()))
	if e := wantError(t, err, upstream.Unavailable, false); strings.Contains(e.Public, gone.Addr().String()) {
		t.Errorf("its address is public: %q", e.Public)
	}
}

// noToken is what a client answers whose token source has none.
type noToken struct{ person, operator bool }

func (e noToken) Error() string { return "no token" }
func (e noToken) SignIn() (person, operator bool, retry time.Duration) {
	return e.person, e.operator, time.Second
}

func TestFailureForWantOfACredential(t *testing.T) {
	for e, kind := range map[noToken]upstream.Kind{
		{person: true}: upstream.NeedsLogin, {operator: true}: upstream.NeedsLogin, {}: upstream.Unavailable,
	} {
		if got := wantError(t, httpcall.Failure(e, false), kind, false); got.RetryAfter != time.Second || !httpcall.AboutCredential(e) {
			t.Errorf("%+v: %+v", e, got)
		}
	}
	if httpcall.AboutCredential(io.EOF) {
		t.Error("a broken connection is taken for a missing credential")
	}
}

// TestForeignCancellation: a request that fails because another one was cancelled
// on the same connection is sent again, unless it was sent.
func TestForeignCancellation(t *testing.T) {
	for _, c := range []struct {
		cut, made int
		ok        bool
	}{{0, 1, true}, {3, 4, true}, {4, 4, false}} {
		made := 0
		hc := &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
			if made++; made <= c.cut {
				return nil, context.Canceled
			}
			return httptest.NewRecorder().Result(), nil
		})}
		_, err := httpcall.Send(t.Context(), hc, 100, get("http://crm.invalid/"))
		if made != c.made || c.ok != (err == nil) {
			t.Errorf("cut off %d times: made %d times, %v", c.cut, made, err)
		}
		if err != nil {
			wantError(t, err, upstream.Unavailable, false)
		}
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRefused(t *testing.T) {
	for status, want := range map[int]struct {
		kind upstream.Kind
		sent bool
	}{
		302: {upstream.UpstreamError, false}, 400: {upstream.InvalidArguments, false}, 401: {upstream.NeedsLogin, false},
		403: {upstream.Denied, false}, 404: {upstream.NotFound, false}, 409: {upstream.InvalidArguments, false},
		410: {upstream.NotFound, false}, 422: {upstream.InvalidArguments, false}, 429: {upstream.RateLimited, false},
		418: {upstream.UpstreamError, true}, 500: {upstream.UpstreamError, true}, 503: {upstream.Unavailable, true},
	} {
		wantError(t, httpcall.Refused(status, http.Header{}, nil), want.kind, want.sent)
	}
	e := httpcall.Refused(http.StatusTooManyRequests, http.Header{"Retry-After": {"7"}}, nil)
	if e.RetryAfter != 7*time.Second {
		t.Errorf("it is to be asked again after %v", e.RetryAfter)
	}
	if q := httpcall.Quota(http.Header{"Ratelimit-Remaining": {"3"}, "Ratelimit-Reset": {"9"}}); q == nil || q.Remaining != 3 || q.Reset != 9*time.Second {
		t.Errorf("%+v", q)
	}
}
