package mcpserver

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// relistGap is the least time between two lists that are read only because a
// notification may have been missed while no stream was open.
const relistGap = 30 * time.Second

// listens reports whether to ask a legacy server for a stream: that of its
// notifications, if it announces any, or that of a session, on which some
// servers send the progress of calls.
func listens(p *peer) bool {
	return p.session != "" || p.offers.subscribe || len(p.offers.announced()) > 0
}

// listen keeps the stream open on which a legacy server sends what belongs to
// no answer, until ctx ends or the server refuses it for good. It runs beside
// the calls and never disturbs them.
func (l *httpLink) listen(ctx context.Context, c *conn) {
	var later sync.WaitGroup
	defer later.Wait()
	missed := missed{last: time.Now()}
	opened := func() { l.a.subs.retell() } // those that are older than the connection
	for n := 1; ; n++ {
		began := time.Now()
		err := l.get(ctx, c.peer, opened)
		if ctx.Err() != nil {
			return
		}
		if b := brokenBy(err); b != nil && !b.session {
			l.a.board.report(c, err) // it cannot even be reached
			return
		}
		if err != nil && !passing(err) {
			l.a.opt.Log.Debug("no stream of notifications", "upstream", l.a.opt.ID, "error", err)
			return
		}
		if time.Since(began) >= steadyAfter {
			n = 1
		}
		if !pause(ctx, backoff(n)) {
			return
		}
		opened = func() {
			wait, ok := missed.reserve()
			if !ok {
				return
			}
			later.Go(func() {
				if pause(ctx, wait) {
					l.a.news.changed(c.peer.offers.announced()...)
					l.a.subs.retell()
				}
			})
		}
	}
}

// missed paces what is looked at again only because it may have changed while
// no stream was open.
type missed struct{ last time.Time }

// reserve returns how long to wait before looking again; not ok if that is to
// happen anyway.
func (m *missed) reserve() (wait time.Duration, ok bool) {
	now := time.Now()
	if m.last.After(now) {
		return 0, false
	}
	if m.last = m.last.Add(relistGap); m.last.Before(now) {
		m.last = now
	}
	return m.last.Sub(now), true
}

func (m *missed) due() bool {
	if time.Since(m.last) < relistGap {
		return false
	}
	m.last = time.Now()
	return true
}

// reachTime is how long connecting may take before a server counts as out of
// reach.
const reachTime = 10 * time.Second

// verify looks whether the server is within reach whenever a request was lost or
// has ended before it was connected. Without it an address that swallows everything would
// count as up for as long as every caller's deadline is shorter than the
// transport's.
func (l *httpLink) verify(ctx context.Context, c *conn) {
	r := request{method: methodPing}
	if c.peer.modern { // which has no ping
		r = request{method: methodDiscover, params: ownParams("", c.peer.meta)}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.doubt:
		}
		limited, cancel := context.WithTimeout(ctx, reachTime)
		ans, err := c.link.do(limited, c.peer, r)
		cancel()
		if err == nil && ans.rpc != nil {
			err = judge(c, r.method, ans.rpc)
		}
		select {
		case <-l.doubt: // what this request itself has made of it
		default:
		}
		if ctx.Err() != nil || err == nil {
			continue
		}
		e := upstream.AsError("", "", err)
		if e.Kind == upstream.Timeout && !e.Sent {
			err = failure(upstream.Unavailable, false, "it cannot be reached", &broken{hung: true, err: err})
		}
		if brokenBy(err) != nil {
			l.a.board.report(c, err)
			return
		}
	}
}

// passing reports whether a failure may be over the next time.
func passing(err error) bool {
	switch upstream.AsError("", "", err).Kind {
	case upstream.Unavailable, upstream.RateLimited, upstream.Timeout:
		return true
	}
	return false
}

// open asks a legacy server for a stream (MCP 2025-11-25, transports,
// §Listening for Messages): that of its notifications, or the rest of one that
// broke after the event lastID.
func (l *httpLink) open(ctx context.Context, p *peer, lastID string) (io.ReadCloser, error) {
	var t httpcall.Trip
	req, err := http.NewRequestWithContext(t.Watch(ctx), http.MethodGet, l.endpoint, nil)
	if err != nil {
		return nil, failure(upstream.Internal, false, "", err)
	}
	l.headers(req.Header, p)
	req.Header["Accept"] = []string{"text/event-stream"}
	if lastID != "" {
		req.Header[mcp.HeaderLastEventID] = []string{lastID}
	}
	resp, err := l.hc.Do(req)
	if err != nil {
		// A server that takes the request and hangs up merely has no stream.
		return nil, transportFailure(err, t.Sent())
	}
	typ, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && typ == "text/event-stream" {
		return resp.Body, nil
	}
	_ = resp.Body.Close()
	kind := upstream.UpstreamError
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		kind = upstream.Unavailable
	}
	return nil, failure(kind, true, "", errNoStream)
}

// get reads the stream of notifications to its end. opened is called when there
// is one.
func (l *httpLink) get(ctx context.Context, p *peer, opened func()) error {
	body, err := l.open(ctx, p, "")
	if err != nil {
		return err
	}
	defer body.Close()
	opened()
	events := newSSEReader(body, l.a.opt.MaxMessage)
	for {
		data, err := events.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return httpcall.Broken(err, l.a.opt.MaxMessage)
		}
		if e := scan(data); e.hasMethod {
			l.heard(p, e, data, visit{})
		}
	}
}
