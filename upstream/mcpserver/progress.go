package mcpserver

import (
	"bytes"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// What one call may be told, of its progress and of its log each, so that a
// server that floods costs little.
const (
	toldSize = 64 << 10 // bytes of one params object
	toldRate = 1_000    // notifications in a second
)

// progress hands notifications/progress to the calls they belong to. Its tokens
// are never used twice, whatever connection they travel on: a late one finds
// nobody. The zero value is ready for use.
type progress struct {
	mu    sync.Mutex
	last  int64
	calls map[int64]*follower
}

// follower is one call that wants to be told something.
type follower struct {
	mu    sync.Mutex // held while tell runs, which returns at once
	tell  func(params json.RawMessage)
	limit ticker
	over  bool // the call has returned
}

func newFollower(tell func(json.RawMessage)) *follower {
	return &follower{tell: tell, limit: ticker{per: toldRate}}
}

// follow makes up a token and tells its progress until stop is called. A nil
// tell gets no token, which is 0.
func (p *progress) follow(tell func(json.RawMessage)) (token int64, stop func()) {
	if tell == nil {
		return 0, func() {}
	}
	f := newFollower(tell)
	p.mu.Lock()
	if p.calls == nil {
		p.calls = map[int64]*follower{}
	}
	p.last++
	token = p.last
	p.calls[token] = f
	p.mu.Unlock()
	return token, func() {
		p.mu.Lock()
		delete(p.calls, token)
		p.mu.Unlock()
		f.stop()
	}
}

// take passes on the params of one notification, whose message has not been
// checked yet. It runs on the goroutine that reads answers, so that all
// progress precedes the answer it was sent before.
func (p *progress) take(msg []byte) {
	params, ok := told(msg)
	if !ok {
		return
	}
	raw, _ := rawjson.Get(params, "progressToken")
	token, ok := parseID(raw)
	if !ok {
		return
	}
	p.mu.Lock()
	f := p.calls[token]
	p.mu.Unlock()
	if f != nil {
		f.take(params)
	}
}

// told returns the params of a notification that a call may be told.
func told(msg []byte) (params []byte, ok bool) {
	params, _ = rawjson.Get(msg, "params")
	return params, rawjson.Kind(params) == '{' && len(params) <= toldSize
}

func (f *follower) take(params []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return
	}
	if ok, _ := f.limit.ok(); ok && rawjson.Check(params, rawjson.Limits{}) == nil {
		f.tell(bytes.Clone(params)) // the reader uses its buffer again
	}
}

func (f *follower) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

// withToken adds a progress token to the members of _meta; 0 is none.
func withToken(meta []byte, token int64) []byte {
	if token == 0 {
		return meta
	}
	out := append(make([]byte, 0, len(meta)+40), meta...)
	if len(meta) > 0 {
		out = append(out, ',')
	}
	return strconv.AppendInt(append(out, `"progressToken":`...), token, 10)
}
