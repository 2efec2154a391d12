package mcpserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	queueLen   = 256
	writeChunk = 64 << 10
	writeMost  = 4 << 10         // bytes beyond which no further line joins a write
	drainTime  = time.Second     // for output that is still in the pipes after the exit
	stdinGrace = 2 * time.Second // from closing stdin to SIGTERM
	termGrace  = 3 * time.Second // from SIGTERM to SIGKILL
)

// child is one process and the link to it. Five goroutines belong to it: the
// writer, the two readers, the waiter and the one that sees to the end. close
// joins them all.
type child struct {
	demux
	cmd    *exec.Cmd
	group  group
	stdin  *os.File
	stdout *os.File
	stderr *stderrLog

	queue chan *outgoing

	mu     sync.Mutex
	reason string // why we ended it; "" if it ended by itself

	quit   chan struct{} // closed by close
	exited chan struct{} // the process is gone
	eof    chan struct{} // its output has ended
	dead   chan struct{} // exited, output drained, group ended
	wg     sync.WaitGroup
}

// outgoing is one line in the queue. Whoever moves its state first decides
// whether it was sent.
type outgoing struct {
	data  []byte
	state atomic.Int32
}

const (
	queued int32 = iota
	taken
	withdrawn
)

func (o *outgoing) take() bool { return o.state.CompareAndSwap(queued, taken) }

// withdraw also frees the text: the line stays in the queue for as long as the
// child does not read.
func (o *outgoing) withdraw() bool {
	if !o.state.CompareAndSwap(queued, withdrawn) {
		return false
	}
	o.data = nil
	return true
}

// startChild starts the process. The context of the launcher does not end with
// ctx: close gives the process time to leave by itself.
func startChild(ctx context.Context, o *Options, heard func(string, []byte), launch Launcher, name string, arg []string) (link, error) {
	cmd := launch(context.WithoutCancel(ctx), name, arg...)
	p, err := openPipes()
	if err != nil {
		return nil, failure(upstream.Unavailable, false, "its pipes could not be opened", err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.child[0], p.child[1], p.child[2]
	setGroup(cmd)
	err = cmd.Start()
	closeAll(p.child[:])
	if err != nil {
		closeAll(p.ours[:])
		return nil, startFailure(err)
	}
	c := &child{
		demux: demux{opt: o, heard: heard},
		cmd:   cmd, group: groupOf(cmd),
		stdin: p.ours[0], stdout: p.ours[1],
		stderr: newStderrLog(p.ours[2], o),
		queue:  make(chan *outgoing, queueLen),
		quit:   make(chan struct{}), exited: make(chan struct{}), eof: make(chan struct{}), dead: make(chan struct{}),
	}
	c.calls, c.out = newDesk(ctx, o), outlet{c.post, c.put}
	if o.Keeper != nil {
		o.Keeper.Track(cmd.Process.Pid)
	}
	c.wg.Go(c.write)
	c.wg.Go(c.read)
	c.wg.Go(c.stderr.run)
	c.wg.Go(func() {
		_ = cmd.Wait() // its outcome is in cmd.ProcessState
		close(c.exited)
	})
	c.wg.Go(c.see)
	return c, nil
}

// see waits for the end of the process, ends what is left of its group, and
// lets the readers finish.
func (c *child) see() {
	select {
	case <-c.exited:
	case <-c.eof:
		select {
		case <-c.exited:
		case <-c.quit: // it may take its time, close sees to it
		case <-time.After(drainTime):
			c.end("it closed its output")
		}
		<-c.exited
	}
	c.group.end()
	if c.opt.Keeper != nil {
		c.opt.Keeper.Untrack(c.cmd.Process.Pid)
	}
	_ = c.stdout.SetReadDeadline(time.Now().Add(drainTime))
	<-c.eof
	c.stderr.finish(drainTime)
	close(c.dead)
	_ = c.stdin.Close() // ends the writer
}

// end kills the process group because of reason.
func (c *child) end(reason string) {
	c.mu.Lock()
	if c.reason == "" {
		c.reason = reason
	}
	c.mu.Unlock()
	c.group.kill()
}

func (c *child) done() <-chan struct{} { return c.dead }

func (c *child) do(ctx context.Context, _ *peer, r request) (answer, error) {
	if ctx.Err() != nil {
		return answer{}, ended(ctx, false)
	}
	id, ch := c.pending.add()
	defer c.pending.drop(id, ch)
	if r.started != nil {
		r.started(id)
	}
	out := &outgoing{data: oneLine(encode(id, r.method, r.params))}
	if err := c.enqueue(ctx, out); err != nil {
		return answer{}, err
	}
	select {
	case in := <-ch:
		return in.answer()
	case <-ctx.Done():
		sent := !out.withdraw()
		if sent && r.method != methodInitialize { // which must not be cancelled (MCP 2025-11-25, cancellation)
			c.post(encodeNotification(methodCancelled, cancelledParams(id)))
		}
		return answer{}, ended(ctx, sent)
	case <-c.dead:
		select {
		case in := <-ch: // its last words
			return in.answer()
		default:
			return answer{}, c.gone(!out.withdraw())
		}
	}
}

func (c *child) notify(ctx context.Context, _ *peer, method string, params []byte) error {
	return c.put(ctx, encodeNotification(method, params))
}

// put queues a message that has no answer.
func (c *child) put(ctx context.Context, msg []byte) error {
	return c.enqueue(ctx, &outgoing{data: oneLine(msg)})
}

func (c *child) enqueue(ctx context.Context, out *outgoing) error {
	select {
	case c.queue <- out: // nearly always, and for less
		return nil
	default:
	}
	select {
	case c.queue <- out:
		return nil
	case <-ctx.Done():
		return ended(ctx, false)
	case <-c.dead:
		return c.gone(false)
	}
}

// post queues a message that nobody waits for; it is dropped when the child is
// far behind.
func (c *child) post(msg []byte) {
	select {
	case c.queue <- &outgoing{data: oneLine(msg)}:
	default:
		c.opt.Log.Debug("message dropped, the server does not read", "upstream", c.opt.ID)
	}
}

// gone is the failure of a call on a dead child.
func (c *child) gone(sent bool) *upstream.Error {
	c.mu.Lock()
	why := c.reason
	c.mu.Unlock()
	if why == "" {
		why = "the server process " + exitText(c.cmd.ProcessState)
	}
	err := errors.New(why)
	if tail := c.stderr.tail(); tail != "" {
		err = fmt.Errorf("%s; its stderr ends: %s", why, tail)
	}
	return failure(upstream.Unavailable, sent, why+"; restarting", &broken{again: !sent, err: err})
}

// close ends the process: politely, then firmly, then at once.
func (c *child) close(context.Context, *peer) {
	c.calls.close()
	close(c.quit)
	_ = c.stdin.Close()
	if !c.waitDead(stdinGrace) {
		c.group.terminate()
		if !c.waitDead(termGrace) {
			c.group.kill()
		}
	}
	c.wg.Wait()
}

func (c *child) waitDead(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.dead:
		return true
	case <-t.C:
		return false
	}
}

// write is the only writer of stdin. What has queued up meanwhile goes into one
// write.
func (c *child) write() {
	var lines []byte
	var until time.Time // the deadline of writes
	for {
		select {
		case out := <-c.queue:
			if !out.take() {
				continue
			}
			text := out.data
			if len(text) < writeMost && len(c.queue) > 0 {
				lines = c.collect(append(lines[:0], text...))
				text = lines
			}
			if !c.send(text, &until) {
				return
			}
			if cap(lines) > writeChunk {
				lines = nil
			}
		case <-c.quit:
			return
		case <-c.dead:
			return
		}
	}
}

// collect appends the lines that are in the queue, as long as they stay short:
// what is taken counts as sent.
func (c *child) collect(lines []byte) []byte {
	for len(lines) < writeMost {
		select {
		case out := <-c.queue:
			if out.take() {
				lines = append(lines, out.data...)
			}
		default:
			return lines
		}
	}
	return lines
}

// send writes b. until is the deadline of writes that is set; that it is a
// little early costs less than setting it each time.
func (c *child) send(b []byte, until *time.Time) bool {
	for len(b) > 0 {
		if now := time.Now(); until.Sub(now) < c.opt.stall-c.opt.stall/8 {
			*until = now.Add(c.opt.stall)
			_ = c.stdin.SetWriteDeadline(*until)
		}
		n, err := c.stdin.Write(b[:min(len(b), writeChunk)])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.end("the server process stopped reading its input")
			return false
		case err != nil:
			select {
			case <-c.quit:
			case <-c.exited:
			case <-time.After(drainTime): // it may just be on its way out
				c.end("the server process closed its input")
			}
			return false
		}
		b = b[n:]
	}
	return true
}

// read is the only reader of stdout. It never blocks on a call and never runs
// one.
func (c *child) read() {
	defer close(c.eof)
	defer c.stdout.Close()
	noise := ticker{per: 1}
	lr := newLineReader(c.stdout, c.opt.MaxMessage)
	for {
		ln, err := lr.next()
		switch {
		case len(ln.text) == 0:
		case ln.over:
			c.tooLong(ln)
		case rawjson.Kind(ln.text) != '{':
			if ok, missed := noise.ok(); ok {
				c.opt.Log.Warn("output that is not a message skipped", "upstream", c.opt.ID,
					"line", escape(bounded(string(ln.text), 200)), "more", missed)
			}
		case ln.open && rawjson.Check(ln.text, rawjson.Limits{}) != nil:
			// It died in the middle of a line.
		default:
			c.take(ln)
		}
		if err != nil {
			return
		}
	}
}

// oneLine frames a message for stdio, which allows no line end inside one.
// Outside of strings, where JSON has none, a space means the same.
func oneLine(msg []byte) []byte {
	for _, end := range []byte("\n\r") {
		for rest := msg; ; {
			i := bytes.IndexByte(rest, end)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
	return append(msg, '\n')
}
