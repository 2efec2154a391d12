package inbound

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// killGrace is what is left to calls and to the writer after the drain time has
// passed and everything was cancelled.
const killGrace = 2 * time.Second

// wakeGrace is what a reader gets to notice that its stream was closed. Some
// streams, a blocking stdin among them, never wake it; it does no harm then.
const wakeGrace = 100 * time.Millisecond

// stdio is one client on a pair of streams.
type stdio struct {
	*Server
	session *session
	out     *outbox
	work    group           // goroutines that answer
	calls   context.Context // of the calls: outlives the reading
	ready   sync.Once
	closing chan struct{} // closed when the conversation ends
}

// ServeStdio serves one client over in and out until in ends or ctx does. Then
// it reads no more, lets calls in flight finish for the drain time, and returns
// when their answers are written: nil, or why in could not be read or out not
// be written. If ctx ends and in is an io.Closer it is closed; so is out if the
// client has stopped reading.
func (s *Server) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	svc, ok := s.lookup("")
	if !ok {
		return errors.New("inbound: there is nothing to serve")
	}
	calls, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	c := &stdio{
		Server: s,
		session: &session{
			id: "stdio-" + rand.Text()[:8], service: svc, principal: upstream.Local(), max: s.opt.MaxInFlight,
		},
		out:     newOutbox(),
		calls:   calls,
		closing: make(chan struct{}),
	}
	written := make(chan error, 1)
	go func() { written <- c.out.write(out) }()
	read := make(chan error, 1)
	go func() { read <- c.read(in) }()

	var err error
	select {
	case err = <-read:
		read <- nil
	case <-ctx.Done():
		closeStream(in)
	case failed := <-written: // finish reports it
		written <- failed
		kill()
		closeStream(in)
	}
	err = errors.Join(err, c.finish(kill, written, out))
	select {
	case <-read:
	case <-time.After(wakeGrace): // in cannot be closed, or Close does not wake its reader
	}
	return err
}

// finish drains and waits.
func (c *stdio) finish(kill func(), written chan error, out io.Writer) error {
	c.session.close()
	close(c.closing)
	idle := c.work.close()
	if !within(idle, c.opt.Drain) {
		c.log.Warn("calls did not finish in time and are cancelled", "session", c.session.id, "drain", c.opt.Drain)
		kill()
		within(idle, killGrace)
	}
	c.out.close()
	select {
	case err := <-written:
		return err
	case <-time.After(killGrace):
	}
	c.out.fail(errStalled)
	closeStream(out)
	select {
	case <-written:
	case <-time.After(killGrace):
	}
	within(idle, killGrace)
	return errStalled
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
func (c *stdio) read(in io.Reader) error {
	lines := newLineReader(in, c.opt.MaxBody)
	for {
		line, tooLong, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("inbound: reading from the client: %w", err)
		case tooLong:
			c.say(&reply{id: idIn(line), err: tooLarge(c.opt.MaxBody)})
		case len(bytes.TrimSpace(line)) > 0:
			c.handle(line)
		}
	}
}

func tooLarge(most int64) *upstream.RPCError {
	return invalid("the message is longer than %d bytes", most)
}

// say answers from the reader.
func (c *stdio) say(r *reply) { c.sayText(r.bytes()) }

func (c *stdio) sayText(text []byte) { _ = c.out.push(text, readerBytes) } // the writer reports why it failed

func (c *stdio) handle(line []byte) {
	msgs, batch, fault := scan(line, c.limits())
	if batch && fault == nil {
		if version, _ := c.session.negotiated(); version != mcp.ProtocolVersion20250326 {
			fault = noBatches()
		}
	}
	switch {
	case fault != nil:
		c.say(&reply{err: fault})
	case batch:
		run := c.batch(c.calls, c.session, msgs)
		c.work.run(func() {
			text, release := run()
			defer release()
			if text != nil {
				_ = c.out.push(text, resultBytes)
			}
		})
	case msgs[0].wantsAnswer():
		c.request(&msgs[0])
	case msgs[0].method == methodInitialized:
		c.ready.Do(func() { c.work.run(c.announce) })
	default:
		c.notice(c.session, &msgs[0])
	}
}

func noBatches() *upstream.RPCError {
	return invalid("batches exist in protocol version %s only: send one message at a time", mcp.ProtocolVersion20250326)
}

// request starts the work for a request. Whether the client has initialized is
// not asked: what it wants is clear without.
func (c *stdio) request(m *message) {
	e, fault := m.era()
	if m.fault == nil {
		m.fault = fault
	}
	r := c.session.request(m, e)
	var now *reply
	var later work
	if m.fault == nil && e.modern && m.method == methodListen {
		now, later = c.admitListen(c.calls, r, c, c.closing)
	} else {
		now, later = c.admit(c.calls, r)
	}
	if now != nil {
		c.say(now)
		return
	}
	c.work.run(func() {
		out, release := later()
		defer release()
		if out != nil {
			_ = c.push(out.bytes())
		}
	})
}

// push, beats and alive make c a [sink]; a pipe needs no signs of life.
func (c *stdio) push(text []byte) error  { return c.out.push(text, resultBytes) }
func (c *stdio) beats() <-chan time.Time { return nil }
func (c *stdio) alive() error            { return nil }

// announce tells a legacy client of changes, from its initialized notification
// on.
func (c *stdio) announce() {
	changed := newSignal()
	defer c.session.service.Subscribe(changed.set)()
	for {
		select {
		case <-changed:
			if c.push(legacyListChanged()) != nil {
				return
			}
		case <-c.closing:
			return
		}
	}
}
