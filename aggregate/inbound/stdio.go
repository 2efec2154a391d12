package inbound

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// wakeGrace is what a reader gets to notice that its stream was closed. Some
// streams, a blocking stdin among them, never wake it; it does no harm then.
const wakeGrace = 100 * time.Millisecond

// serveStdio is [Server.ServeStdio].
func serveStdio(ctx context.Context, rpc *dispatcher, svc Service, o Options, in io.Reader, out io.Writer) error {
	c := newConn(context.WithoutCancel(ctx), rpc, &session{
		id: "stdio-" + rand.Text()[:8], service: svc, principal: upstream.Local(), max: o.MaxInFlight,
	}, newOutbox(lineFraming), o.Drain)
	defer c.kill(nil)
	var readErr, writeErr error
	read, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		writeErr = c.out.write(out)
	}()
	go func() {
		defer close(read)
		readErr = readLines(c, in, o.MaxBody)
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
	o.Ending()
	if c.finish(written, out) {
		err = errors.Join(err, writeErr)
	} else {
		err = errors.Join(err, errStalled)
	}
	within(read, wakeGrace) // in cannot be closed, or Close does not wake its reader
	return err
}

// readLines handles messages until in ends.
func readLines(c *conn, in io.Reader, most int64) error {
	lines := newLineReader(in, most)
	for {
		line, tooLong, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("inbound: reading from the client: %w", err)
		case tooLong:
			c.say(&reply{id: idIn(line), err: tooLarge(most)})
		case len(bytes.TrimSpace(line)) > 0:
			if fault := c.handle(line); fault != nil {
				c.say(&reply{err: fault})
			}
		}
	}
}

func tooLarge(most int64) *upstream.RPCError {
	return invalid("the message is longer than %d bytes", most)
}
