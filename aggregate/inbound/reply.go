package inbound

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// reply is the answer to one request.
type reply struct {
	id     json.RawMessage // nil is written as null
	result json.RawMessage
	err    *upstream.RPCError // nil if there is a result
}

// pieces is JSON text that is written piece after piece, so that a large result
// need not be copied.
type pieces [3][]byte

func (p pieces) size() int { return len(p[0]) + len(p[1]) + len(p[2]) }

func (p pieces) join() []byte { return slices.Concat(p[0], p[1], p[2]) }

// text returns the reply as JSON text.
func (r *reply) text() pieces {
	id := r.id
	if id == nil {
		id = json.RawMessage("null")
	}
	head := make([]byte, 0, len(`{"jsonrpc":"2.0","id":,"result":`)+len(id))
	head = append(head, `{"jsonrpc":"2.0","id":`...)
	head = append(head, id...)
	if r.err != nil {
		return pieces{append(head, `,"error":`...), errorObject(r.err), closingBrace}
	}
	return pieces{append(head, `,"result":`...), r.result, closingBrace}
}

var closingBrace = []byte("}")

func errorObject(e *upstream.RPCError) []byte {
	b := append([]byte(`{"code":`), strconv.Itoa(e.Code)...)
	b = append(b, `,"message":`...)
	b = append(b, rawjson.Quote(e.Message)...)
	if e.Data != nil {
		b = append(b, `,"data":`...)
		b = append(b, e.Data...)
	}
	return append(b, '}')
}
