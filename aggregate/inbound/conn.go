package inbound

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// killGrace is what is left to calls and to the writer after the drain time has
// passed and everything was cancelled.
const killGrace = 2 * time.Second

// conn is one client to whom everything goes through one writer: over stdio, or
// over the stream of HTTP+SSE.
type conn struct {
	rpc     *dispatcher
	session *session
	drain   time.Duration
	out     *outbox
	work    group                   // goroutines that answer
	calls   context.Context         // of the calls
	kill    context.CancelCauseFunc // ends calls
	closing chan struct{}           // closed when the conversation ends
}

// newConn returns a conversation whose calls end with ctx at the latest. finish
// must follow.
func newConn(ctx context.Context, rpc *dispatcher, s *session, out *outbox, drain time.Duration) *conn {
	c := &conn{rpc: rpc, session: s, drain: drain, out: out, closing: make(chan struct{})}
	c.calls, c.kill = context.WithCancelCause(ctx)
	// A legacy client is told of changes from its initialized notification on.
	s.ready = sync.OnceFunc(func() {
		s.mail.attach(&reader{wake: func() { out.ready(&s.mail) }})
		c.work.run(func() { s.watchLists(c.calls) })
	})
	return c
}

// finish drains and waits. It reports false if the client takes no answers. why is the
// cause with which calls end that do not finish in time; nil is that they are cancelled.
func (c *conn) finish(written <-chan struct{}, out io.Writer, why error) bool {
	c.session.close(false)
	close(c.closing)
	idle := c.work.close()
	deadline := time.Now().Add(c.drain)
	timer := time.NewTimer(c.drain)
	defer timer.Stop()
	select {
	case <-idle:
	case <-written: // it failed: nobody can be answered any more
		c.kill(nil)
		within(idle, killGrace)
	case <-timer.C:
		c.rpc.log.Warn("calls did not finish in time and are cancelled", "session", c.session.id, "drain", c.drain)
		c.kill(why)
		within(idle, killGrace)
	}
	c.out.close()
	if within(written, max(time.Until(deadline), killGrace)) {
		return true
	}
	c.out.fail(errStalled)
	closeStream(out)
	within(written, killGrace)
	within(idle, killGrace)
	return false
}

// errStopped ends calls that have been given their time when Bulkhead is stopped.
var errStopped = upstream.Caused(context.Canceled, upstream.ErrStopping)

var errStalled = errors.New("inbound: the client does not read its answers")

func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

func closeStream(stream any) {
	if c, ok := stream.(io.Closer); ok {
		_ = c.Close() // it only has to wake up who reads or writes
	}
}

// say answers from the reader.
func (c *conn) say(r *reply) {
	_ = c.out.push(fromReader, r.text()) // the writer reports why it failed
}

// handle takes one text of the client. It executes no call and waits for none.
// What it returns is wrong with the whole text; nil if it was taken.
func (c *conn) handle(text []byte) *upstream.RPCError {
	msgs, batch, fault := scan(text, c.rpc.limits)
	switch {
	case fault != nil:
		return fault
	case batch:
		return c.batch(msgs)
	case msgs[0].wantsAnswer():
		c.request(&msgs[0])
	default:
		c.rpc.notice(c.session, &msgs[0])
	}
	return nil
}

// request starts the work for a request. Whether the client has initialized is
// not asked: what it wants is clear without.
func (c *conn) request(m *message) {
	r := c.session.request(m)
	r.to, r.notes = c, c.out
	now, later := c.rpc.admit(c.calls, r)
	if now != nil {
		c.say(now)
		return
	}
	c.work.run(func() {
		out, release := later()
		defer release()
		if out != nil {
			_ = c.push(out.text())
		}
	})
}

func (c *conn) batch(msgs []message) *upstream.RPCError {
	run, fault := c.rpc.batch(c.calls, c.session, msgs, c.out)
	if fault != nil {
		return fault
	}
	c.work.run(func() {
		text, release := run()
		defer release()
		if text != nil {
			_ = c.push(pieces{text})
		}
	})
	return nil
}

// push, beats, alive and ending make c a [stream]; a pipe needs no signs of
// life. The writer reports why it failed.
func (c *conn) push(text pieces) error  { return c.out.push(fromWork, text) }
func (c *conn) beats() <-chan time.Time { return nil }
func (c *conn) alive() error            { return nil }
func (c *conn) ending() <-chan struct{} { return c.closing }
