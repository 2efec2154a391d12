package mcpserver

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// incoming is what the reader found for one call: the message, not yet
// checked, or why it cannot be had.
type incoming struct {
	msg []byte
	err *upstream.Error
}

func (in incoming) answer() (answer, error) {
	if in.err != nil {
		return answer{}, in.err
	}
	return parseAnswer(in.msg)
}

// pending are the calls that wait for an answer on one channel. The zero value
// is ready for use. Ids are never used twice.
type pending struct {
	mu    sync.Mutex
	last  int64
	calls map[int64]chan incoming
	spare []chan incoming // empty
}

// maxSpare is how many channels are kept for the next calls.
const maxSpare = 64

// add makes up an id and waits under it: the channel gets one message at most.
// drop must follow.
func (p *pending) add() (int64, chan incoming) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ch chan incoming
	if n := len(p.spare); n > 0 {
		ch, p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		ch = make(chan incoming, 1)
	}
	if p.calls == nil {
		p.calls = map[int64]chan incoming{}
	}
	p.last++
	p.calls[p.last] = ch
	return p.last, ch
}

// drop ends the wait. The channel, which is what add returned, must not be used
// after it.
func (p *pending) drop(id int64, ch chan incoming) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, id) // from now on nothing is put into it
	select {
	case <-ch: // nobody waited for it any more
	default:
	}
	if len(p.spare) < maxSpare {
		p.spare = append(p.spare, ch)
	}
}

// deliver hands a message to the call that waits for it and reports whether
// there was one.
func (p *pending) deliver(id int64, in incoming) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	ch, ok := p.calls[id]
	if ok {
		delete(p.calls, id)
		ch <- in // it has room: this is the only message it will ever get
	}
	return ok
}

// demux routes what comes on a channel that all calls share: a child's output,
// or the stream of an HTTP+SSE server. It never blocks on a call and never runs
// one.
type demux struct {
	opt     *Options
	heard   func(method string, msg []byte) // takes notifications
	calls   *desk
	out     outlet // for answers to requests of the server
	pending pending
	stray   atomic.Int64 // answers that nobody waits for
}

func (d *demux) desk() *desk { return d.calls }

// take routes one message.
func (d *demux) take(ln line) {
	e := scan(ln.text)
	switch {
	case e.hasMethod && e.id == nil:
		if !d.calls.notification(e.method, ln.text, visit{}) {
			d.heard(e.method, ln.text)
		}
	case e.hasMethod:
		d.calls.request(e, ln.text, visit{}, d.out)
	default:
		id, ok := parseID(e.id)
		if !ok {
			d.strayed()
			return
		}
		msg := ln.text
		if !ln.owned {
			msg = bytes.Clone(msg)
		}
		if !d.pending.deliver(id, incoming{msg: msg}) {
			d.strayed()
		}
	}
}

// tooLong fails the call whose answer a line is that is too long.
func (d *demux) tooLong(ln line) {
	d.opt.Log.Warn("over-long message skipped", "upstream", d.opt.ID, "bytes", ln.size, "limit", d.opt.MaxMessage)
	if id, ok := ownerOf(ln); ok {
		d.pending.deliver(id, incoming{err: failure(upstream.UpstreamError, true,
			fmt.Sprintf("answered with %d bytes; the limit is %d", ln.size, d.opt.MaxMessage), upstream.Caused(httpcall.ErrTooLong, upstream.ErrNoOutage))})
	}
}

// strayed notes an answer that nobody waits for: unknown, the second one, or
// one that came after its call was given up.
func (d *demux) strayed() {
	n := d.stray.Add(1)
	d.opt.Log.Debug("answer without a call dropped", "upstream", d.opt.ID, "so_far", n)
}
