package mcpserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	accept     = "application/json, text/event-stream"
	tailWait   = 2 * time.Millisecond // for the end of a stream after its answer
	deleteTime = 2 * time.Second

	defaultRetry = time.Second      // before a broken stream is taken up again
	maxRetry     = 30 * time.Second // the longest wait that a server may ask for
	maxResumes   = 10               // in a row without any event
)

// httpLink speaks Streamable HTTP: one POST per request (MCP 2025-11-25 and
// 2026-07-28, transports). It keeps no session; that is in the peer.
type httpLink struct {
	a        *Adapter
	endpoint string
	hc       *http.Client
	life     context.Context // ends with the Watch that dialled; cuts calls off
	nextID   atomic.Int64
	doubt    chan struct{} // a request was lost, or ended before it was connected; capacity 1 coalesces
	calls    *desk
}

// httpClient returns a copy of hc as this package needs it, see [NewHTTP].
func httpClient(hc *http.Client) *http.Client {
	c := *hc
	c.Timeout = 0
	if c.CheckRedirect == nil {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return &c
}

// done never fires: an endpoint is not lost as such, requests to it fail.
func (l *httpLink) done() <-chan struct{} { return nil }

func (l *httpLink) desk() *desk { return l.calls }

func (l *httpLink) do(ctx context.Context, p *peer, r request) (answer, error) {
	if ctx.Err() != nil {
		return answer{}, ended(ctx, false)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.life, func() { cancel(errStopped) })() //nolint:contextcheck // two lives end a request: the call's and the link's

	id := l.nextID.Add(1)
	if r.started != nil {
		r.started(id)
	}
	var t httpcall.Trip
	resp, err := l.post(ctx, p, r, encode(id, r.method, r.params), &t)
	if err == nil {
		defer resp.Body.Close()
		var ans answer
		if ans, err = l.read(ctx, p, id, resp, r.from, func() { cancel(errStopped) }); err == nil {
			ans.session = resp.Header.Get(mcp.HeaderSessionID)
			ans.quota = httpcall.Quota(resp.Header)
			return ans, nil
		}
	}
	if ctx.Err() == nil {
		if e := upstream.AsError("", "", err); e.Kind == upstream.Unavailable && e.Sent {
			l.suspect(p) // it broke off: perhaps for good
		}
		return answer{}, err
	}
	return answer{}, l.abandon(ctx, p, r.method, id, &t)
}

// suspect has somebody look whether the server is still there; a handshake is
// such a look itself.
func (l *httpLink) suspect(p *peer) {
	if !p.ready {
		return
	}
	select {
	case l.doubt <- struct{}{}:
	default:
	}
}

// abandon is the failure of a request that ended with its context. It tells the
// server so, if that may have seen the request.
func (l *httpLink) abandon(ctx context.Context, p *peer, method string, id int64, t *httpcall.Trip) *upstream.Error {
	if !t.Connected() {
		l.suspect(p)
	}
	// In the modern era the closed stream is the cancellation; before it, it
	// means nothing (MCP 2025-11-25, transports, §Sending Messages).
	if t.Sent() && !p.modern && method != methodInitialize {
		l.a.post.add(func(ctx context.Context) { _ = l.notify(ctx, p, methodCancelled, cancelledParams(id)) })
	}
	return ended(ctx, t.Sent())
}

// post sends one message and notes how far it comes.
func (l *httpLink) post(ctx context.Context, p *peer, r request, body []byte, t *httpcall.Trip) (*http.Response, error) {
	resp, err := t.Do(ctx, l.client(r.from.call), func(ctx context.Context) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.endpoint, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		l.headers(req.Header, p)
		req.Header["Content-Type"] = []string{"application/json"}
		req.Header["Accept"] = []string{accept}
		if p.modern {
			modernHeaders(req.Header, r)
		}
		return req, nil
	})
	if err != nil {
		return nil, transportFailure(err, t.Sent())
	}
	return resp, nil
}

// client returns the client for a call; nil is a request of ours.
func (l *httpLink) client(call *upstream.Call) *http.Client {
	if choose := l.a.opt.ClientFor; choose != nil && call != nil {
		if hc := choose(call); hc != nil {
			return hc
		}
	}
	return l.hc
}

func (l *httpLink) headers(h http.Header, p *peer) {
	if p.version != "" {
		h[mcp.HeaderProtocolVersion] = []string{p.version}
	}
	if p.session != "" {
		h[mcp.HeaderSessionID] = []string{p.session}
	}
}

// modernHeaders mirrors the body where intermediaries look (MCP 2026-07-28,
// Streamable HTTP, §Request Metadata).
func modernHeaders(h http.Header, r request) {
	h[mcp.HeaderMethod] = []string{r.method}
	if r.name == "" {
		return
	}
	if name, ok := mcp.EncodeHeaderValue(r.name); ok {
		h[mcp.HeaderName] = []string{name}
	}
	if t := headerTool(r.tool); t != nil {
		for name, value := range mcp.GenerateParamHeaders(t, r.params) {
			h.Set(name, value)
		}
	}
}

// read takes the answer to request id, which carries out from, from a response.
func (l *httpLink) read(ctx context.Context, p *peer, id int64, resp *http.Response, from visit, cut func()) (answer, error) {
	if resp.StatusCode/100 != 2 {
		return refused(p, resp)
	}
	typ := resp.Header.Get("Content-Type")
	if typ != "application/json" { // as it nearly always is
		typ, _, _ = mime.ParseMediaType(typ)
	}
	if typ == "text/event-stream" {
		return l.stream(ctx, p, id, resp.Body, from, cut)
	}
	body, err := httpcall.ReadAll(resp, l.a.opt.MaxMessage)
	switch {
	case err != nil:
		return answer{}, err
	case rawjson.Kind(body) != '{':
		return answer{}, failure(upstream.UpstreamError, true, "answered without a message",
			fmt.Errorf("HTTP %d, content type %.60q, %d bytes", resp.StatusCode, typ, len(body)))
	}
	e := scan(body)
	// A null id is what a server sends that could not read ours; over HTTP it
	// is clear all the same which request is meant.
	if got, ok := parseID(e.id); e.hasMethod || (ok && got != id) || (!ok && !rawjson.IsNull(e.id)) {
		return answer{}, failure(upstream.UpstreamError, true, "answered another request than the one that was sent",
			fmt.Errorf("id %.40s instead of %d", e.id, id))
	}
	return parseAnswer(body)
}

// stream reads events until the answer to request id comes. A legacy stream
// that ends early is taken up again where the server offers that. cut ends the
// request.
func (l *httpLink) stream(ctx context.Context, p *peer, id int64, body io.Reader, from visit, cut func()) (answer, error) {
	events := newSSEReader(body, l.a.opt.MaxMessage)
	more := io.NopCloser(nil)
	defer func() { _ = more.Close() }()
	for idle := 0; ; {
		data, err := events.next()
		if err != nil {
			if idle++; idle > maxResumes {
				return answer{}, httpcall.Broken(err, l.a.opt.MaxMessage)
			}
			next := l.resume(ctx, p, events, err)
			if next == nil {
				return answer{}, httpcall.Broken(err, l.a.opt.MaxMessage)
			}
			_ = more.Close()
			more = next
			events.goOn(more)
			continue
		}
		idle = 0
		e := scan(data)
		switch got, ok := parseID(e.id); {
		case e.hasMethod:
			l.heard(p, e, data, from)
		case ok && got == id:
			// Its connection can be used again once the stream has ended,
			// which it normally does at once.
			t := time.AfterFunc(tailWait, cut)
			_, _ = io.CopyN(io.Discard, events.lines.br, 4<<10)
			t.Stop()
			return parseAnswer(data)
		default:
			l.a.opt.Log.Debug("answer without a call dropped", "upstream", l.a.opt.ID)
		}
	}
}

// resume opens a stream that goes on after the last event of one that has
// ended (MCP 2025-11-25, transports, §Resumability and Redelivery); nil where
// that is not possible. The request itself is never sent again.
func (l *httpLink) resume(ctx context.Context, p *peer, s *sseReader, why error) io.ReadCloser {
	if p.modern || s.lastID == "" || errors.Is(why, httpcall.ErrTooLong) {
		return nil
	}
	wait := defaultRetry
	if s.retry > 0 {
		wait = min(s.retry, maxRetry)
	}
	if !pause(ctx, wait) {
		return nil
	}
	body, err := l.open(ctx, p, s.lastID)
	if err != nil {
		l.a.opt.Log.Debug("a stream could not be taken up again", "upstream", l.a.opt.ID, "error", err)
		return nil
	}
	return body
}

// heard takes a notification or a request of the server. from is the call on
// whose stream it came, if it was one.
func (l *httpLink) heard(p *peer, e envelope, msg []byte, from visit) {
	switch {
	case e.id != nil && p.modern: // there are no such requests
	case e.id != nil:
		l.calls.request(e, msg, from, l.outlet(p))
	case p.modern && from.call == nil && e.method == methodMessage: // nor messages of no call
	case !l.calls.notification(e.method, msg, from):
		l.a.notified(e.method, msg)
	}
}

// outlet is how answers get to the server; they have no answers of their own.
func (l *httpLink) outlet(p *peer) outlet {
	send := func(ctx context.Context, msg []byte) error { return l.send(ctx, p, request{}, msg, new(httpcall.Trip)) }
	return outlet{
		post: func(msg []byte) { l.a.post.add(func(ctx context.Context) { _ = send(ctx, msg) }) },
		send: send,
	}
}

func (l *httpLink) notify(ctx context.Context, p *peer, method string, params []byte) error {
	return l.send(ctx, p, request{method: method}, encodeNotification(method, params), new(httpcall.Trip))
}

// send posts a message that has no answer in the response, and notes how far it
// comes.
func (l *httpLink) send(ctx context.Context, p *peer, r request, msg []byte, t *httpcall.Trip) error {
	resp, err := l.post(ctx, p, r, msg, t)
	if err != nil {
		if ctx.Err() != nil {
			return ended(ctx, t.Sent())
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		ans, err := refused(p, resp)
		if ans.rpc != nil {
			return rpcFailure(ans.rpc)
		}
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	return nil
}

// close tells the server that the session is over.
func (l *httpLink) close(ctx context.Context, p *peer) {
	defer l.hc.CloseIdleConnections()
	l.calls.close()
	if p == nil || p.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, l.endpoint, nil)
	if err != nil {
		return
	}
	l.headers(req.Header, p)
	if resp, err := l.hc.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}
