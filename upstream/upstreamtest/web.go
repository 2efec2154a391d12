package upstreamtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Web lies between an adapter and an upstream whose tool echo is a POST with the
// text in its body: it redirects some to another origin, and refuses the credential
// of others. What an adapter asks besides is left alone.
type Web struct {
	elsewhere *httptest.Server
	strayed   atomic.Int64 // requests to it
	away      atomic.Bool  // requests are redirected to it
	held      atomic.Int64 // the number of the credential that the client has
	good      atomic.Int64 // and of the one that is good
	refused   atomic.Int64 // requests with another one
}

// NewWeb makes one that ends with the test.
func NewWeb(t *testing.T) *Web {
	w := &Web{}
	w.elsewhere = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w.strayed.Add(1) }))
	t.Cleanup(func() {
		w.elsewhere.CloseClientConnections()
		w.elsewhere.Close()
	})
	return w
}

// provoke is the text of a call that is redirected or refused.
const provoke = "provoke"

// Before returns what stands before the upstream.
func (w *Web) Before(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // nobody waits for an answer
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		switch {
		case !bytes.Contains(body, []byte(provoke)):
			h.ServeHTTP(rw, r)
		case r.Header.Get("Authorization") != bearer(w.good.Load()):
			w.refused.Add(1)
			rw.WriteHeader(http.StatusUnauthorized)
		case w.away.Load():
			http.Redirect(rw, r, w.elsewhere.URL, http.StatusTemporaryRedirect)
		default:
			h.ServeHTTP(rw, r)
		}
	})
}

// Client returns the client for an adapter, with the transport of hc. As that of a source with tokens does,
// it gets another credential where one is refused, and sends the request again,
// once, if it can be had again. It says nothing about redirects.
func (w *Web) Client(hc *http.Client) *http.Client {
	return &http.Client{Transport: &renewing{hc, w}}
}

type renewing struct {
	*http.Client // whose Transport sends, and whose idle connections can be closed
	web          *Web
}

func bearer(n int64) string { return fmt.Sprint("Bearer ", n) }

// RoundTrip implements http.RoundTripper.
func (r *renewing) RoundTrip(req *http.Request) (*http.Response, error) {
	held := r.web.held.Load()
	out := req.Clone(req.Context())
	out.Header.Set("Authorization", bearer(held))
	resp, err := r.Transport.RoundTrip(out)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || req.GetBody == nil {
		return resp, err
	}
	r.web.held.CompareAndSwap(held, held+1) // others may have been refused, too
	_ = resp.Body.Close()                   // there is nothing in it
	if out.Body, err = req.GetBody(); err != nil {
		return nil, err
	}
	out.Header.Set("Authorization", bearer(held+1))
	return r.Transport.RoundTrip(out)
}

// Flood answers with far more than anybody should read, as long as it is read.
func Flood(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	chunk := []byte(strings.Repeat("x", 1<<16))
	_, err := w.Write([]byte(`{"data":"`))
	for n := 0; n < 1<<14 && err == nil; n++ { // 1 GB
		_, err = w.Write(chunk)
	}
}

// overHTTP returns what stands before the upstream; it skips the test if nothing
// can.
func (s *session) overHTTP(t *testing.T) *Web {
	t.Helper()
	switch {
	case s.web != nil:
		return s.web
	case s.noWeb == "":
		t.Fatal("the harness has no Web and does not say why")
	}
	t.Skip(s.noWeb)
	return nil
}

func testRedirect(t *testing.T, s *session) {
	w := s.overHTTP(t)
	w.away.Store(true)
	_, err := s.call(t.Context(), Echo, `{"text":"`+provoke+`"}`)
	if e := kinds(t, err, upstream.UpstreamError); e.Sent || w.strayed.Load() != 0 {
		t.Errorf("Sent is %v of a redirect to another origin, which had %d requests", e.Sent, w.strayed.Load())
	}
	w.away.Store(false)
	s.works(t)
}

func testCredential(t *testing.T, s *session) {
	w := s.overHTTP(t)
	w.good.Add(1)
	if r, err := s.call(t.Context(), Echo, `{"text":"`+provoke+`"}`); err != nil || text(r) != provoke {
		t.Errorf("a call whose credential had to be replaced: %v, %v", r, err)
	}
	if n := w.refused.Load(); n != 1 {
		t.Errorf("%d requests were refused, want 1", n)
	}
	w.good.Add(2) // the next is none either
	_, err := s.call(t.Context(), Echo, `{"text":"`+provoke+`"}`)
	if e := kinds(t, err, upstream.NeedsLogin); e.Sent {
		t.Error("Sent is true though the credential was refused")
	}
	if n := w.refused.Load(); n != 3 {
		t.Errorf("%d requests were refused, want 3: a call may be sent twice", n)
	}
	s.works(t)
}
