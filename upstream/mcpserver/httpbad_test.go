package mcpserver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

type handler = func(w http.ResponseWriter, r *http.Request, m *fakeMsg) bool

func sse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
}

func TestStreamInPieces(t *testing.T) {
	a := startHTTP(t, &legacy{onCall: func(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
		sse(w)
		stream := ": comment\r\n\r\nid: 1\r\ndata:\r\n\r\n" +
			"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\r\n\r\n" +
			"data: not json\n\n" +
			fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"ping\"}\n\n", m.ID) +
			"data: {\"jsonrpc\":\"2.0\",\"id\":4711,\"result\":{}}\n\n" +
			fmt.Sprintf("event: message\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":%s,\ndata: \"result\":%s}\n\n", m.ID, textResult("pieces"))
		for _, b := range []byte(stream) {
			_, _ = w.Write([]byte{b})
			w.(http.Flusher).Flush()
		}
		return true
	}})
	wantText(t, a, "x", "pieces")
}

func TestStreamThatStaysOpenAfterItsAnswer(t *testing.T) {
	a := startHTTP(t, &legacy{onCall: func(w http.ResponseWriter, r *http.Request, m *fakeMsg) bool {
		sse(w)
		fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n\n", m.ID, textResult("now"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}})
	wantText(t, a, "x", "now")
}

func TestBrokenStreamIsTakenUpAgain(t *testing.T) {
	var id atomic.Value
	a := startHTTP(t, &legacy{
		onCall: func(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
			id.Store(string(m.ID))
			sse(w)
			fmt.Fprint(w, "id: e1\nretry: 10\ndata:\n\n")
			return true // the stream ends without the answer
		},
		onGet: func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Last-Event-ID") != "e1" {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			sse(w)
			fmt.Fprintf(w, "id: e2\ndata: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n\n", id.Load(), textResult("resumed"))
		},
	})
	wantText(t, a, "x", "resumed")
}

func TestStreamThatNeverGoesOn(t *testing.T) {
	l := &legacy{}
	l.onCall = func(w http.ResponseWriter, _ *http.Request, _ *fakeMsg) bool {
		sse(w)
		fmt.Fprint(w, "id: e1\nretry: 1\ndata:\n\n")
		return true
	}
	l.onGet = func(w http.ResponseWriter, _ *http.Request) { sse(w) }
	a := startHTTP(t, l)
	_, err := call(t.Context(), a, "echo", `{}`)
	wantKind(t, err, upstream.Unavailable, true)
	if n := l.calls.Load(); n != 1 {
		t.Errorf("the call was sent %d times, want once", n)
	}
}

func TestBadResponses(t *testing.T) {
	status := func(code int, header ...string) handler {
		return func(w http.ResponseWriter, _ *http.Request, _ *fakeMsg) bool {
			for pair := range slices.Chunk(header, 2) {
				w.Header().Set(pair[0], pair[1])
			}
			http.Error(w, "http://internal.example/secret", code)
			return true
		}
	}
	body := func(typ, b string) handler {
		return func(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
			w.Header().Set("Content-Type", typ)
			fmt.Fprint(w, strings.ReplaceAll(b, "ID", string(m.ID)))
			return true
		}
	}
	answers := func(code int, b string) handler {
		return func(w http.ResponseWriter, _ *http.Request, _ *fakeMsg) bool {
			w.WriteHeader(code)
			fmt.Fprint(w, b)
			return true
		}
	}
	cut := func(w http.ResponseWriter, _ *http.Request, _ *fakeMsg) bool {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"jsonrpc"`)
		return true
	}
	rejects := func(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"session_id is missing"}}`, m.ID)
		return true
	}
	for name, c := range map[string]struct {
		h    handler
		kind upstream.Kind
		sent bool
		wait time.Duration
	}{
		"401":                     {status(401), upstream.NeedsLogin, false, 0},
		"403":                     {status(403), upstream.Denied, false, 0},
		"429":                     {status(429, "Retry-After", "7"), upstream.RateLimited, false, 7 * time.Second},
		"429, a hostile wait":     {status(429, "Retry-After", "1000000000"), upstream.RateLimited, false, 15 * time.Minute},
		"429, a negative wait":    {status(429, "Retry-After", "-7"), upstream.RateLimited, false, 0},
		"429, a vendor's field":   {status(429, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "9"), upstream.RateLimited, false, 9 * time.Second},
		"403, used up":            {status(403, "RateLimit", `"hour";r=0;t=5`), upstream.RateLimited, false, 5 * time.Second},
		"403, enough left":        {status(403, "RateLimit", `"hour";r=3;t=5`), upstream.Denied, false, 0},
		"500":                     {status(500), upstream.UpstreamError, true, 0},
		"503":                     {status(503), upstream.Unavailable, true, 0},
		"503, a wait":             {status(503, "Retry-After", "3"), upstream.RateLimited, true, 3 * time.Second},
		"529":                     {status(529), upstream.RateLimited, true, 0},
		"a wait in 2099":          {status(429, "Retry-After", "Thu, 01 Jan 2099 00:00:00 GMT"), upstream.RateLimited, false, 15 * time.Minute},
		"400, rate limited":       {answers(400, `{"errors":[{"extensions":{"code":"RATELIMITED"}}]}`), upstream.RateLimited, false, 0},
		"403, secondary":          {answers(403, `{"message":"You have exceeded a secondary rate limit"}`), upstream.RateLimited, false, 0},
		"rpc 429":                 {body("application/json", `{"id":ID,"error":{"code":429,"message":"m","data":{"retryAfter":4}}}`), upstream.RateLimited, true, 4 * time.Second},
		"400, rpc rate limited":   {answers(400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32029,"message":"m"}}`), upstream.RateLimited, true, 0},
		"redirect":                {status(307, "Location", "http://127.0.0.1:1/"), upstream.UpstreamError, false, 0},
		"web page":                {body("text/html", "<html>"), upstream.UpstreamError, true, 0},
		"empty":                   {body("application/json", ""), upstream.UpstreamError, true, 0},
		"garbage":                 {body("application/json", `{"id":ID,"result":{]}`), upstream.UpstreamError, true, 0},
		"other id":                {body("application/json", `{"id":999,"result":{}}`), upstream.UpstreamError, true, 0},
		"result no object":        {body("application/json", `{"id":ID,"result":[1]}`), upstream.UpstreamError, true, 0},
		"neither":                 {body("application/json", `{"id":ID}`), upstream.UpstreamError, true, 0},
		"rpc error":               {body("application/json", `{"id":ID,"error":{"code":-32602,"message":"m"}}`), upstream.InvalidArguments, true, 0},
		"argument called session": {rejects, upstream.InvalidArguments, true, 0},
		"stream cut":              {body("text/event-stream", "data: {\"id\":ID"), upstream.Unavailable, true, 0},
		"body cut":                {cut, upstream.Unavailable, true, 0},
		"too large":               {body("application/json", `{"id":ID,"result":"`+strings.Repeat("x", 2<<20)+`"}`), upstream.UpstreamError, true, 0},
		"event too large":         {body("text/event-stream", "data: "+strings.Repeat("x", 2<<20)), upstream.UpstreamError, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := quickly()
			o.MaxMessage = 1 << 20
			a := newHTTP(t, serve(t, &legacy{onCall: c.h}).URL, o)
			watch(t, a)
			_, err := call(t.Context(), a, "echo", `{}`)
			e := wantKind(t, err, c.kind, c.sent)
			if e.RetryAfter != c.wait {
				t.Errorf("RetryAfter is %v, want %v", e.RetryAfter, c.wait)
			}
			if strings.Contains(e.Public, "internal.example") || strings.Contains(e.Public, "127.0.0.1") {
				t.Errorf("the model reads an address: %q", e.Public)
			}
			if _, err := a.Tools(t.Context()); err != nil {
				t.Errorf("the list after it: %v", err)
			}
		})
	}
}

func TestHangingHeaders(t *testing.T) {
	l := &legacy{onCall: func(_ http.ResponseWriter, r *http.Request, _ *fakeMsg) bool {
		<-r.Context().Done()
		return true
	}}
	a := startHTTP(t, l)
	if _, err := a.Tools(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := call(ctx, a, "echo", `{}`)
	wantKind(t, err, upstream.Timeout, true)
	for limit := time.Now().Add(hanging); l.cancels.Load() != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the server was not told")
		}
	}
}

func TestMissingStreamIsAskedForOnce(t *testing.T) {
	t.Parallel()
	l := &legacy{}
	a := startHTTP(t, l)
	wantText(t, a, "hi", "hi")
	eventually(t, "the stream is asked for", func() bool { return l.gets.Load() > 0 })
	time.Sleep(300 * time.Millisecond)
	if n := l.gets.Load(); n != 1 {
		t.Errorf("%d GET requests, want 1", n)
	}
}

func TestRefusedAndBack(t *testing.T) {
	t.Parallel()
	l := &legacy{}
	s := httptest.NewServer(l)
	addr := s.Listener.Addr().String()
	a := newHTTP(t, s.URL, quickly())
	changes := watch(t, a)
	wantText(t, a, "hi", "hi")
	s.CloseClientConnections()
	s.Close()

	// The first calls may still find old connections and lose them half-way.
	_, err := call(t.Context(), a, "echo", `{}`)
	for range 5 {
		if e, ok := errors.AsType[*upstream.Error](err); !ok || !e.Sent {
			break
		}
		_, err = call(t.Context(), a, "echo", `{}`)
	}
	wantKind(t, err, upstream.Unavailable, false)
	if h := a.Health(); h.State != upstream.Down || !strings.Contains(h.Err, "refuses connections") {
		t.Errorf("health is %+v", h)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip("the port is taken: ", err)
	}
	s2 := &httptest.Server{Listener: ln, Config: &http.Server{Handler: l}}
	s2.Start()
	defer s2.Close()
	defer s2.CloseClientConnections()
	for limit := time.Now().Add(hanging); changes.Load() < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("it did not notice that the server is back")
		}
	}
	wantText(t, a, "hi", "hi")
	_ = a.Close()
}

// roundTripper is a server in memory, for tests about time.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []time.Time
		rt := roundTripper(func(*http.Request) (*http.Response, error) {
			attempts = append(attempts, time.Now())
			return nil, errors.New("no route")
		})
		a := mcpserver.NewHTTP(mcpserver.Options{ID: "fake"}, "http://crm.invalid/", &http.Client{Transport: rt})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- a.Watch(ctx, upstream.Events{Changed: func(upstream.List) { t.Error("changed without a connection") }})
		}()
		time.Sleep(10 * time.Minute)
		cancel()
		<-done
		if n := len(attempts); n < 20 || n > 50 {
			t.Errorf("%d attempts in ten minutes", n)
		}
		low, high := 500*time.Millisecond, time.Second
		for i := 1; i < len(attempts); i++ {
			if gap := attempts[i].Sub(attempts[i-1]); gap < low || gap > high {
				t.Errorf("gap %d is %v, want %v to %v", i, gap, low, high)
			}
			low, high = min(2*low, 15*time.Second), min(2*high, 30*time.Second)
		}
		_ = a.Close()
	})
}

func TestHangingConnectHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		a := mcpserver.NewHTTP(mcpserver.Options{ID: "fake", ConnectTimeout: 5 * time.Second}, "http://crm.invalid/", &http.Client{Transport: rt})
		go func() { _ = a.Watch(t.Context(), upstream.Events{}) }()
		began := time.Now()
		_, err := call(t.Context(), a, "echo", `{}`)
		wantKind(t, err, upstream.Unavailable, false)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the first call took %v, want the connect timeout", took)
		}
		time.Sleep(10 * time.Second) // well into the next attempts
		began = time.Now()
		_, err = call(t.Context(), a, "echo", `{}`)
		wantKind(t, err, upstream.Unavailable, false)
		if took := time.Since(began); took > time.Second {
			t.Errorf("a call while it is down took %v", took)
		}
		_ = a.Close()
	})
}
