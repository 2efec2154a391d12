package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// sseLink speaks HTTP+SSE (MCP 2024-11-05, transports, §HTTP with SSE): one
// stream brings everything the server says, first of all the address that takes
// our messages. The stream is the session; what was pending fails with it.
type sseLink struct {
	demux
	endpoint string
	posts    *httpLink // its endpoint is known once ready is closed
	cut      context.CancelFunc
	ready    chan struct{}   // the address for messages is known
	dead     chan struct{}   // the stream has ended
	why      *upstream.Error // set before dead is closed

	unconfirmed atomic.Bool // the last message was not, for as long as was waited
}

// openSSE begins to open the stream. It does not wait: the first request does,
// as long as its context lasts. Everything ends with ctx.
func openSSE(ctx context.Context, a *Adapter, endpoint string, hc *http.Client) *sseLink {
	ctx, cut := context.WithCancel(ctx)
	l := &sseLink{
		demux:    demux{opt: &a.opt, heard: a.notified, calls: newDesk(ctx, &a.opt)},
		endpoint: endpoint,
		posts:    &httpLink{a: a, hc: hc, life: ctx, doubt: make(chan struct{}, 1)},
		cut:      cut,
		ready:    make(chan struct{}),
		dead:     make(chan struct{}),
	}
	l.out = l.posts.outlet(&peer{})
	go func() {
		defer close(l.dead)
		l.why = l.read(ctx)
	}()
	return l
}

func (l *sseLink) done() <-chan struct{} { return l.dead }

// close ends the stream, and with it the session.
func (l *sseLink) close(context.Context, *peer) {
	l.calls.close()
	l.cut()
	<-l.dead
	l.posts.hc.CloseIdleConnections()
}

// confirmWait is for a server that confirms a message after it has answered it,
// which one that is busy with hundreds does late; briefWait is for one that has not
// done so in that time before.
const (
	confirmWait = 2 * time.Second
	briefWait   = 500 * time.Millisecond
)

func (l *sseLink) do(ctx context.Context, p *peer, r request) (answer, error) {
	if err := l.await(ctx); err != nil {
		return answer{}, err
	}
	id, ch := l.pending.add()
	defer l.pending.drop(id, ch)
	var t httpcall.Trip
	var wg sync.WaitGroup
	posting, stop := context.WithCancel(ctx)
	posted := make(chan error, 1)
	wg.Go(func() { posted <- l.posts.send(posting, p, r, encode(id, r.method, r.params), &t) })
	defer wg.Wait()
	defer stop()
	// Its connection can be used again once the server has confirmed it, which it
	// normally does soon. Cancelling it could hit the next request on that
	// connection, see [httpcall.Trip.Do].
	confirmed := func() {
		wait := confirmWait
		if l.unconfirmed.Load() {
			wait = briefWait
		}
		late := time.AfterFunc(wait, stop)
		wg.Wait()
		l.unconfirmed.Store(!late.Stop())
	}
	// Whether it was sent is known once the post has ended: until then it may still
	// go out.
	sent := func() bool {
		if t.Sent() {
			confirmed()
			return true
		}
		stop()
		wg.Wait()
		return t.Sent()
	}
	for {
		select {
		case in := <-ch:
			confirmed()
			return in.answer()
		case err := <-posted:
			switch {
			case ctx.Err() != nil:
				return answer{}, l.posts.abandon(ctx, p, r.method, id, &t)
			case err != nil:
				return answer{}, refusedPost(err)
			}
		case <-ctx.Done():
			sent()
			return answer{}, l.posts.abandon(ctx, p, r.method, id, &t)
		case <-l.dead:
			select {
			case in := <-ch: // its last words
				confirmed()
				return in.answer()
			default:
				return answer{}, l.gone(sent())
			}
		}
	}
}

func (l *sseLink) notify(ctx context.Context, p *peer, method string, params []byte) error {
	if err := l.await(ctx); err != nil {
		return err
	}
	return refusedPost(l.posts.notify(ctx, p, method, params))
}

// await waits until it is known where messages go.
func (l *sseLink) await(ctx context.Context) error {
	if ctx.Err() != nil {
		return ended(ctx, false)
	}
	if isDone(l) {
		return l.gone(false)
	}
	select {
	case <-l.ready:
		return nil
	case <-ctx.Done():
		return ended(ctx, false)
	case <-l.dead:
		return l.gone(false)
	}
}

// gone is the failure of a request on a stream that has ended.
func (l *sseLink) gone(sent bool) *upstream.Error {
	e := *l.why
	e.Sent = sent
	select {
	case <-l.ready:
		e.Err = &broken{again: !sent, session: true, err: l.why.Err}
	default: // it was never usable
	}
	return &e
}

// read opens the stream, routes what comes on it, and returns why it ended.
func (l *sseLink) read(ctx context.Context) *upstream.Error {
	resp, err := l.open(ctx)
	if err == nil {
		defer resp.Body.Close()
		err = l.events(resp)
	}
	if ctx.Err() != nil {
		return failure(upstream.Unavailable, false, "the connection to it was closed", errStopped)
	}
	return upstream.AsError("", "", err)
}

func (l *sseLink) open(ctx context.Context) (*http.Response, error) {
	var t httpcall.Trip
	req, err := http.NewRequestWithContext(t.Watch(ctx), http.MethodGet, l.endpoint, nil)
	if err != nil {
		return nil, failure(upstream.Internal, false, "its address is not usable", err)
	}
	req.Header["Accept"] = []string{"text/event-stream"}
	resp, err := l.posts.hc.Do(req)
	if err != nil {
		return nil, transportFailure(err, t.Sent())
	}
	typ, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && typ == "text/event-stream" {
		return resp, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return nil, failure(upstream.UpstreamError, false, "there is no stream of events at its address", errNoStream)
	}
	ans, err := refused(&peer{}, resp)
	if ans.rpc != nil {
		return nil, rpcFailure(ans.rpc)
	}
	return nil, err
}

// events reads the stream to its end.
func (l *sseLink) events(resp *http.Response) error {
	events := newSSEReader(resp.Body, l.opt.MaxMessage)
	data, err := events.next()
	switch {
	case err != nil:
		return failure(upstream.Unavailable, false, "its stream ended before it said where to send messages", err)
	case events.name != "endpoint":
		return failure(upstream.UpstreamError, false, "its stream does not begin by saying where to send messages",
			fmt.Errorf("%w for messages: the first event is %q", errNoStream, escape(events.name)))
	}
	if l.posts.endpoint, err = l.target(resp.Request.URL, string(data)); err != nil {
		return err
	}
	close(l.ready)
	events.lines.brief = false // one answer that is too long costs the others nothing
	for {
		data, err := events.next()
		switch {
		case errors.Is(err, httpcall.ErrTooLong):
			l.tooLong(events.over)
		case err != nil:
			return failure(upstream.Unavailable, true, "the connection broke before the answer came", err)
		case events.name == "" || events.name == "message":
			l.take(line{text: data, owned: true})
		}
	}
}

// target returns the address for messages. It may be relative to that of the
// stream, and must not leave the configured origin: messages carry the login.
func (l *sseLink) target(base *url.URL, ref string) (string, error) {
	home, err := url.Parse(l.endpoint)
	if err != nil {
		return "", failure(upstream.Internal, false, "its address is not usable", err)
	}
	u, err := base.Parse(strings.TrimSpace(ref))
	if err != nil {
		return "", failure(upstream.UpstreamError, false, "the address it names for messages is not usable",
			fmt.Errorf("endpoint event of %d bytes", len(ref)))
	}
	if origin(u) != origin(home) {
		return "", failure(upstream.UpstreamError, false,
			"it names an address on another origin for messages, which is not used; the configured url must have that origin",
			fmt.Errorf("endpoint event: %s instead of %s", escape(bounded(origin(u), 200)), origin(home)))
	}
	u.User, u.Fragment = home.User, ""
	return u.String(), nil
}

// origin returns the scheme, host and port of an address (RFC 6454, section 4).
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// refusedPost is the failure of a message that was not accepted. A server that
// no longer knows the session says so with 404 or in words; it has not executed
// the message.
func refusedPost(err error) error {
	if err == nil {
		return nil
	}
	text := ""
	if s, ok := errors.AsType[*statusError](err); ok {
		switch s.code {
		case http.StatusNotFound, http.StatusGone:
			text = "session"
		case http.StatusBadRequest:
			text = s.text
		}
	}
	if rpc, ok := errors.AsType[*upstream.RPCError](err); ok { // arguments are judged on the stream
		text = rpc.Message
	}
	if !strings.Contains(strings.ToLower(text), "session") {
		return err
	}
	return failure(upstream.Unavailable, false, "it has lost the session", &broken{again: true, session: true, err: err})
}
