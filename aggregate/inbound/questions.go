package inbound

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// maxQuestions is how many questions to one client may be open.
const maxQuestions = 64

// questions are those to one legacy client that it has not answered yet. The
// zero value is ready for use.
type questions struct {
	mu     sync.Mutex
	open   map[string]chan *answer // by our id; each channel has room for one answer
	over   chan struct{}           // closed by close; made when somebody waits
	closed bool
}

// courier carries questions to a client.
type courier interface {
	// send takes a whole message. It returns at once, false if there is no way
	// to the client.
	send(id string, text []byte) bool
	// conclude is told that a question is over. If it is not answered it is
	// taken back, or if it is sent already, the client told so.
	conclude(id string, answered bool)
	// lost is closed when the client cannot answer any more; nil is never.
	lost() <-chan struct{}
}

// ask puts a question and waits for the answer until ctx or call ends. The ids
// are random: a client may answer a question of a server that stopped since.
func (q *questions) ask(ctx, call context.Context, c courier, what upstream.Question) (json.RawMessage, error) {
	id := rand.Text()
	answered, over, err := q.begin(id)
	if err != nil {
		return nil, err
	}
	defer q.end(id)
	if !c.send(id, questionText(id, what)) {
		return nil, unreachable()
	}
	select {
	case a := <-answered:
		c.conclude(id, true)
		return a.read()
	case <-ctx.Done():
		err = ctx.Err()
	case <-call.Done():
		err = call.Err()
	case <-c.lost():
		err = unreachable()
	case <-over:
		err = unreachable()
	}
	c.conclude(id, false)
	return nil, err
}

func unreachable() error {
	return &upstream.RPCError{Code: upstream.CodeInternal, Message: "the client cannot be asked: it has no stream open or has left"}
}

func (q *questions) begin(id string) (answered <-chan *answer, over <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return nil, nil, unreachable()
	case len(q.open) >= maxQuestions:
		return nil, nil, &upstream.RPCError{Code: upstream.CodeInternal, Message: "too many questions to the client are open"}
	case q.open == nil:
		q.open, q.over = make(map[string]chan *answer), make(chan struct{})
	}
	c := make(chan *answer, 1)
	q.open[id] = c
	return c, q.over, nil
}

func (q *questions) end(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, id)
}

// answer hands an answer to whoever waits for it. One to no question that is
// open is dropped: it may have come too late.
func (q *questions) answer(a *answer) {
	id := rawjson.String(a.id)
	q.mu.Lock()
	defer q.mu.Unlock()
	if c, ok := q.open[id]; ok {
		delete(q.open, id)
		c <- a
	}
}

// close ends all questions and refuses further ones.
func (q *questions) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed && q.over != nil {
		close(q.over)
	}
	q.closed = true
}

func questionText(id string, q upstream.Question) []byte {
	head := `{"jsonrpc":"2.0","id":"` + id + `","method":` + string(rawjson.Quote(q.Method))
	if q.Params == nil {
		return []byte(head + "}")
	}
	return slices.Concat([]byte(head+`,"params":`), rawjson.OneLine(q.Params), closingBrace)
}

func recallText(id string) []byte {
	return []byte(`{"jsonrpc":"2.0","method":"` + methodCancelled + `","params":{"requestId":"` + id + `","reason":"the answer is not needed any more"}}`)
}

// read returns the result, or the error as an *upstream.RPCError.
func (a *answer) read() (json.RawMessage, error) {
	if a.err == nil {
		if rawjson.Kind(a.result) != '{' {
			return nil, &upstream.RPCError{Code: upstream.CodeInternal, Message: "the client's answer is no object"}
		}
		return a.result, nil
	}
	e := &upstream.RPCError{Code: upstream.CodeInternal}
	if code, ok := rawjson.Get(a.err, "code"); !ok || json.Unmarshal(code, &e.Code) != nil {
		e.Code = upstream.CodeInternal
	}
	e.Message, _ = rawjson.GetString(a.err, "message")
	if e.Message == "" {
		e.Message = "the client refused"
	}
	e.Data, _ = rawjson.Get(a.err, "data")
	return nil, e
}
