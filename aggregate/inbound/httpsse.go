package inbound

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	maxEventConns = 10_000   // open HTTP+SSE connections
	eventChunk    = 64 << 10 // bytes that a client has streamWait for
)

// eventConn is one client over HTTP+SSE (MCP 2024-11-05, transports): what it
// asks comes by POST to an address of its own, and all answers go to one event
// stream, with which the connection ends.
type eventConn struct {
	*conn
	upstream string // whose endpoint

	mu    sync.Mutex
	until time.Time // when the last of what its client has proved itself with ends; zero is never
}

// extend keeps the connection open for as long as what its client has now proved
// itself with is good: clients renew their tokens without opening it anew.
func (c *eventConn) extend(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until.IsZero() || !c.until.IsZero() && until.After(c.until) {
		c.until = until
	}
}

// left returns how long the connection may stay open; false is for ever.
func (c *eventConn) left() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(c.until), !c.until.IsZero()
}

// eventConns is the open connections by the secret in their POST address.
type eventConns struct {
	mu       sync.Mutex
	bySecret map[string]*eventConn
}

func newEventConns() *eventConns { return &eventConns{bySecret: make(map[string]*eventConn)} }

// add returns the secret of a connection; "" if there are too many.
func (t *eventConns) add(c *eventConn) string {
	secret := rand.Text() // at least 128 bits (crypto/rand)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.bySecret) >= maxEventConns {
		return ""
	}
	t.bySecret[secret] = c
	return secret
}

func (t *eventConns) remove(secret string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.bySecret, secret)
}

// find returns the connection with the given secret; nil if there is none, or
// it belongs to another endpoint or principal.
func (t *eventConns) find(secret, upstreamName string, p upstream.Principal) *eventConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.bySecret[secret]; c != nil && c.upstream == upstreamName && c.session.principal == p {
		return c
	}
	return nil
}

// events serves the stream of an HTTP+SSE connection.
func (e *httpEdge) events(w http.ResponseWriter, r *http.Request) {
	x := e.exchange(w, r)
	if x == nil || !x.isBy(http.MethodGet) || !x.takes("text/event-stream", nil) {
		return
	}
	s := &session{id: "sse-" + rand.Text()[:8], service: x.svc, principal: x.by, max: e.sessions.maxInFlight}
	c := &eventConn{conn: newConn(r.Context(), e.rpc, s, newOutbox(eventFraming), e.drain), upstream: x.name, until: x.until}
	defer c.kill(nil)
	secret := e.conns.add(c)
	if secret == "" {
		refuse(w, http.StatusServiceUnavailable, "too many connections are open")
		return
	}
	defer e.conns.remove(secret)
	startEvents(w.Header())
	c.out.fill("event: endpoint\ndata: " + strings.TrimSuffix(r.URL.EscapedPath(), "sse") + "messages?session=" + secret + "\n\n")
	c.serve(r.Context(), streams(r.Context()).Done(), &eventWriter{w: w, control: http.NewResponseController(w)})
}

// serve returns when the client has left, or after the drain time when ending
// is closed or nothing proves any more who the client is.
func (c *eventConn) serve(ctx context.Context, ending <-chan struct{}, w *eventWriter) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = c.out.write(w) // that the client left is no fault of ours
	}()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	var why error
	var expiry <-chan time.Time
	if left, ends := c.left(); ends {
		expiry = time.After(left)
	}
	for open := true; open; {
		select {
		case <-expiry:
			left, ends := c.left()
			if expiry = nil; ends {
				open, expiry = left > 0, time.After(left)
			}
		case <-ticker.C:
			c.out.fill(comment)
		case <-ending:
			open, why = false, errStopped
		case <-written:
			open = false
		case <-ctx.Done():
			c.out.fail(errClosed)
			closeStream(w)
			open = false
		}
	}
	c.finish(written, w, why)
	<-written // the response must not be used once the handler has returned
}

// messages takes a message of an HTTP+SSE client. What is wrong with the text as
// a whole is told at once, everything else on the stream.
func (e *httpEdge) messages(w http.ResponseWriter, r *http.Request) {
	x := e.exchange(w, r)
	if x == nil || !x.isBy(http.MethodPost) {
		return
	}
	c := e.conns.find(r.URL.Query().Get("session"), x.name, x.by)
	if c == nil {
		refuse(w, http.StatusNotFound, "there is no such session: open the event stream again")
		return
	}
	c.extend(x.until)
	if status, why := checkBody(r); status != 0 {
		refuse(w, status, why)
		return
	}
	body, ok := x.body(e.maxBody)
	if !ok {
		return
	}
	if fault := c.handle(body); fault != nil {
		x.fail(http.StatusBadRequest, &reply{err: fault})
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// eventWriter writes to a response whose client has to keep reading.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController

	mu     sync.Mutex
	closed bool
}

// Write sends p at once.
func (e *eventWriter) Write(p []byte) (n int, err error) {
	for len(p) > n && err == nil {
		if err = e.extend(); err != nil {
			break
		}
		var some int
		some, err = e.w.Write(p[n:min(n+eventChunk, len(p))])
		n += some
		if err == nil {
			err = e.control.Flush()
		}
	}
	return n, err
}

// extend gives the client time for the next chunk.
func (e *eventWriter) extend() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	_ = e.control.SetWriteDeadline(time.Now().Add(streamWait)) // not supported by test recorders only
	return nil
}

// Close ends a Write that is under way, and all that follow.
func (e *eventWriter) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return e.control.SetWriteDeadline(time.Now())
}
