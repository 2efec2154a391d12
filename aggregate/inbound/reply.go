package inbound

import (
	"bytes"
	"encoding/json"
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

// parts returns the reply as JSON text in three pieces, so that a large result
// need not be copied.
func (r *reply) parts() (head, body, tail []byte) {
	id := r.id
	if id == nil {
		id = json.RawMessage("null")
	}
	head = make([]byte, 0, len(`{"jsonrpc":"2.0","id":,"result":`)+len(id))
	head = append(head, `{"jsonrpc":"2.0","id":`...)
	head = append(head, id...)
	if r.err != nil {
		return append(head, `,"error":`...), errorObject(r.err), []byte("}")
	}
	return append(head, `,"result":`...), r.result, []byte("}")
}

// bytes returns the reply as JSON text.
func (r *reply) bytes() []byte {
	head, body, tail := r.parts()
	out := make([]byte, 0, len(head)+len(body)+len(tail)+1)
	out = append(out, head...)
	out = append(out, body...)
	return append(out, tail...)
}

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

// oneLine makes JSON text fit a framing by lines. Valid JSON has line breaks
// only between tokens, where a space says the same. It changes b.
func oneLine(b []byte) []byte {
	for _, c := range []byte{'\n', '\r'} {
		for rest := b; ; {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
	return b
}

// joinReplies returns the answer to a batch, nil if there is nothing to say.
func joinReplies(replies []*reply) []byte {
	var out []byte
	for _, r := range replies {
		if r == nil {
			continue
		}
		sep := byte(',')
		if out == nil {
			sep = '['
		}
		out = append(append(out, sep), r.bytes()...)
	}
	if out == nil {
		return nil
	}
	return append(out, ']')
}
