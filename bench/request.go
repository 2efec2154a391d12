package main

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/bulkhead-mcp/bulkhead/bench/peer"
)

// request is what is asked again and again.
type request struct {
	method string
	tool   string                   // of a call; "" for another method
	params string                   // without braces; "" for none
	number bool                     // the arguments hold the request's id too
	want   string                   // is in every right answer and in no failure
	least  int                      // bytes of a right answer
	enough func(answer []byte) bool // what else must hold; nil for nothing
}

func call(tool, arguments, want string, least int) request {
	return request{
		method: "tools/call", tool: tool, want: want, least: least,
		params: fmt.Sprintf(`"name":%q,"arguments":{%s}`, tool, arguments),
	}
}

// numberedCall is the same call, but never the same question.
func numberedCall() request {
	r := echoCall()
	r.number = true
	return r
}

func echoCall() request   { return call(peer.Echo, `"text":"hello"`, `"hello"`, 1) }
func longCall() request   { return call(peer.Long, "", "nobody in particular", 1<<20) }
func longerCall() request { return call(peer.Longer, "", "nobody in particular", 10<<20) }
func lateCall() request   { return call(peer.Late, "", `"late"`, 1) }

func listTools() request {
	return request{method: "tools/list", want: peer.Longer, least: 1}
}

func initialize() request {
	return request{
		method: "initialize", want: `"protocolVersion"`, least: 1,
		params: `"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}`,
	}
}

const (
	initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	modernMeta  = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
)

// body returns the message with an id.
func (r request) body(modern bool, id int64) []byte {
	b := make([]byte, 0, 512)
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = strconv.AppendInt(b, id, 10)
	b = append(b, `,"method":"`...)
	b = append(b, r.method...)
	b = append(b, `","params":{`...)
	b = append(b, r.params...)
	if r.number { // into the object at the end
		b = append(b[:len(b)-1], `,"n":`...)
		b = strconv.AppendInt(b, id, 10)
		b = append(b, '}')
	}
	if modern {
		if r.params != "" {
			b = append(b, ',')
		}
		b = append(b, modernMeta...)
	}
	return append(b, "}}"...)
}

// check returns what is wrong with an answer.
func (r request) check(answer []byte) error {
	if len(answer) >= r.least && bytes.Contains(answer, []byte(r.want)) && (r.enough == nil || r.enough(answer)) {
		return nil
	}
	return fmt.Errorf("%s %s: %d bytes without the expected answer: %.300s", r.method, r.tool, len(answer), answer)
}
