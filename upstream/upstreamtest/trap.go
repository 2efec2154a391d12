package upstreamtest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Limit is how many bytes an answer may have in the tests of [Oversize].
const Limit = 64 << 10

// Trap stands between an adapter that asks over HTTP and its upstream, and makes
// the upstream misbehave. It is safe for concurrent use.
type Trap struct {
	spring  atomic.Pointer[http.HandlerFunc] // answers calls of Refuse; nil leaves them alone
	good    atomic.Int64                     // the number of the token that is taken
	token   atomic.Int64                     // of the one that the client has
	renewed atomic.Int64                     // how often it got another
	let     atomic.Int64                     // calls of Echo that were let through
	refused atomic.Int64                     // and that were not, for their token
}

// Before puts the trap before an upstream. tool says which of the tools a request
// calls; "" if it is no call.
func (p *Trap) Before(h http.Handler, tool func(r *http.Request, body []byte) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil { // the adapter has gone
			return
		}
		name := tool(r, body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.Header.Get("Authorization") != "Bearer "+strconv.FormatInt(p.good.Load(), 10) {
			if name == Echo {
				p.refused.Add(1)
			}
			http.Error(w, "another token is needed", http.StatusUnauthorized)
			return
		}
		if name == Echo {
			p.let.Add(1)
		}
		if spring := p.spring.Load(); spring != nil && name == Refuse {
			(*spring)(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Client is what whoever signs in hands to an adapter: it puts a token into each
// request, and after a 401 another one into the same request, once.
func (p *Trap) Client(base http.RoundTripper) *http.Client {
	return &http.Client{Transport: renewing{base, p}}
}

type renewing struct {
	base http.RoundTripper
	trap *Trap
}

func (c renewing) send(r *http.Request, token int64) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+strconv.FormatInt(token, 10))
	return c.base.RoundTrip(r)
}

func (c renewing) RoundTrip(r *http.Request) (*http.Response, error) {
	token := c.trap.token.Load()
	resp, err := c.send(r, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		return resp, err
	}
	if c.trap.token.CompareAndSwap(token, token+1) { // or somebody else has got another
		c.trap.renewed.Add(1)
	}
	again := r.Clone(r.Context())
	if r.GetBody != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // then it stays refused
		}
	}
	_ = resp.Body.Close()
	return c.send(again, c.trap.token.Load())
}

// CloseIdleConnections reaches the connections below.
func (c renewing) CloseIdleConnections() {
	if i, ok := c.base.(interface{ CloseIdleConnections() }); ok {
		i.CloseIdleConnections()
	}
}

// testOversize: an answer that is too long is refused, or cut to what fits, and
// costs its call only.
func testOversize(t *testing.T, s *session, p *Trap) {
	long := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"x":"`+strings.Repeat("x", 4*Limit)+`"}`) // it may not be read to its end
	})
	p.spring.Store(&long)
	within(t, "a call whose answer is too long", func() {
		r, err := s.call(t.Context(), Refuse, `{}`)
		switch {
		case err != nil:
			if e := kinds(t, err, upstream.UpstreamError); !e.Sent || !strings.Contains(e.Public, "bytes") {
				t.Errorf("the failure has Sent %v and says %q, want that an answer came and how long it may be", e.Sent, e.Public)
			}
		case len(r.Raw) > 4*Limit: // the text and the structured content, escaped
			t.Errorf("an answer of %d bytes was given on, with a limit of %d", len(r.Raw), Limit)
		case len(r.Raw) < Limit/2:
			t.Errorf("the answer was not too long: %.200s", r.Raw)
		}
	})
	s.works(t)
}

// testRedirect: nothing is sent to another origin, and no address is told.
func testRedirect(t *testing.T, s *session, p *Trap) {
	var strayed atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Add(1) }))
	defer elsewhere.Close()
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		away := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL+"/take", status) })
		p.spring.Store(&away)
		_, err := s.call(t.Context(), Refuse, `{}`)
		e := kinds(t, err, upstream.UpstreamError, upstream.Denied)
		if strings.Contains(e.Public, strings.TrimPrefix(elsewhere.URL, "http://")) {
			t.Errorf("%d: the model reads the address: %q", status, e.Public)
		}
		if strayed.Load() != 0 {
			t.Errorf("%d was followed to another origin", status)
		}
	}
	s.works(t)
}

// testRenewal: a call that is refused for its token is made once more with the next
// one, and not a third time.
func testRenewal(t *testing.T, s *session, p *Trap) {
	before := p.let.Load()
	p.good.Store(1)
	s.works(t)
	if let, refused, renewed := p.let.Load()-before, p.refused.Load(), p.renewed.Load(); let != 1 || refused > 1 || renewed != 1 {
		t.Errorf("with a token that had ended it was made %d times and refused %d times, and %d tokens were got; want it made once, with one", let, refused, renewed)
	}
	before, refused := p.let.Load(), p.refused.Load()
	p.good.Store(-1) // no token is any good
	_, err := s.call(t.Context(), Echo, `{"text":"x"}`)
	if e := kinds(t, err, upstream.NeedsLogin); e.Sent {
		t.Error("Sent is true for a call that was refused for its token")
	}
	if n := p.refused.Load() - refused; n > 2 || p.let.Load() != before {
		t.Errorf("without a good token it was sent %d times, want twice at most", n)
	}
}
