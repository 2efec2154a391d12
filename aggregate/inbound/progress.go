package inbound

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const methodProgress = "notifications/progress"

// progressBytes of one call may wait for its client. Beyond, the oldest give
// way: the newest say all that the older said.
const progressBytes = 64 << 10

// notes is where the progress of calls goes. ready says that there is something
// to take from p, in its turn among the messages of the same stream. It returns
// at once.
type notes interface{ ready(p *progress) }

// progress is what one call has told of its progress and its client has not
// been told yet.
type progress struct {
	token  json.RawMessage // of the client, as it came
	to     notes
	wanted func() bool // false once the client cancelled the call

	mu      sync.Mutex
	last    float64
	queue   [][]byte // whole messages, oldest first; not empty while to knows of them
	size    int      // bytes of queue
	settled bool     // the call is over
}

// progressToken returns the token of a request; nil if the client wants to hear
// of no progress. MCP (basic utilities, §Progress): a string or an integer.
func (m *message) progressToken() json.RawMessage {
	if token, ok := rawjson.Get(m.meta, "progressToken"); ok && validID(token) {
		return token
	}
	return nil
}

func newProgress(token json.RawMessage, to notes, wanted func() bool) *progress {
	return &progress{token: token, to: to, wanted: wanted, last: math.Inf(-1)}
}

// add takes the params of an upstream's notification and gives them the client's
// token; all else stays as it came. MCP (§Progress): the value must increase with
// each notification, so what does not is dropped.
func (p *progress) add(params json.RawMessage) {
	raw, _ := rawjson.Get(params, "progress")
	value, err := strconv.ParseFloat(string(raw), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return
	}
	ours, err := rawjson.Set(params, "progressToken", p.token)
	if err != nil {
		return
	}
	text := slices.Concat([]byte(`{"jsonrpc":"2.0","method":"`+methodProgress+`","params":`), rawjson.OneLine(ours), closingBrace)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settled || value <= p.last || len(text) > progressBytes {
		return
	}
	p.last = value
	first := len(p.queue) == 0
	p.queue = append(p.queue, text)
	for p.size += len(text); p.size > progressBytes; p.queue = p.queue[1:] {
		p.size -= len(p.queue[0])
	}
	if first {
		p.to.ready(p) // under the lock: settle, and so the result, comes after
	}
}

// settle ends what is added; what was, is still told.
func (p *progress) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled = true
}

// take returns the messages to send now, none if the client cancelled the call.
func (p *progress) take() [][]byte {
	p.mu.Lock()
	queue := p.queue
	p.queue, p.size = nil, 0
	p.mu.Unlock()
	if !p.wanted() {
		return nil
	}
	return queue
}
