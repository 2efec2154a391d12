package inbound

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// killGrace is what is left to calls and to the writer after the drain time has
// passed and everything was cancelled.
const killGrace = 2 * time.Second

// wakeGrace is what a reader gets to notice that its stream was closed. Some
// streams, a blocking stdin among them, never wake it; it does no harm then.
const wakeGrace = 100 * time.Millisecond

// stdioConn is one client on a pair of streams.
type stdioConn struct {
	rpc     *dispatcher
	session *session
	log     *slog.Logger
	maxLine int64
	drain   time.Duration
	out     *outbox
	work    group           // goroutines that answer
	calls   context.Context // of the calls: outlives the reading; set by serve
	kill    func()          // ends calls; set by serve
	closing chan struct{}   // closed when the conversation ends
}

func newStdioConn(rpc *dispatcher, svc Service, o Options) *stdioConn {
	c := &stdioConn{
		rpc: rpc,
		session: &session{
			id: "stdio-" + rand.Text()[:8], service: svc, principal: upstream.Local(), max: o.MaxInFlight,
		},
		log:     o.Log,
		maxLine: o.MaxBody,
		drain:   o.Drain,
		out:     newOutbox(),
		closing: make(chan struct{}),
	}
	c.session.ready = sync.OnceFunc(func() { c.work.run(c.announce) })
	return c
}

// serve is [Server.ServeStdio].
func (c *stdioConn) serve(ctx context.Context, in io.Reader, out io.Writer) error {
	c.calls, c.kill = context.WithCancel(context.WithoutCancel(ctx))
	defer c.kill()
	var readErr, writeErr error
	read, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		writeErr = c.out.write(out)
	}()
	go func() {
		defer close(read)
		readErr = c.read(in)
	}()

	var err error
	select {
	case <-read:
		err = readErr
	case <-ctx.Done():
		closeStream(in)
	case <-written: // it failed
		closeStream(in)
	}
	if c.finish(written, out) {
		err = errors.Join(err, writeErr)
	} else {
		err = errors.Join(err, errStalled)
	}
	within(read, wakeGrace) // in cannot be closed, or Close does not wake its reader
	return err
}

// finish drains and waits. It reports false if the client takes no answers.
func (c *stdioConn) finish(written <-chan struct{}, out io.Writer) bool {
	c.session.close(false)
	close(c.closing)
	idle := c.work.close()
	deadline := time.Now().Add(c.drain)
	timer := time.NewTimer(c.drain)
	defer timer.Stop()
	select {
	case <-idle:
	case <-written: // it failed: nobody can be answered any more
		c.kill()
		within(idle, killGrace)
	case <-timer.C:
		c.log.Warn("calls did not finish in time and are cancelled", "session", c.session.id, "drain", c.drain)
		c.kill()
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

// read handles messages until in ends. It executes no call and waits for none.
func (c *stdioConn) read(in io.Reader) error {
	lines := newLineReader(in, c.maxLine)
	for {
		line, tooLong, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("inbound: reading from the client: %w", err)
		case tooLong:
			c.say(&reply{id: idIn(line), err: tooLarge(c.maxLine)})
		case len(bytes.TrimSpace(line)) > 0:
			c.handle(line)
		}
	}
}

func tooLarge(most int64) *upstream.RPCError {
	return invalid("the message is longer than %d bytes", most)
}

// say answers from the reader.
func (c *stdioConn) say(r *reply) {
	_ = c.out.push(fromReader, r.text()) // the writer reports why it failed
}

func (c *stdioConn) handle(line []byte) {
	msgs, batch, fault := scan(line, c.rpc.limits)
	switch {
	case fault != nil:
		c.say(&reply{err: fault})
	case batch:
		c.batch(msgs)
	case msgs[0].wantsAnswer():
		c.request(&msgs[0])
	default:
		c.rpc.notice(c.session, &msgs[0])
	}
}

// request starts the work for a request. Whether the client has initialized is
// not asked: what it wants is clear without.
func (c *stdioConn) request(m *message) {
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

func (c *stdioConn) batch(msgs []message) {
	run, fault := c.rpc.batch(c.calls, c.session, msgs, c.out)
	if fault != nil {
		c.say(&reply{err: fault})
		return
	}
	c.work.run(func() {
		text, release := run()
		defer release()
		if text != nil {
			_ = c.push(pieces{text})
		}
	})
}

// push, beats, alive and ending make c a [stream]; a pipe needs no signs of
// life. The writer reports why it failed.
func (c *stdioConn) push(text pieces) error  { return c.out.push(fromWork, text) }
func (c *stdioConn) beats() <-chan time.Time { return nil }
func (c *stdioConn) alive() error            { return nil }
func (c *stdioConn) ending() <-chan struct{} { return c.closing }

// announce tells a legacy client of changes, from its initialized notification
// on.
func (c *stdioConn) announce() {
	changed := newSignal()
	defer c.session.service.Subscribe(changed.set)()
	relay(c.calls, changed, legacyListChanged(), c)
}
