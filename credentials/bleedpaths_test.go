package credentials_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// Two origins of one grant have the same credential, but what is asked of one is
// not for the other: a redirect between them is refused.
func TestRedirectBetweenOwnOrigins(t *testing.T) {
	var hits atomic.Int64
	second := serve(t, httptest.NewServer, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	first := serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, second.URL, http.StatusTemporaryRedirect)
	})
	client := grant(t, credentials.Spec{Origins: []string{first.URL, second.URL}, Attach: credentials.Bearer(credentials.NewSecret("t"))}).Client(nil)
	defer client.CloseIdleConnections()
	_, _, err := send(t, client, http.MethodPost, first.URL, strings.NewReader("body"))
	if _, ok := errors.AsType[*credentials.OriginError](err); !ok || hits.Load() != 0 {
		t.Errorf("%v, %d requests", err, hits.Load())
	}
	if status, _, err := send(t, client, http.MethodPost, second.URL, nil); err != nil || status != 200 || hits.Load() != 1 {
		t.Errorf("asked itself: %d %v", status, err)
	}
}

// listening keeps what the transport below a grant is given.
type listening struct{ got *http.Request }

func (l *listening) RoundTrip(req *http.Request) (*http.Response, error) {
	l.got = req
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

// Whatever the transport below makes of a URL or a Host: it gets nothing of the
// caller's that it could sign in with.
func TestBaseSeesNothingForeign(t *testing.T) {
	below := &listening{}
	client := grant(t, credentials.Spec{Origins: []string{"https://a.example"}, Attach: credentials.None()}).Client(below)
	req := &http.Request{Method: http.MethodGet, Host: "foreign.example", Header: http.Header{"Cookie": {"foreign"}, "aUTHORIZATION": {"foreign"}},
		URL: &url.URL{Scheme: "https", Host: "a.example", User: url.UserPassword("foreign", "foreign")}}
	if _, err := client.Transport.RoundTrip(req.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(below.got.URL, below.got.Host, below.got.Header); strings.Contains(got, "foreign") {
		t.Error(got)
	}
}

// What the browser comes back to is on 127.0.0.1 and on no other address of this
// machine.
func TestLoopbackListensOnOneAddress(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere this machine has one loopback address only")
	}
	s := newAuthServer(t, saysJSON(`{}`))
	looked := errors.New("looked")
	_, err := s.flow().Login(t.Context(), credentials.Loopback{}, func(raw string) error {
		u, _ := url.Parse(raw)
		back, _ := url.Parse(u.Query().Get("redirect_uri"))
		for addr, want := range map[string]bool{"127.0.0.1": true, "127.0.0.2": false} {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", net.JoinHostPort(addr, back.Port()))
			if (err == nil) != want {
				t.Errorf("%s: %v", addr, err)
			}
			if err == nil {
				_ = conn.Close()
			}
		}
		return looked
	})
	if !errors.Is(err, looked) {
		t.Error(err)
	}
}
