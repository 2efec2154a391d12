package mcpserver

import (
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
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

// pending are the calls that wait for an answer of one child. The zero value is
// ready for use. Ids are never used twice.
type pending struct {
	mu    sync.Mutex
	last  int64
	calls map[int64]chan incoming
}

// add makes up an id and waits under it: the channel gets one message at most.
func (p *pending) add() (int64, <-chan incoming) {
	ch := make(chan incoming, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls == nil {
		p.calls = map[int64]chan incoming{}
	}
	p.last++
	p.calls[p.last] = ch
	return p.last, ch
}

func (p *pending) drop(id int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, id)
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
